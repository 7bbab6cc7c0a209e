//! What a call answers: a status, and for a failure a text and an errno that the calling thread can ask for.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::handles::{Bad, Kind};
use crate::error::Error;
use crate::reason::Refusal;

/// It was done.
pub const SP_OK: c_int = 0;
/// A handle names nothing: it is NULL, stale, of another kind, or was made up.
pub const SP_BAD_HANDLE: c_int = -1;
/// Another argument is out of bounds; the text names it, its value and the bound.
pub const SP_BAD_ARGUMENT: c_int = -2;
/// Another thread is in the way: it turns the pool at this moment.
pub const SP_BUSY: c_int = -3;
/// The operating system refused; see `sp_last_errno`.
pub const SP_SYSTEM: c_int = -4;
/// There is no memory for it.
pub const SP_NO_MEMORY: c_int = -5;
/// It cannot be done in this state.
pub const SP_BAD_STATE: c_int = -6;
/// The pool turned a newcomer away; the text says why.
pub const SP_REFUSED: c_int = -7;

/// Why a call failed. It is kept small, for it travels with every call that does not fail.
#[derive(Debug)]
pub(super) struct Failure(Box<What>);

#[derive(Debug)]
struct What {
    status: c_int,
    errno: c_int,
    text: String,
}

impl Failure {
    #[cold]
    fn new(status: c_int, errno: c_int, text: String) -> Self {
        Self(Box::new(What { status, errno, text }))
    }

    pub(super) fn handle(argument: &str, kind: Kind, bad: Bad) -> Self {
        let text = format!("{argument} {}", bad.reason(kind));
        Self::new(SP_BAD_HANDLE, libc::EINVAL, text)
    }

    pub(super) fn argument(argument: &str, what: impl fmt::Display) -> Self {
        Self::new(SP_BAD_ARGUMENT, libc::EINVAL, format!("{argument} {what}"))
    }

    pub(super) fn with_errno(mut self, errno: c_int) -> Self {
        self.0.errno = errno;
        self
    }

    pub(super) fn busy(why: &str) -> Self {
        Self::new(SP_BUSY, libc::EBUSY, why.to_owned())
    }

    pub(super) fn state(why: &str) -> Self {
        Self::new(SP_BAD_STATE, libc::EPERM, why.to_owned())
    }

    /// The pool turned a newcomer away.
    pub(super) fn refused(why: Refusal) -> Self {
        Self::new(SP_REFUSED, libc::EAGAIN, format!("the pool refuses it: {why}"))
    }

    /// The operating system refused to do something.
    pub(super) fn system(what: impl fmt::Display, error: &io::Error) -> Self {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        Self::new(SP_SYSTEM, errno, format!("{what}: {error}"))
    }

