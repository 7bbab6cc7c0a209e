//! Whether the process has one thread only: then nobody can be in the way, and what keeps threads apart may be left out.

use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

/// Where the C library says so; as long as nobody has asked where that is, and where it does not say so, there may be others.
static SAYS: AtomicPtr<AtomicU8> = AtomicPtr::new((&raw const MAY_BE_OTHERS).cast_mut());
static MAY_BE_OTHERS: AtomicU8 = AtomicU8::new(0);

/// Asks where the C library says so. Once is enough.
pub(super) fn find_out() {
    // SAFETY: the name ends with NUL. It is glibc's, from 2.32 on: a `char` that stays as long as the process.
    let says = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__libc_single_threaded".as_ptr()) };
    if !says.is_null() {
        SAYS.store(says.cast(), Ordering::Relaxed);
    }
}

/// Whether this thread is the only one. It stays so until it makes another, which none of our calls does.
#[inline]
pub(super) fn is_alone() -> bool {
    // SAFETY: it points at one of the two above. It is written only by the one thread that there is.
    unsafe { (*SAYS.load(Ordering::Relaxed)).load(Ordering::Relaxed) != 0 }
}
