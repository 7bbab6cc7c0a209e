//! What becomes of streams: added ones, refused ones, half-closed, reset and slow ones.

use std::io::{IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, MsgHdr, SockRef, Socket, Type};
use socketpool::net::OsStream;
use socketpool::{Event, Eviction, Peer, Reason, Refusal, Sent, SocketPool};

use super::{listening_pool, opened, served};
use crate::real::{PATIENCE, echo_lines, echo_turn, read_to_fin, turn_until, wait_until};

#[test]
fn a_refused_stream_comes_back_open_with_the_reason() {
    let mut pool = SocketPool::<u32>::builder().max_connections(1).eviction(Eviction::Off).build().unwrap();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    pool.add(ours).unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let refused = pool.add(ours).unwrap_err();
    assert_eq!(refused.reason, Refusal::Full);
    UnixStream::from(refused.stream).write_all(b"still open").unwrap();
    theirs.read_exact(&mut [0; 10]).unwrap();

    pool.drain(None);
    let (ours, _theirs) = UnixStream::pair().unwrap();
    assert_eq!(pool.add(ours).unwrap_err().reason, Refusal::Draining);
    let file = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(pool.add(file).unwrap_err().reason, Refusal::Register, "it is no socket");
    pool.assert_invariants();
}

#[test]
fn an_added_stream_is_served_like_an_accepted_one() {
    let (mut pool, _) = listening_pool();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let id = pool.add(ours).unwrap();
    assert!(pool.conn(id).peer().is_unix());
    served(&mut pool, move || {
        theirs.write_all(b"hello\n").unwrap();
        let mut answer = [0; 6];
        theirs.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hello\n");
    });
    assert_eq!(pool.snapshot().counters.adopted, 1);
}

#[test]
fn a_client_that_closes_its_half_still_gets_its_answer() {
    let (mut pool, address) = listening_pool();
    let answer = served(&mut pool, move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"the last words\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        read_to_fin(&mut stream)
    });
    assert_eq!(answer.unwrap(), b"the last words\n");
    assert_eq!(pool.snapshot().closed(Reason::Peer), 1);
}

#[test]
fn a_close_with_unread_bytes_is_a_fin_and_not_a_reset() {
    let (mut pool, address) = listening_pool();
    let (mut stream, id) = opened(&mut pool, address);
    stream.write_all(&[b'x'; 10_000]).unwrap();
    turn_until(&mut pool, |_, event| matches!(event, Event::Readable(_)));
    let mut conn = pool.get(id).unwrap();
    assert_eq!(conn.send(b"no\n"), Sent::Now);
    conn.close();
    turn_until(&mut pool, |_, event| matches!(event, Event::Closed { reason: Reason::Closed, .. }));
    assert_eq!(read_to_fin(&mut stream).expect("not a reset"), b"no\n");
}

#[test]
fn a_drain_does_not_wait_for_the_rest_of_a_message_whose_sender_is_gone() {
    let (mut pool, address) = listening_pool();
    let (mut stream, _) = opened(&mut pool, address);
    stream.write_all(b"half a li").unwrap();
    while pool.snapshot().active == 0 {
        echo_turn(&mut pool, Duration::from_millis(1));
    }
    pool.drain(None);
    for _ in 0..5 {
        assert!(echo_turn(&mut pool, Duration::from_millis(1)).is_empty(), "the rest may still come");
    }
    drop(stream);
    turn_until(&mut pool, |pool, event| {
        if let Event::Readable(id) = event {
            echo_lines(&mut pool.conn(id));
        }
        event == Event::Drained
    });
    assert_eq!(pool.snapshot().closed(Reason::Drained), 1);
}

/// A process that does not ignore SIGPIPE, as C programs do not, must survive every way of writing to a dead peer.
#[test]
fn writing_to_a_dead_peer_raises_no_signal() {
    let raised = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(libc::SIGPIPE, raised.clone()).unwrap();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    assert!(ours.write_vectored(&[IoSlice::new(b"a"), IoSlice::new(b"b")]).is_err());
    assert!(raised.swap(false, Ordering::SeqCst), "the control: writev does raise it");

    let (mut pool, address) = listening_pool();
    // One slice to a peer that is gone.
    let (ours, theirs) = UnixStream::pair().unwrap();
    let id = pool.add(ours).unwrap();
    drop(theirs);
    assert_eq!(pool.get(id).unwrap().send(b"hello"), Sent::Refused);
    // Several at once: output that waits in two places, to a peer that resets.
    let (stream, id) = opened(&mut pool, address);
    let mut conn = pool.get(id).unwrap();
    while conn.send(&[b'x'; 10_000]) == Sent::Now {}
    for _ in 0..3 {
        assert_eq!(conn.send_bytes(bytes::Bytes::from_static(b"more")), Sent::Queued);
    }
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    wait_until("both to be closed", || {
        echo_turn(&mut pool, Duration::from_millis(1));
        pool.snapshot().closed(Reason::Error) == 2
    });
    assert!(!raised.load(Ordering::SeqCst), "a dead peer would have killed a C host");
}

