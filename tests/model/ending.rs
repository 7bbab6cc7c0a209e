//! How every story ends: all that was asked is answered once nothing stands against it, the pool drains, and the counters
//! say what was told.

use socketpool::Reason;
use socketpool::net::sim::Call;

use super::config;
use super::people::{Mode, Own, State};
use super::story::Model;
use crate::support::{Rig, ms};

impl Model {
    /// With every limit lifted and every window open, all that was asked is answered and nobody is left waiting.
    pub fn everything_is_answered_when_nothing_stands_against_it(&mut self, rig: &mut Rig<usize>) {
        for call in [Call::Accept, Call::Receive, Call::Send, Call::Watch, Call::WatchRoom, Call::Wait] {
            rig.world.heal(call);
        }
        self.ends_shortage();
        self.reconfigure(rig, config::lift);
        self.most_connections = usize::MAX;
        self.most_per_ip = None;
        if !self.accepting {
            self.pause_or_resume_accepting(rig);
        }
        for index in 0..self.people.len() {
            self.people[index].own =
                Own { first: Some(None), idle: Some(None), lifetime: Some(None), stall: Some(None) };
            self.open_window(index, usize::MAX);
            if self.people[index].paused {
                self.pause_or_resume(rig, index);
            }
            if self.people[index].held {
                self.hold_or_release(rig, index, rig.hand.now());
            }
        }
        rig.pool.for_each(|conn| {
            conn.set_first_message_timeout(None).unwrap();
            conn.set_idle_timeout(None).unwrap();
            conn.set_lifetime(None).unwrap();
            conn.set_write_stall_timeout(None).unwrap();
        });
        self.turn(rig);
        for index in 0..self.people.len() {
            self.set_mode(rig, index, Mode::Send);
        }
        // Slow rates need many small steps; a pool that has forgotten somebody has no next step, or goes in circles.
        for _ in 0..5_000 {
            self.turn(rig);
            match rig.pool.next_timeout() {
                None => break,
                Some(timeout) => rig.hand.advance(timeout),
            }
        }
        for person in self.people.iter_mut().filter(|person| person.state == State::Live) {
            let silenced = person.done.closed_when_done || person.done.reset;
            let info = person.id.and_then(|id| rig.pool.get(id).map(|conn| conn.info()));
            let waits = person.waits_for_answers() && !silenced && !self.draining;
            assert!(!waits, "{person:?} waits for ever: {info:?}");
            person.check_received(!person.done.reset);
        }
        assert!(self.draining || rig.world.waiting() == 0, "somebody is stranded in the backlog");
    }

    pub fn the_pool_drains(&mut self, rig: &mut Rig<usize>) {
        self.drain(rig, Some(ms(100)));
        self.turn(rig);
        rig.hand.advance(ms(101));
        self.turn(rig);
        assert_eq!(self.drained, 1, "the drain ends at its deadline");
        let snapshot = rig.pool.snapshot();
        let counters = &snapshot.counters;
        assert_eq!((counters.closed_total(), snapshot.connections.now), (counters.opened, 0));
        // Whoever ended before the application had heard of it was opened and closed in silence.
        let silent = counters.opened - self.opened;
        let told = |reason: &Reason| self.closed.get(reason).copied().unwrap_or_default();
        let untold: u64 = Reason::ALL.iter().map(|reason| snapshot.closed(*reason) - told(reason)).sum();
        assert_eq!(untold, silent, "ends that were told");
        let came = counters.accepted + counters.adopted;
        assert_eq!(came, counters.opened + snapshot.refused_total(), "newcomers are opened or refused");
        let met = self.people.iter().filter(|person| person.state != State::Waiting).count() as u64;
        assert_eq!(met, self.opened);
        let added = self.people.iter().filter(|person| person.id.is_some());
        assert!(
            added.clone().all(|person| person.state != State::Waiting),
            "who was added hears of both ends"
        );
    }
}
