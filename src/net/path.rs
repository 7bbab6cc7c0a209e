//! The path of a unix socket: bound, taken over from the dead, and removed at the end. Touches neither what a living
//! process is bound to nor a file that is no socket.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// The longest path that the kernel binds to; its room of 108 bytes includes the zero at the end.
pub(super) const LONGEST_PATH: usize = 107;

/// The path of a unix socket that this process has made. Dropped when the socket is closed, it removes the file,
/// unless somebody else has the socket as well: a successor that it was handed to, or a child after a fork.
#[derive(Debug)]
pub(super) struct BoundPath {
    path: PathBuf,
    inode: Inode,
}

impl BoundPath {
    /// Binds `socket` to `path`. Whoever connects before it listens is refused, so `mode` holds for everybody.
    pub(super) fn bind(socket: &Socket, path: &Path, mode: Option<u32>) -> io::Result<Self> {
        let address = SockAddr::unix(path)?;
        match socket.bind(&address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => take_over(socket, path, error)?,
            result => result?,
        }
        let inode = Inode::of(&fs::symlink_metadata(path)?);
        if let Some(Err(error)) = mode.map(|mode| set_mode(path, mode)) {
            let _ = fs::remove_file(path);
            return Err(error);
        }
        Ok(Self { path: lasting(path), inode })
    }
}

impl Drop for BoundPath {
    fn drop(&mut self) {
        // Without the lock somebody is taking it over, or a file that nobody is bound to stays for the next to take.
        if let Ok(_turn) = self.inode.take_turn()
            && dead_at(&self.path) == Some(self.inode)
        {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds to a path where something is, if that is the socket of a dead process.
fn take_over(socket: &Socket, path: &Path, in_use: io::Error) -> io::Result<()> {
    let Some(dead) = dead_at(path) else {
        let no_socket = fs::symlink_metadata(path).is_ok_and(|file| !file.file_type().is_socket());
        return Err(if no_socket {
            io::Error::new(ErrorKind::AddrInUse, "what is there is no socket")
        } else {
            in_use
        });
    };
    let _turn = dead.take_turn()?;
    // Whoever had the turn before may have put his own there.
    if dead_at(path) == Some(dead) {
        fs::remove_file(path)?;
    }
    socket.bind(&SockAddr::unix(path)?)
}

/// The socket at `path`, if nobody is bound to it any more.
///
/// It is asked by connecting with a datagram socket. The kernel looks for whoever is bound before it compares types, so
/// nobody there is a refusal, and somebody is the wrong type, whether he listens already or not and however full his
/// backlog is (`unix_find_bsd` in net/unix/af_unix.c). It never blocks, and he does not notice.
fn dead_at(path: &Path) -> Option<Inode> {
    let file = fs::symlink_metadata(path).ok().filter(|file| file.file_type().is_socket())?;
    let probe = Socket::new(Domain::UNIX, Type::DGRAM, None).ok()?;
    let refused = probe
        .connect(&SockAddr::unix(path).ok()?)
        .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
    refused.then(|| Inode::of(&file))
}

/// A file, whatever name it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    fn of(file: &Metadata) -> Self {
        Self { device: file.dev(), number: file.ino() }
    }

    /// Keeps everybody else from removing this file, until the result is dropped: of two who have found it dead, the
    /// second would remove what the first has put in its place. The lock is an abstract socket, so that it leaves no
    /// file behind, ends with its process and is in nobody's way but theirs who want the same file.
    fn take_turn(self) -> io::Result<Socket> {
        let name = format!("socketpool-path-{:x}-{:x}", self.device, self.number);
        let lock = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
        let address = SockAddr::unix(format!("\0{name}"))?;
        lock.bind(&address).map_err(|error| {
            let what = "what is there is dead, but cannot be taken over while somebody holds the lock for it";
            io::Error::new(error.kind(), format!("{what}, the abstract socket @{name}: {error}"))
        })?;
        Ok(lock)
    }
}

/// The path as it is to be found after the process has changed its directory, if that can be connected to.
fn lasting(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).ok();
    absolute.filter(|path| path.as_os_str().len() <= LONGEST_PATH).unwrap_or_else(|| path.into())
}

