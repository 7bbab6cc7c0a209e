//! A process that runs out of descriptors: it neither spins nor leaves anybody waiting once there is one again, and
//! idle crowds do not keep honest clients out.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::real::server::Server;
use crate::real::{Honest, PATIENCE, alone, ask, connect_from, proc, wait_until};
use crate::side_by_side;

const CROWD: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);
const HONEST: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 2);
const WATCHED: Duration = Duration::from_secs(4);

const PEERS: &[(&str, &str)] = &[
    ("nginx 1.22", "0 % CPU, retries every 500 ms"),
    ("HAProxy 2.6", "0 % CPU, 19 accepts in 2 s"),
    ("Redis 7.0", "0 % CPU; 83 % when the limit is lowered while it runs"),
    ("memcached 1.6", "0 % CPU, 150 wake-ups a second"),
    ("Go 1.19", "0 % CPU, backs off to 1 s"),
    ("axum 0.8", "0 % CPU, sleeps 1 s"),
    ("Node 20", "0 % CPU, closed 155 of 200 at once"),
    ("Netty 4.1", "0 % CPU, never served anybody again in 4 of 4 runs"),
    ("libevent evhttp", "91 % CPU, 37,000 failing accepts a second"),
    ("libevent bufferevent", "98-100 % CPU, 48,000 failing accepts a second"),
];

#[test]
fn without_descriptors_the_server_sleeps_and_the_next_client_is_served_when_one_comes_free() {
    let _alone = alone();
    let server = Server::start(&[], Some(64));
    // Whoever gets in has been served once and then owes the rest of a line: nobody of these can be evicted.
    let mut inside = Vec::new();
    let mut waiting = Vec::new();
    for number in 0..200 {
        let mut stream = connect_from(CROWD, server.address(), PATIENCE).unwrap();
        let may_come = inside.len() == number;
        if may_come && ask(&mut stream, "hello\n", Duration::from_millis(300)).is_ok() {
            std::io::Write::write_all(&mut stream, b"half a li").unwrap();
            inside.push(stream);
        } else {
            waiting.push(stream);
        }
    }
    assert!((40..64).contains(&inside.len()), "{} of 200 came in with 64 descriptors", inside.len());

    let (cpu, start) = (server.cpu(), Instant::now());
    std::thread::sleep(WATCHED);
    let used = percent(server.cpu() - cpu, start.elapsed());

    // The first of those who wait sent its line before it knew that it would wait, so it is answered as it comes in.
    let mut first = waiting.remove(0);
    let freed = Instant::now();
    drop(inside.pop());
    ask_again(&mut first).expect("it is served");
    let served_after = freed.elapsed();

    drop((inside, waiting, first));
    let watched = start.elapsed();
    let counts = server.drain();
    let failures = counts.of("accept_failures");
    let a_second = failures as f64 / watched.as_secs_f64();
    side_by_side(
        "descriptor limit 64, 200 clients, CPU over 4 s",
        PEERS,
        &format!(
            "{used:.2} % CPU, {failures} failing accepts ({a_second:.1} a second), next served after {served_after:?}"
        ),
    );
    assert!(failures > 0, "the limit was reached");
    assert!(used < 10.0 * 2.0, "{used} % of a processor for doing nothing");
    assert!(a_second <= 20.0, "{a_second} failing accepts a second");
    assert!(served_after < 10 * Duration::from_millis(50), "served after {served_after:?}");
}

#[test]
fn two_hundred_silent_clients_cost_no_processor_time() {
    let _alone = alone();
    let server = Server::start(&[], Some(64));
    let crowd: Vec<TcpStream> =
        (0..200).map(|_| connect_from(CROWD, server.address(), PATIENCE).unwrap()).collect();
    let (cpu, start) = (server.cpu(), Instant::now());
    std::thread::sleep(WATCHED);
    let used = percent(server.cpu() - cpu, start.elapsed());
    drop(crowd);
    let counts = server.drain();
    let failures = counts.of("accept_failures");
    side_by_side(
        "descriptor limit 64, 200 silent clients, CPU over 4 s",
        PEERS,
        &format!("{used:.2} % CPU, {failures} failing accepts, {} evicted", counts.of("closed_evicted")),
    );
    assert!(failures > 0, "the limit was reached");
    assert!(used < 10.0 * 2.0, "{used} % of a processor for doing nothing");
    assert!(failures as f64 / WATCHED.as_secs_f64() <= 20.0, "{failures} failing accepts");
    assert_eq!(counts.of("opened"), 200, "nobody is left in the backlog");
}

