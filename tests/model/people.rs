//! One client, the connection it has, and everything that was said in both directions.

use std::time::Duration;

use socketpool::net::sim::Client;
use socketpool::{ConnId, Nanos, Phase, Reason};

use super::meter::Meter;

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
    /// Uses each line up while its way out is open, and answers it.
    Split,
    /// Uses a line up, and answers it in several pieces.
    Pieces,
    /// Answers one line in each event.
    OneByOne,
    /// Uses up all that there is before it answers.
    TakeAll,
    /// Uses up and answers nothing.
    Silent,
    /// Uses up, answers nothing, and says that it is done.
    Finish,
    /// Asks for each operation where that is its own business.
    Asking,
}

impl Mode {
    pub const ALL: [Self; 13] = [
        Self::Send,
        Self::Queue,
        Self::Shared,
        Self::ConsumeFirst,
        Self::Forget,
        Self::Hoard,
        Self::Split,
        Self::Pieces,
        Self::OneByOne,
        Self::TakeAll,
        Self::Silent,
        Self::Finish,
        Self::Asking,
    ];

    /// Whether it never answers.
    pub fn is_silent(self) -> bool {
        matches!(self, Self::Silent | Self::Finish)
    }

    pub fn leaves_operations_open(self) -> bool {
        self == Self::Silent
    }

    /// Whether it handles all that it is shown.
    pub fn is_diligent(self) -> bool {
        !matches!(self, Self::Forget | Self::Hoard)
    }
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
    /// Something that answers nothing was sent to it at some time.
    pub had_news: bool,
    /// Whether output waited after the last turn.
    pub waited: bool,
    /// Whether it was past its lifetime at some time.
    pub is_old: bool,
    pub spared_first: Spared,
    pub spared_idle: Spared,
    pub spared_old: Spared,
    /// Whether the application has left whole lines, or has not looked.
    pub is_stuck: bool,
    /// Whether it is another kind of application than it was: what that was refused it does not want any more.
    pub has_changed: bool,
    /// Whether lines were used up and their operation is still open.
    pub pending: bool,
    /// Whether it is known to be proven.
    pub proven: bool,
    /// Whether it is left to the application, which does nothing with it.
    pub is_left: bool,
    /// Whether it was, and nothing has been read of it since.
    pub was_left: bool,
    /// Up to where its first message had been used up when it was last shown to the application.
    pub shown: Option<usize>,
    /// In which turn it came into line for the pool's own rate.
    pub in_line_since: Option<u64>,
    /// How many of its operations had been denied when somebody last looked.
    pub denied: u64,
    pub operations: Meter,
    pub bytes_received: Meter,
    pub bytes_sent: Meter,
    /// When and how many bytes were received, the last time last.
    pub received: Vec<(Nanos, usize)>,
    /// Where the pool said that it stood when somebody last looked.
    pub phase: Phase,
    /// What had been sent to it when its window was set.
    pub window_since: u64,
    /// When the pool was last seen to make it wait, for certain, and when it may last have.
    pub imposed: (Nanos, Nanos),
    /// Whether the pool made it wait when somebody last looked.
    pub is_imposed: bool,
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
            had_news: false,
            waited: false,
            is_old: false,
            spared_first: Spared::default(),
            spared_idle: Spared::default(),
            spared_old: Spared::default(),
            is_stuck: false,
            has_changed: false,
            pending: false,
            proven: false,
            is_left: false,
            was_left: false,
            shown: None,
            in_line_since: None,
            denied: 0,
            operations: Meter::default(),
            bytes_received: Meter::default(),
            bytes_sent: Meter::default(),
            received: Vec::new(),
            phase: Phase::Unproven,
            window_since: 0,
            imposed: (Nanos::ZERO, Nanos::ZERO),
            // It may have been delayed and gone on before anybody looked.
            is_imposed: true,
        }
    }

    /// The pool took `bytes` for it.
    pub fn took(&mut self, bytes: &[u8]) {
        self.answered.extend(bytes);
        self.pending = false;
    }

    pub fn note_received(&mut self, bytes: usize, now: Nanos) {
        if bytes > 0 {
            self.received.push((now, bytes));
            if std::mem::take(&mut self.was_left) {
                self.let_go = now;
            }
        }
    }

    /// Bytes that the application has received.
    pub fn received_bytes(&self) -> usize {
        self.received.iter().map(|(_, bytes)| bytes).sum()
    }

    /// How much more the client lets the server send.
    pub fn window_left(&self) -> usize {
        let taken = self.client.as_ref().map_or(0, Client::bytes_in) - self.window_since;
        if self.window == usize::MAX { usize::MAX } else { self.window - taken as usize }
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
