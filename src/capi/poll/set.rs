//! What is registered in a poll, what the kernel knows of it, and the events of the last wait. Does not wait.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use super::super::handles;
use super::super::nesting::this_thread;
use super::super::status::Failure;
use super::entries::Entries;
use super::silences::{FOR_GOOD, Silences};
use super::{SocketEvent_T, alive};
use crate::net::epoll::{ERROR, Epoll, Found, HANGUP, READ, WRITE};

/// What the program registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) fd: RawFd,
    /// The socket's handle; 0 for a plain descriptor.
    pub(super) socket: u64,
    pub(super) wish: u32,
    pub(super) data: *mut c_void,
}

/// The set of a poll.
#[derive(Debug)]
pub(super) struct Set {
    epoll: Arc<Epoll>,
    entries: Entries,
    /// Of which entries POLL_READ is withheld.
    silences: Silences,
    /// Of which pools connections are registered, in order, and how many of each.
    owners: Vec<(u64, usize)>,
    /// Whose wish the kernel may not know yet.
    changed: Vec<RawFd>,
    /// What a wait works with; whoever waits has it.
    batch: Option<Batch>,
    /// Until when a wait that goes on sleeps, in nanoseconds; while that is being decided, for ever, and without a wait 0.
    sleeps_until: u64,
    /// How many waits there have been.
    waits: u64,
    /// What the last wait has told. Invariant: its memory does not move.
    events: Vec<SocketEvent_T>,
    /// Of which descriptor each of them is.
    told: Vec<RawFd>,
    /// Which thread it was told.
    reader: usize,
    next_generation: u32,
    /// So many waits in a row have found somebody who is not registered.
    haunted: u32,
    pub(super) default_timeout_ms: c_int,
}

// SAFETY: the data of an entry, and of an event, is not looked at here.
unsafe impl Send for Set {}

/// What a wait works with.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) found: Found,
    /// The connections that are readable.
    pub(super) told: Vec<u64>,
}

#[derive(Debug)]
pub(super) struct Entry {
    /// The socket's handle; 0 for a plain descriptor.
    socket: u64,
    data: *mut c_void,
    /// The pool, if it is a connection; else 0.
    owner: u64,
    fd: RawFd,
    /// With the descriptor it tells one entry from those that had the descriptor before.
    generation: u32,
    /// Where among the events it was told last; of an earlier wait if another descriptor was told there since.
    told: u32,
    wish: Wish,
    /// What the kernel is asked for.
    asked: Wish,
    /// It is in `changed`.
    changed: bool,
    /// POLL_READ is withheld.
    silent: bool,
}

/// READ and WRITE as they are asked for.
type Wish = u8;

impl Entry {
    /// What the kernel is to be asked for.
    const fn due(&self) -> Wish {
        if self.silent { self.wish & !(READ as Wish) } else { self.wish }
    }

    const fn token(&self) -> u64 {
        (self.generation as u64) << 32 | self.fd.cast_unsigned() as u64
    }
}