/// The control: as many clients as fit, before a loop that does not back off.
#[test]
fn a_naive_accept_loop_spins_when_descriptors_run_out() {
    let _alone = alone();
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -n 64; exec \"$0\" --ignored --exact --nocapture \"$1\""])
        .arg(std::env::current_exe().unwrap())
        .arg("descriptors::naive_accept_loop")
        .env(NAIVE, "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let mut said = |word: &str| {
        let line = lines.by_ref().map_while(Result::ok).find(|line| line.contains(word)).expect(word);
        line.split(word).nth(1).unwrap().trim().to_owned()
    };
    let address = said("naive listens on ").parse().unwrap();
    // The standard library's backlog of 128 holds all who find no descriptor; the loop ends after a second.
    let _crowd: Vec<TcpStream> =
        (0..100).map_while(|_| connect_from(CROWD, address, PATIENCE).ok()).collect();
    let failures: f64 = said("naive failures a second ").parse().unwrap();
    let used: f64 = said("naive percent ").parse().unwrap();
    child.wait().unwrap();
    println!("\ncontrol: a loop without back-off: {used:.0} % CPU, {failures:.0} failing accepts a second");
    assert!(failures > 20.0, "{failures} failing accepts a second: the bound says nothing");
    assert!(used > 2.0, "{used} %: the bound says nothing");
}

/// The child process of the control.
#[test]
#[ignore = "only the control runs it, with few descriptors"]
fn naive_accept_loop() {
    if std::env::var_os(NAIVE).is_none() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("\nnaive listens on {}", listener.local_addr().unwrap());
    let mut kept = Vec::with_capacity(64);
    let cpu = proc::cpu(std::process::id());
    while let Ok((stream, _)) = listener.accept() {
        kept.push(stream);
    }
    let (start, mut failures) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(1) {
        failures += u32::from(listener.accept().is_err());
    }
    let elapsed = start.elapsed();
    // `/proc` needs descriptors too.
    kept.truncate(1);
    println!("naive failures a second {}", f64::from(failures) / elapsed.as_secs_f64());
    println!("naive percent {}", percent(proc::cpu(std::process::id()) - cpu, elapsed));
}

#[test]
fn four_hundred_holders_at_256_descriptors_keep_no_honest_client_out() {
    let _alone = alone();
    let (honest, evicted) = honest_among_holders(&[]);
    side_by_side(
        "descriptor limit 256, 400 holders, honest clients served meanwhile",
        &[("nginx 1.22", "0 %"), ("HAProxy 2.6", "0 %"), ("legacy pool", "0 %")],
        &format!("{:.1} %, p99 {:?}, {evicted} evicted", honest.success_percent(), honest.percentile(99)),
    );
    assert!(honest.success_percent() >= 99.0, "{} %", honest.success_percent());
}

#[test]
fn control_without_eviction_400_holders_keep_everybody_out() {
    let _alone = alone();
    let (honest, evicted) = honest_among_holders(&["--eviction", "off"]);
    println!("\ncontrol: eviction off: {:.1} % of honest clients served", honest.success_percent());
    assert_eq!(evicted, 0);
    assert!(honest.success_percent() < 50.0, "{} %: the test shows nothing", honest.success_percent());
}

fn honest_among_holders(flags: &[&str]) -> (Honest, u64) {
    let server = Server::start(flags, Some(256));
    let holders: Vec<TcpStream> =
        (0..400).map(|_| connect_from(CROWD, server.address(), PATIENCE).unwrap()).collect();
    wait_until("the limit to be felt", || server.line_with("accept on ").is_some());
    let (tries, patience) = if flags.is_empty() { (200, 1000) } else { (5, 200) };
    let honest = Honest::run(
        HONEST,
        server.address(),
        tries,
        Duration::from_millis(5),
        Duration::from_millis(patience),
    );
    drop(holders);
    (honest, server.drain().of("closed_evicted"))
}

/// Reads the answer to the line that was sent before.
fn ask_again(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = [0; 6];
    std::io::Read::read_exact(stream, &mut answer)
}

fn percent(part: Duration, whole: Duration) -> f64 {
    100.0 * part.as_secs_f64() / whole.as_secs_f64()
}

const NAIVE: &str = "SOCKETPOOL_NAIVE_CHILD";
