//! Hostile clients on real sockets, against a server on its defaults: each test says beside its own figures what other
//! servers did (measured on their defaults), and each has a control in which the protection is off and it fails.
//!
//! A time or a share of a processor is printed; a test fails on one only at ten times the bound. Run with
//! `--nocapture` to see the figures.

mod real;

#[path = "hostile/deadlines.rs"]
mod deadlines;
#[path = "hostile/descriptors.rs"]
mod descriptors;
#[path = "hostile/draining.rs"]
mod draining;
#[path = "hostile/never_read.rs"]
mod never_read;
#[path = "hostile/slowloris.rs"]
mod slowloris;

/// Prints one test's figures beside those of other servers.
fn side_by_side(what: &str, peers: &[(&str, &str)], ours: &str) {
    println!("\n{what}");
    for (name, figures) in peers {
        println!("  {name:<22} {figures}");
    }
    println!("  {:<22} {ours}", "socketpool");
}