impl Set {
    pub(super) fn new(most: usize) -> Result<Self, Failure> {
        let no_memory = || Failure::memory("the events of a poll");
        let mut events = Vec::new();
        let mut told = Vec::new();
        let mut connections = Vec::new();
        events.try_reserve_exact(most).map_err(|_| no_memory())?;
        told.try_reserve_exact(most).map_err(|_| no_memory())?;
        connections.try_reserve_exact(most).map_err(|_| no_memory())?;
        let found = Found::with_room(most).ok_or_else(no_memory)?;
        let epoll = Epoll::new().map_err(|error| Failure::system("cannot make an epoll set", &error))?;
        Ok(Self {
            epoll: Arc::new(epoll),
            entries: Entries::new(),
            silences: Silences::new(),
            owners: Vec::new(),
            changed: Vec::new(),
            batch: Some(Batch { found, told: connections }),
            sleeps_until: 0,
            waits: 0,
            events,
            told,
            reader: 0,
            next_generation: 0,
            haunted: 0,
            default_timeout_ms: DEFAULT_TIMEOUT_MS,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Registers a member that belongs to that pool, if to any.
    pub(super) fn add(&mut self, member: Member, owner: u64) -> Result<(), Failure> {
        let fd = member.fd;
        if self.is_registered(fd) {
            let exists = io::Error::from_raw_os_error(libc::EEXIST);
            return Err(Failure::system(format_args!("descriptor {fd} is in the poll already"), &exists));
        }
        self.remove(fd);
        let no_memory = || Failure::memory("another descriptor in the poll");
        self.owners.try_reserve(1).map_err(|_| no_memory())?;
        let Member { socket, data, wish, .. } = member;
        let (generation, wish) = (self.next_generation, wish as Wish);
        let entry = Entry {
            socket,
            data,
            owner: 0,
            fd,
            generation,
            told: u32::MAX,
            wish,
            asked: wish,
            changed: false,
            silent: false,
        };
        let token = entry.token();
        if !self.entries.insert(fd, entry) {
            return Err(no_memory());
        }
        if let Err(error) = self.epoll.add(fd, token, wish.into()) {
            self.entries.remove(fd);
            return Err(Failure::system(format_args!("descriptor {fd} cannot be polled"), &error));
        }
        self.next_generation = generation.wrapping_add(1);
        self.belong(fd, owner);
        Ok(())
    }

    /// Whether what has this descriptor now is what was registered under it.
    fn is_registered(&self, fd: RawFd) -> bool {
        self.entries.get(fd).is_some_and(|entry| {
            alive(entry.socket).is_ok() && self.epoll.set(fd, entry.token(), entry.asked.into()).is_ok()
        })
    }

    /// A registered descriptor has become a connection of a pool; `false` if it is not registered.
    pub(super) fn join(&mut self, fd: RawFd, socket: u64, owner: u64) -> bool {
        let Some(entry) = self.entries.get_mut(fd) else { return false };
        if entry.socket != 0 && entry.socket != socket {
            return false;
        }
        entry.socket = socket;
        if entry.owner == 0 && self.owners.try_reserve(1).is_ok() {
            self.belong(fd, owner);
        }
        true
    }

    /// Counts an entry for its pool. There must be room for another.
    fn belong(&mut self, fd: RawFd, owner: u64) {
        let Some(entry) = self.entries.get_mut(fd).filter(|_| owner != 0) else { return };
        entry.owner = owner;
        match self.owners.binary_search_by_key(&owner, |(owner, _)| *owner) {
            Ok(at) => self.owners[at].1 += 1,
            Err(at) => self.owners.insert(at, (owner, 1)),
        }
        // Whoever waits must not sleep through what is due there.
        self.ring_for_waiter();
    }

    /// The pool after that one, of those whose connections are registered.
    pub(super) fn next_owner(&self, after: u64) -> Option<u64> {
        let at = self.owners.partition_point(|(owner, _)| *owner <= after);
        self.owners.get(at).map(|(owner, _)| *owner)
    }

    /// Records a wish.
    pub(super) fn change(&mut self, member: Member) -> Result<(), Failure> {
        let fd = member.fd;
        let entry = self.find(fd, member.socket)?;
        entry.wish = member.wish as Wish;
        entry.data = member.data;
        self.settle_later(fd).map_err(|error| {
            Failure::system(format_args!("descriptor {fd} is not in the poll any more"), &error)
        })
    }

    pub(super) fn take_out(&mut self, fd: RawFd, socket: u64) -> Result<(), Failure> {
        self.find(fd, socket)?;
        self.remove(fd);
        Ok(())
    }

    fn find(&mut self, fd: RawFd, socket: u64) -> Result<&mut Entry, Failure> {
        self.remove_dead(fd);
        let is_it = |entry: &&mut Entry| socket == 0 || entry.socket == 0 || entry.socket == socket;
        self.entries.get_mut(fd).filter(is_it).ok_or_else(|| {
            let unknown = io::Error::from_raw_os_error(libc::ENOENT);
            Failure::system(format_args!("descriptor {fd} is not in the poll"), &unknown)
        })
    }

    /// Removes an entry whose socket is no more.
    pub(super) fn remove_dead(&mut self, fd: RawFd) {
        if self.entries.get(fd).is_some_and(|entry| alive(entry.socket).is_err()) {
            self.remove(fd);
        }
    }

    /// Removes an entry, if there is one.
    pub(super) fn remove(&mut self, fd: RawFd) {
        let Some(entry) = self.entries.remove(fd) else { return };
        if entry.silent {
            self.silences.end(fd);
        }
        // The kernel has forgotten by itself what was closed before.
        let _ = self.epoll.remove(fd);
        if let Ok(at) = self.owners.binary_search_by_key(&entry.owner, |(owner, _)| *owner) {
            self.owners[at].1 -= 1;
            if self.owners[at].1 == 0 {
                self.owners.remove(at);
            }
        }
        // What it was told of may be freed by now. Another thread may be reading the events: it must look out for itself.
        let at = entry.told as usize;
        if self.told.get(at) == Some(&fd)
            && self.reader == this_thread()
            && let Some(event) = self.events.get_mut(at)
        {
            event.events = 0;
        }
    }

    pub(super) fn want_write(&mut self, fd: RawFd) {
        let Some(entry) = self.entries.get_mut(fd) else { return };
        if entry.wish & WRITE as Wish == 0 {
            entry.wish |= WRITE as Wish;
            let _ = self.settle_later(fd);
        }
    }

    /// Withholds POLL_READ until then, or for as long as it is withheld for good; `false` if it is not registered.
    pub(super) fn mute(&mut self, fd: RawFd, until_ms: u64) -> bool {
        let Some(entry) = self.entries.get_mut(fd) else { return false };
        if self.silences.of(fd) == Some(FOR_GOOD) {
            return true;
        }
        if !self.silences.begin(fd, until_ms) {
            return false;
        }
        entry.silent = true;
        let _ = self.settle_later(fd);
        self.ring_for_waiter();
        true
    }

    pub(super) fn unmute(&mut self, fd: RawFd) {
        if self.silences.of(fd).is_none_or(|until| until == FOR_GOOD) {
            return;
        }
        self.silences.end(fd);
        if let Some(entry) = self.entries.get_mut(fd) {
            entry.silent = false;
            let _ = self.settle_later(fd);
        }
    }

    /// Ends the silences whose time is over.
    fn unmute_due(&mut self, now_ms: u64) {
        while let Some(fd) = self.silences.end_next_due(now_ms) {
            let Some(entry) = self.entries.get_mut(fd) else { continue };
            entry.silent = false;
            let due = entry.due();
            // One that the kernel does not know was closed: its next change, or its successor, takes it out.
            if due != entry.asked && self.epoll.set(fd, entry.token(), due.into()).is_ok() {
                entry.asked = due;
            }
        }
    }

    /// Has the kernel asked before the next wait for what an entry wishes; at once if a wait goes on. An entry that the
    /// kernel does not know any more is removed.
    fn settle_later(&mut self, fd: RawFd) -> io::Result<()> {
        let Some(entry) = self.entries.get(fd) else { return Ok(()) };
        if entry.changed || entry.due() == entry.asked {
            return Ok(());
        }
        // Those that were removed and came again may stand in it twice.
        let is_full = self.changed.len() >= self.entries.len();
        if self.batch.is_none() || is_full || self.changed.try_reserve(1).is_err() {
            return self.settle(fd);
        }
        self.changed.push(fd);
        if let Some(entry) = self.entries.get_mut(fd) {
            entry.changed = true;
        }
        Ok(())
    }

    fn settle(&mut self, fd: RawFd) -> io::Result<()> {
        let Some(entry) = self.entries.get_mut(fd) else { return Ok(()) };
        entry.changed = false;
        let due = entry.due();
        if due == entry.asked {
            return Ok(());
        }
        let settled = self.epoll.set(fd, entry.token(), due.into());
        match settled {
            Ok(()) => entry.asked = due,
            // It was closed.
            Err(_) => self.remove(fd),
        }
        settled
    }

    /// Begins a wait, which ends when the batch is given back. `None` while another one goes on.
    pub(super) fn begin_wait(&mut self, now_ms: u64) -> Option<(Arc<Epoll>, Batch)> {
        let batch = self.batch.take()?;
        if self.haunted >= MOST_HAUNTED {
            self.start_over();
        }
        self.unmute_due(now_ms);
        while let Some(fd) = self.changed.pop() {
            let _ = self.settle(fd);
        }
        self.waits += 1;
        self.sleeps_until = u64::MAX;
        self.events.clear();
        self.told.clear();
        Some((Arc::clone(&self.epoll), batch))
    }

    pub(super) fn waits(&self) -> u64 {
        self.waits
    }

    #[cfg(test)]
    pub(super) fn room_for_changes(&self) -> usize {
        self.changed.capacity()
    }

    /// When the next silence ends, in milliseconds; `u64::MAX`: never.
    pub(super) fn muted_until(&mut self) -> u64 {
        self.silences.next_end()
    }

    /// Takes the batch of that wait, for which events are to be told; `None` if it is not the last one any more.
    pub(super) fn take_batch(&mut self, wait: u64) -> Option<Batch> {
        if wait == self.waits { self.batch.take() } else { None }
    }

    /// A wait that has begun sleeps until then, unless somebody is in a hurry.
    pub(super) fn sleep_until(&mut self, wake: u64) {
        self.sleeps_until = self.sleeps_until.min(wake);
    }

    /// Something is due in a pool at that time, and who waits may not know.
    pub(super) fn hurry(&mut self, pool: u64, due: u64) {
        let is_in = self.owners.binary_search_by_key(&pool, |(owner, _)| *owner).is_ok();
        if is_in && self.sleeps_until > due {
            self.sleeps_until = due;
            self.ring();
        }
    }

    pub(super) fn give_back(&mut self, batch: Batch) {
        self.sleeps_until = 0;
        self.batch = Some(batch);
    }

    /// Makes the events of what a wait has found.
    pub(super) fn tell(&mut self, batch: &mut Batch) {
        let Batch { found, told } = batch;
        told.clear();
        self.events.clear();
        self.told.clear();
        self.reader = this_thread();
        let mut strangers = false;
        for (token, ready) in found.iter() {
            let fd = (token as u32).cast_signed();
            let Some(entry) = self.entries.get_mut(fd).filter(|entry| entry.token() == token) else {
                strangers = true;
                continue;
            };
            if alive(entry.socket).is_err() {
                self.remove(fd);
                continue;
            }
            // It may wish for less since the wait.
            let events = ready & (u32::from(entry.due()) | ERROR | HANGUP);
            if events == 0 || self.events.len() == self.events.capacity() {
                continue;
            }
            let Entry { socket, data, .. } = *entry;
            entry.told = self.events.len() as u32;
            self.told.push(fd);
            let socket_handle = std::ptr::without_provenance_mut(socket as usize);
            self.events.push(SocketEvent_T { socket: socket_handle, data, events });
            if events & READ != 0
                && let Some(connection) = handles::connection_of(socket)
            {
                told.push(connection);
            }
        }
        self.haunted = if strangers { self.haunted + 1 } else { 0 };
    }

    /// The events of the last wait.
    pub(super) fn events(&mut self) -> (*mut SocketEvent_T, usize) {
        (self.events.as_mut_ptr(), self.events.len())
    }

    /// Makes a new set in the kernel. What was closed before it was taken out, and of which somebody has a copy, would be told
    /// by the old one as long as that lives.
    fn start_over(&mut self) {
        let Ok(epoll) = Epoll::new() else { return };
        self.haunted = 0;
        let mut gone = Vec::new();
        for entry in self.entries.values_mut() {
            let due = entry.due();
            // A descriptor that was closed without a word may have a number by now that is somebody else's.
            let known = self.epoll.set(entry.fd, entry.token(), entry.asked.into());
            match known.and_then(|()| epoll.add(entry.fd, entry.token(), due.into())) {
                Ok(()) => entry.asked = due,
                Err(_) => gone.push(entry.fd),
            }
        }
        self.epoll = Arc::new(epoll);
        gone.into_iter().for_each(|fd| self.remove(fd));
    }

    /// Ends a wait that goes on.
    pub(super) fn ring(&self) {
        self.epoll.ring();
    }

    /// The same where somebody waits.
    fn ring_for_waiter(&self) {
        if self.batch.is_none() {
            self.ring();
        }
    }
}

const DEFAULT_TIMEOUT_MS: c_int = 1000;
/// What is taken out while a wait ends may be found by that wait, and by the one that began before, but by no third.
const MOST_HAUNTED: u32 = 3;
