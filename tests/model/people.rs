//! One client, the connection it has, and everything that was said in both directions.

use std::time::Duration;

use socketpool::net::sim::Client;
use socketpool::{ConnId, Nanos, Reason};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// In a backlog, or refused.
    Waiting,
    Live,
    Gone(Reason),
}

/// What the application does with the lines of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Send,
    Queue,
    Shared,
    /// Uses the line up before it answers.
    ConsumeFirst,
    /// Forgets to receive.
    Forget,
    /// Receives and uses nothing up.
    Hoard,
}

impl Mode {
    pub const ALL: [Self; 6] =
        [Self::Send, Self::Queue, Self::Shared, Self::ConsumeFirst, Self::Forget, Self::Hoard];
}

/// What was done to a connection, and explains its end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    pub finished: bool,
    pub reset: bool,
    pub closed: bool,
    pub closed_when_done: bool,
    pub killed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Own {
    pub first: Option<Option<Duration>>,
    pub idle: Option<Option<Duration>>,
    pub lifetime: Option<Option<Duration>>,
    pub stall: Option<Option<Duration>>,
}

pub struct Person {
    pub client: Option<Client>,
    pub address: u8,
    pub id: Option<ConnId>,
    pub state: State,
    pub mode: Mode,
    pub done: Done,
    pub own: Own,
    pub held: bool,
    pub paused: bool,
    pub read_closed: bool,
    pub window: usize,
    /// Everything that the client has sent, and how much of it the application has used up.
    pub said: Vec<u8>,
    pub used: usize,
    /// Lines begun so far.
    pub lines: u32,
    /// Whether the last line lacks its end.
    pub partial: bool,
    /// Everything that the pool took for this client, broadcasts left out.
    pub answered: Vec<u8>,
    /// Everything that the client has got.
    pub got: Vec<u8>,
    /// A line that was used up and whose answer was refused.
    pub owed: Vec<u8>,
    pub created: Nanos,
    /// When it was last released from a hold; its time for a first message begins anew then.
    pub let_go: Nanos,
    /// When bytes last moved.
    pub moved: Nanos,
    /// When output last moved, or did not wait: not before the first, not after the second.
    pub progress: (Nanos, Nanos),
    pub bytes_in: u64,
    /// Whether the application has said something of its own accord since the last turn.
    pub pushed: bool,
    /// Whether output waited after the last turn.
    pub waited: bool,
    /// Whether it was past its lifetime at some time.
    pub is_old: bool,
    pub spared_first: Spared,
    pub spared_idle: Spared,
    pub spared_old: Spared,
}

/// When a turn comes late a connection is heard, or may finish, in it; it is gone with the next one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spared(Option<(Nanos, Nanos)>);

impl Spared {
    /// Whether it holds that one who is `late`, counted from `since`, still lives at `now`.
    pub fn holds(&mut self, late: bool, since: Nanos, now: Nanos) -> bool {
        if !late || self.0.is_some_and(|(_, before)| before != since) {
            self.0 = None;
        }
        !late || self.0.get_or_insert((now, since)).0 + Duration::from_millis(1) >= now
    }
}

/// The short form: numbers of bytes in place of bytes.
impl std::fmt::Debug for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, state, mode, done, own, held, paused, window, created, moved, progress, .. } = self;
        write!(
            f,
            "{:?} {id:?} {state:?} {mode:?} {done:?} {own:?} held={held} paused={paused} ",
            self.client
        )?;
        write!(f, "window={window} created={created:?} moved={moved:?} progress={progress:?} ")?;
        let bytes = [self.said.len(), self.used, self.answered.len(), self.got.len(), self.owed.len()];
        write!(f, "said, used, answered, got, owed: {bytes:?}")
    }
}

impl Person {
    pub fn new(client: Client, address: u8, window: usize, now: Nanos) -> Self {
        client.set_window(window);
        Self {
            client: Some(client),
            address,
            id: None,
            state: State::Waiting,
            mode: Mode::Send,
            done: Done::default(),
            own: Own::default(),
            held: false,
            paused: false,
            read_closed: false,
            window,
            said: Vec::new(),
            used: 0,
            lines: 0,
            partial: false,
            answered: Vec::new(),
            got: Vec::new(),
            owed: Vec::new(),
            created: now,
            let_go: Nanos::ZERO,
            moved: now,
            progress: (now, now),
            bytes_in: 0,
            pushed: false,
            waited: false,
            is_old: false,
            spared_first: Spared::default(),
            spared_idle: Spared::default(),
            spared_old: Spared::default(),
        }
    }

    /// Whether its life may be over, spread by a tenth as it is.
    pub fn is_past_lifetime(&self, pool: Option<Duration>, now: Nanos) -> bool {
        let lifetime = self.own.lifetime.unwrap_or(pool);
        lifetime.is_some_and(|lifetime| now >= self.created + lifetime.mul_f64(0.9))
    }

    /// Whether the client can still say something.
    pub fn can_send(&self) -> bool {
        self.client.is_some() && !self.done.finished && !self.done.reset
    }

    /// Says the end of a line that was begun, or a whole one, or the beginning of one.
    pub fn say(&mut self, index: usize, n: usize, whole: bool) {
        if !self.can_send() {
            return;
        }
        let mut bytes = Vec::new();
        if !self.partial {
            bytes.extend(format!("{index}.{}", self.lines).bytes());
            self.lines += 1;
        }
        bytes.extend(std::iter::repeat_n(b'a' + (n % 26) as u8, n));
        if whole {
            bytes.push(b'\n');
        }
        self.partial = !whole;
        if let Some(client) = &self.client {
            client.send(&bytes);
        }
        self.said.extend(bytes);
    }

    /// Checks what the client has got against what the pool took for it: all of it, where nothing may be lost.
    pub fn check_received(&mut self, all: bool) {
        let Some(client) = &self.client else { return };
        client.take_into(&mut self.got);
        let got = without_broadcasts(&self.got);
        let common = got.len().min(self.answered.len());
        assert!(
            got.len() <= self.answered.len() && got[..common] == self.answered[..common],
            "{self:?} got {:?}, was sent {:?}",
            text(&got),
            text(&self.answered)
        );
        assert!(!all || got.len() == self.answered.len(), "{self:?} lost bytes, got {:?}", text(&got));
    }

    /// Complete lines that were not used up yet, or not answered.
    pub fn waits_for_answers(&self) -> bool {
        !self.owed.is_empty() || self.said[self.used..].contains(&b'\n')
    }
}

/// Broadcasts are lines of their own: they come between answers and never into one.
fn without_broadcasts(bytes: &[u8]) -> Vec<u8> {
    bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line[0] != b'!').flatten().copied().collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