/// Sets the permissions of the socket at `path`, and of nothing that a link may lead to.
fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    let file = File::options().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)?;
    fs::set_permissions(format!("/proc/self/fd/{}", file.as_raw_fd()), Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::Error;
    use crate::net::{Address, ListenOptions, Listener, OsListener};

    /// A path of its own for each test, removed at the end.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("socketpool-{name}-{}.sock", std::process::id())))
        }

        fn listen(&self) -> Result<OsListener, Error> {
            self.listen_with(&ListenOptions::default())
        }

        fn listen_with(&self, options: &ListenOptions) -> Result<OsListener, Error> {
            OsListener::bind(&Address::Unix(self.0.clone()), options)
        }

        /// A socket of another program that is bound here.
        fn bound(&self, kind: Type) -> Socket {
            let socket = Socket::new(Domain::UNIX, kind, None).unwrap();
            socket.bind(&self.address()).unwrap();
            socket
        }

        fn address(&self) -> SockAddr {
            SockAddr::unix(&self.0).unwrap()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn is_in_use(result: Result<OsListener, Error>) -> bool {
        let Err(Error::Io { source, .. }) = result else { return false };
        source.kind() == ErrorKind::AddrInUse
    }

    #[test]
    fn what_a_dead_process_left_is_taken_over_and_nothing_is_left_behind() {
        let place = Place::new("dead");
        drop(place.bound(Type::STREAM));
        assert!(place.0.exists(), "a dead socket is left behind");
        let listener = place.listen().expect("a dead socket is taken over");
        assert!(is_in_use(place.listen()), "a living one is not");
        UnixStream::connect(&place.0).expect("it has not been touched");
        drop(listener);
        assert!(!place.0.exists());
    }

    #[test]
    fn a_living_owner_whose_backlog_is_full_is_found_alive_without_waiting() {
        let place = Place::new("full");
        let owner = place.bound(Type::STREAM);
        owner.listen(0).unwrap();
        let clients: Vec<_> = std::iter::repeat_with(|| {
            let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            client.connect(&place.address()).map(|()| client)
        })
        .map_while(Result::ok)
        .take(100)
        .collect();
        assert!((1..100).contains(&clients.len()), "its backlog is full");
        assert!(is_in_use(place.listen()));
        for _ in &clients {
            owner.accept().expect("those who wait are still there");
        }
        owner.set_nonblocking(true).unwrap();
        assert!(owner.accept().is_err(), "nobody else has come: the owner was not bothered");
    }

    #[test]
    fn whoever_is_bound_is_alive_whether_he_listens_or_not() {
        for kind in [Type::STREAM, Type::DGRAM, Type::SEQPACKET] {
            let place = Place::new(&format!("bound-{kind:?}"));
            let owner = place.bound(kind);
            assert!(is_in_use(place.listen()), "{kind:?}");
            assert!(place.0.exists(), "{kind:?}");
            drop(owner);
            place.listen().expect("and dead when he has closed");
        }
    }

    #[test]
    fn a_file_that_is_no_socket_is_never_removed() {
        let (file, link, dead) = (Place::new("file"), Place::new("link"), Place::new("linked"));
        fs::write(&file.0, "precious").unwrap();
        drop(dead.bound(Type::STREAM));
        std::os::unix::fs::symlink(&dead.0, &link.0).unwrap();
        for place in [&file, &link] {
            let error = place.listen().unwrap_err().to_string();
            assert_eq!(error, format!("listen on unix:{}: what is there is no socket", place.0.display()));
        }
        assert_eq!(fs::read_to_string(&file.0).unwrap(), "precious");
        assert!(link.0.is_symlink() && dead.0.exists());
    }

    #[test]
    fn whoever_cannot_take_over_is_told_which_lock_somebody_holds() {
        let place = Place::new("locked");
        drop(place.bound(Type::STREAM));
        let lock = dead_at(&place.0).expect("nobody is bound to it").take_turn().unwrap();
        let error = place.listen().unwrap_err().to_string();
        let name = lock.local_addr().unwrap();
        let name = name.as_abstract_namespace().expect("an abstract name").escape_ascii().to_string();
        assert!(error.contains("taken over") && error.contains(&format!("@{name}")), "{error}");
        assert!(is_in_use(place.listen()) && place.0.exists());
        drop(lock);
        place.listen().expect("the turn is his now");
    }

    #[test]
    fn of_many_who_start_at_once_each_winner_keeps_the_path_until_he_ends() {
        let place = Place::new("race");
        let won = AtomicUsize::new(0);
        let start_and_end = |crashes: bool| match place.listen() {
            Err(error) => assert!(is_in_use(Err(error)), "somebody else was faster"),
            Ok(listener) => {
                won.fetch_add(1, Ordering::Relaxed);
                for _ in 0..3 {
                    std::thread::yield_now();
                    let _client = UnixStream::connect(&place.0).expect("the path leads to the winner");
                    listener.accept().expect("to this one");
                }
                if crashes {
                    std::mem::forget(listener.abandon_path());
                }
            }
        };
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let start_and_end = &start_and_end;
                scope.spawn(move || (0..300).for_each(|round| start_and_end((round + thread) % 2 == 0)));
            }
        });
        assert!(won.into_inner() > 4);
    }

    #[test]
    fn a_path_stays_while_a_successor_has_the_socket() {
        let place = Place::new("handed-on");
        let listener = place.listen().unwrap();
        let successor = OsListener::adopt(listener.as_fd().try_clone_to_owned().unwrap()).unwrap();
        drop(listener);
        let _client = UnixStream::connect(&place.0).expect("newcomers find the successor");
        successor.accept().unwrap();
        drop(successor);
        assert!(place.0.exists(), "the successor has not made it");
        place.listen().expect("it can be taken over");
    }

    #[test]
    fn a_path_that_another_has_put_there_stays() {
        let place = Place::new("replaced");
        let listener = place.listen().unwrap();
        fs::remove_file(&place.0).unwrap();
        let other = place.bound(Type::STREAM);
        drop(listener);
        assert!(place.0.exists());
        drop(other);
    }

    #[test]
    fn permissions_are_those_that_were_asked_for_whatever_the_umask() {
        let place = Place::new("mode");
        for mode in [0o600, 0o660, 0o666, 0o777] {
            let listener = place.listen_with(&ListenOptions::default().mode(mode)).unwrap();
            assert_eq!(fs::metadata(&place.0).unwrap().mode() & 0o7777, mode);
            drop(listener);
        }
    }

    #[test]
    fn a_relative_path_is_found_after_a_change_of_directory() {
        assert!(lasting(Path::new("pool.sock")).is_absolute());
        let long = "x".repeat(LONGEST_PATH);
        assert_eq!(lasting(Path::new(&long)), Path::new(&long), "its absolute form cannot be connected to");
    }
}