    pub(super) fn memory(what: &str) -> Self {
        Self::new(SP_NO_MEMORY, libc::ENOMEM, format!("no memory for {what}"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        let (status, errno) = match &error {
            Error::Config { .. } => (SP_BAD_ARGUMENT, libc::EINVAL),
            Error::Memory { .. } => (SP_NO_MEMORY, libc::ENOMEM),
            Error::State { .. } => (SP_BAD_STATE, libc::EPERM),
            Error::Io { source, .. } => (SP_SYSTEM, source.raw_os_error().unwrap_or(libc::EIO)),
        };
        Self::new(status, errno, text)
    }
}

/// What a failure says. Its address is good for as long as it is the last one, put aside or not.
#[derive(Clone, Debug)]
enum Text {
    Ready(&'static CStr),
    Made(Rc<CStr>),
}

impl Text {
    fn as_c_str(&self) -> &CStr {
        match self {
            Self::Ready(text) => text,
            Self::Made(text) => text,
        }
    }
}

/// The last failure of a thread; `None`: there was none.
type Last = Option<(Text, c_int)>;

thread_local! {
    static LAST: RefCell<Last> = const { RefCell::new(None) };
    /// Failures that are put aside while functions of the program run, with their errno, and in which frames that was done.
    static ASIDE: RefCell<Vec<(usize, Last, c_int)>> = const { RefCell::new(Vec::new()) };
}

/// Runs a call that answers a status: what it fails with is remembered, and no panic leaves it.
#[inline(always)] // It is all that a function of C's is.
pub(super) fn call(function: &str, run: impl FnOnce() -> Result<c_int, Failure>) -> c_int {
    attempt(run).unwrap_or_else(|failure| fail(function, failure))
}

/// Runs a call that answers a value, which is `otherwise` if it fails.
#[inline(always)]
pub(super) fn answer<T>(function: &str, otherwise: T, run: impl FnOnce() -> Result<T, Failure>) -> T {
    concluded(function, otherwise, attempt(run))
}

/// The value of a call that has been attempted, or `otherwise`, and then its failure is remembered.
#[inline]
pub(super) fn concluded<T>(function: &str, otherwise: T, attempted: Result<T, Failure>) -> T {
    attempted.unwrap_or_else(|failure| {
        fail(function, failure);
        otherwise
    })
}

/// What was found without a lock and without anything that can panic, or `otherwise`.
#[inline]
pub(super) fn found<T>(function: &str, otherwise: T, found: Result<T, Bad>, kind: Kind) -> T {
    match found {
        Ok(value) => value,
        Err(bad) => {
            fail(function, Failure::handle(kind.noun(), kind, bad));
            otherwise
        }
    }
}

#[inline(always)]
pub(super) fn attempt<T>(run: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let panicked = |_| Err(Failure::state("an assertion of the library has failed"));
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(panicked)
}

/// Stores through a pointer of the caller's.
///
/// # Safety
/// It is NULL or may be written through.
pub(super) unsafe fn store<T>(argument: &str, place: *mut T, value: T) -> Result<(), Failure> {
    if place.is_null() {
        return Err(Failure::argument(argument, "is NULL"));
    }
    // SAFETY: not NULL, so the caller promises the rest.
    unsafe { place.write(value) };
    Ok(())
}

/// Calls of this process with a handle that named nothing.
static BAD_HANDLES: AtomicU64 = AtomicU64::new(0);

/// How many calls of this process have failed for a handle that named nothing.
#[unsafe(no_mangle)]
pub extern "C" fn sp_bad_handles() -> u64 {
    BAD_HANDLES.load(Ordering::Relaxed)
}

/// Remembers a failure for the thread, errno included, and returns its status.
#[cold]
fn fail(function: &str, Failure(failure): Failure) -> c_int {
    if failure.status == SP_BAD_HANDLE {
        BAD_HANDLES.fetch_add(1, Ordering::Relaxed);
    }
    let text = format!("{function}: {}", failure.text).replace('\0', " ");
    remember(Text::Made(CString::new(text).unwrap_or_default().into()), failure.errno);
    failure.status
}

/// What a function answers for which another does the work: that one's status. A failure is told under the name by which the
/// program has called.
#[inline]
pub(super) fn called_as(function: &str, status: c_int) -> c_int {
    if status < 0 {
        rename(function);
    }
    status
}

#[cold]
fn rename(function: &str) {
    let renamed = LAST.try_with(|place| {
        let place = place.borrow();
        let (text, errno) = place.as_ref()?;
        let text = text.as_c_str().to_str().ok()?;
        let told = text.split_once(": ").map(|(_, what)| format!("{function}: {what}"))?;
        Some((CString::new(told).ok()?, *errno))
    });
    if let Some((text, errno)) = renamed.ok().flatten() {
        remember(Text::Made(text.into()), errno);
    }
}

/// Remembers that there is nothing to do yet. It is no fault and happens often, so its text is ready.
pub(super) fn not_yet(text: &'static CStr) {
    remember(Text::Ready(text), libc::EAGAIN);
}

/// Functions of the program's are about to run in this frame: what fails in them is not the failure of the call that runs
/// them. They may jump away, so nothing of this is on the stack, and frames that are over are forgotten. (Stacks grow down.)
pub(super) fn put_aside(frame: usize) {
    let last = LAST.try_with(|place| place.borrow().clone());
    let _ = ASIDE.try_with(|aside| {
        let mut aside = aside.borrow_mut();
        let alive = aside.iter().take_while(|(other, ..)| *other > frame).count();
        aside.truncate(alive);
        aside.push((frame, last.ok().flatten(), errno()));
    });
}

/// They have returned.
pub(super) fn take_back(frame: usize) {
    let _ = ASIDE.try_with(|aside| {
        let mut aside = aside.borrow_mut();
        while let Some((other, last, errno)) = aside.pop() {
            if other == frame {
                let _ = LAST.try_with(|place| place.replace(last));
                set_errno(errno);
                return;
            }
        }
    });
}

fn errno() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

fn remember(text: Text, errno: c_int) {
    // A thread that is ending has no last error any more.
    let _ = LAST.try_with(|place| place.replace(Some((text, errno))));
    set_errno(errno);
}

pub(super) fn set_errno(errno: c_int) {
    // SAFETY: it points at the thread's own errno.
    unsafe { *libc::__errno_location() = errno };
}

/// What the last call of this thread that failed says about it: the function, the argument and the reason. Never NULL;
/// empty if none has failed. Valid until the next call of this thread that fails.
#[unsafe(no_mangle)]
pub extern "C" fn sp_last_error() -> *const c_char {
    const NONE: &CStr = c"";
    let last = LAST.try_with(|place| place.borrow().as_ref().map(|(text, _)| text.as_c_str().as_ptr()));
    last.ok().flatten().unwrap_or(NONE.as_ptr())
}

/// The errno that belongs to `sp_last_error`; 0 if no call of this thread has failed.
#[unsafe(no_mangle)]
pub extern "C" fn sp_last_errno() -> c_int {
    LAST.try_with(|place| place.borrow().as_ref().map_or(0, |(_, errno)| *errno)).unwrap_or(0)
}