/// What a pool receives from a peer that sends `abc`, an urgent byte and `def`, and then waits for an answer. Fails
/// when the line does not end, or when the loop does not rest after it.
fn received_around_urgent_data(before_it_is_opened: bool) -> Vec<u8> {
    let (mut pool, address) = listening_pool();
    let mut client = None;
    let mut send = |stream: TcpStream| {
        stream.set_nodelay(true).unwrap();
        (&stream).write_all(b"abc").unwrap();
        assert_eq!(SockRef::from(&stream).send_out_of_band(b"!").unwrap(), 1);
        (&stream).write_all(b"def\n").unwrap();
        client = Some(stream);
    };
    if before_it_is_opened {
        send(TcpStream::connect(address).unwrap());
    } else {
        send(opened(&mut pool, address).0);
    }
    let mut received = Vec::new();
    let until = Instant::now() + PATIENCE;
    let mut idle_turns = 0;
    while idle_turns < 2 && Instant::now() < until {
        pool.turn(Some(Duration::from_millis(20))).unwrap();
        let mut handled = 0;
        while let Some(event) = pool.next_event() {
            handled += 1;
            if let Event::Readable(id) = event {
                let mut conn = pool.conn(id);
                conn.receive();
                received.extend_from_slice(conn.input());
                conn.consume(usize::MAX);
            }
        }
        idle_turns = if handled == 0 && received.ends_with(b"\n") { idle_turns + 1 } else { 0 };
    }
    assert_eq!(idle_turns, 2, "{received:?} is all, or the loop never rests");
    drop(client);
    pool.assert_invariants();
    received
}

#[test]
fn what_lies_behind_urgent_data_is_delivered_without_waiting_for_more() {
    // The urgent byte itself travels out of band: nobody asks for it.
    assert_eq!(received_around_urgent_data(true), b"abcdef\n");
    assert_eq!(received_around_urgent_data(false), b"abcdef\n");
}

#[test]
fn a_mebibyte_comes_back_byte_for_byte_through_a_window_of_four_kibibytes() {
    let (mut pool, address) = listening_pool();
    let sent: Vec<u8> =
        (0..1u32 << 20).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let expected = sent.clone();
    let client = std::thread::spawn(move || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        // Segments as large as loopback likes do not fit into such a window: each would wait for a probe.
        socket.set_tcp_mss(1024).unwrap();
        socket.connect(&address.into()).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut writer = stream.try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            writer.write_all(&sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut echoed = Vec::new();
        stream.read_to_end(&mut echoed).unwrap();
        writer.join().unwrap();
        echoed
    });
    let mut most_waiting = 0;
    turn_until(&mut pool, |pool, event| {
        if let Event::Readable(id) = event {
            let mut conn = pool.conn(id);
            conn.receive();
            let (mut input, mut output) = conn.split();
            let all = input.take(input.len()).expect("so many are there");
            assert_ne!(output.send(all), Sent::Refused, "the marks stop reading in time");
            most_waiting = most_waiting.max(conn.waiting_output());
        }
        matches!(event, Event::Closed { reason: Reason::Peer, .. })
    });
    assert!(client.join().unwrap() == expected, "another byte than was sent");
    println!("at most {most_waiting} bytes waited");
    pool.assert_invariants();
}

/// Sends `bytes` and, with them, a copy of `descriptor`.
fn send_with_descriptor(to: &UnixStream, bytes: &[u8], descriptor: &impl AsRawFd) {
    let len = size_of::<libc::cmsghdr>() + size_of::<i32>();
    let mut control = Vec::new();
    control.extend_from_slice(&len.to_ne_bytes());
    control.extend_from_slice(&libc::SOL_SOCKET.to_ne_bytes());
    control.extend_from_slice(&libc::SCM_RIGHTS.to_ne_bytes());
    control.extend_from_slice(&descriptor.as_raw_fd().to_ne_bytes());
    control.resize(len.next_multiple_of(size_of::<usize>()), 0);
    let buffers = [IoSlice::new(bytes)];
    let message = MsgHdr::new().with_buffers(&buffers).with_control(&control);
    assert_eq!(SockRef::from(to).sendmsg(&message, 0).unwrap(), bytes.len());
}

/// Turns until the client has got so many bytes and the loop rests.
fn answers(pool: &mut SocketPool<u32>, mut client: &UnixStream, len: usize) -> Vec<u8> {
    client.set_nonblocking(true).unwrap();
    let (mut got, mut bytes) = (Vec::new(), [0; 4096]);
    wait_until("the answers, and rest", || {
        echo_turn(pool, Duration::from_millis(1));
        let n = client.read(&mut bytes).unwrap_or(0);
        got.extend_from_slice(&bytes[..n]);
        got.len() >= len && pool.next_timeout() != Some(Duration::ZERO)
    });
    pool.assert_invariants();
    got
}

/// Two lines, each with a descriptor, sent before the server reads; and then one without.
fn answers_behind_descriptors(pool: &mut SocketPool<u32>, client: &UnixStream) {
    let file = std::fs::File::open("/dev/null").unwrap();
    send_with_descriptor(client, b"one\n", &file);
    send_with_descriptor(client, b"two\n", &file);
    assert_eq!(answers(pool, client, 8), b"one\ntwo\n");
    (&mut &*client).write_all(b"three\n").unwrap();
    assert_eq!(answers(pool, client, 6), b"three\n");
}

#[test]
fn what_lies_behind_a_message_with_a_descriptor_is_answered_without_another_send() {
    let mut pool = SocketPool::<u32>::builder().build().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    pool.add(ours).unwrap();
    answers_behind_descriptors(&mut pool, &theirs);

    // One that says to come from elsewhere is a unix socket all the same.
    let (ours, theirs) = UnixStream::pair().unwrap();
    let peer = Peer::from("192.0.2.7:4711".parse::<std::net::SocketAddr>().unwrap());
    pool.add_stream(OsStream::adopt(ours).unwrap(), peer).unwrap();
    answers_behind_descriptors(&mut pool, &theirs);

    let name = format!("descriptors-{}", std::process::id());
    pool.listen(&format!("unix:@{name}")).unwrap();
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
    answers_behind_descriptors(&mut pool, &UnixStream::connect_addr(&address).unwrap());
}

#[test]
fn what_lies_behind_the_urgent_byte_of_a_unix_peer_is_answered_too() {
    let mut pool = SocketPool::<u32>::builder().build().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    pool.add(ours).unwrap();
    (&theirs).write_all(b"one\n").unwrap();
    if SockRef::from(&theirs).send_out_of_band(b"!").is_err() {
        return; // kernels before 5.15
    }
    (&theirs).write_all(b"two\n").unwrap();
    assert_eq!(answers(&mut pool, &theirs, 8), b"one\ntwo\n");
}

#[test]
fn a_descriptor_that_a_peer_sends_is_closed_as_soon_as_its_bytes_are_read() {
    let mut pool = SocketPool::<u32>::builder().build().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    pool.add(ours).unwrap();
    let (sent, mut other_end) = UnixStream::pair().unwrap();
    send_with_descriptor(&theirs, b"hello\n", &sent);
    drop(sent);
    assert_eq!(answers(&mut pool, &theirs, 6), b"hello\n");
    other_end.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(other_end.read(&mut [0; 1]).expect("nobody holds it open"), 0);
}

#[test]
fn a_close_behind_messages_with_descriptors_is_no_reset() {
    let mut pool = SocketPool::<u32>::builder().build().unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let id = pool.add(ours).unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    for _ in 0..3 {
        send_with_descriptor(&theirs, b"unread\n", &file);
    }
    assert_eq!(pool.conn(id).send(b"no\n"), Sent::Now);
    pool.conn(id).close();
    turn_until(&mut pool, |_, event| matches!(event, Event::Closed { reason: Reason::Closed, .. }));
    let mut got = Vec::new();
    theirs.set_read_timeout(Some(PATIENCE)).unwrap();
    theirs.read_to_end(&mut got).expect("not a reset");
    assert_eq!(got, b"no\n");
}
