//! The state machine of a drain: from taking newcomers to having none left, with no way back.
//! Closes nothing and holds no deadline; `server/draining` does both and sends the events.

use std::fmt;

/// How far a pool is on its way out, as its users see it.
///
/// A pool goes through the states in this order and never back. A drain whose deadline has passed still shows as
/// draining, until the last connection is gone.
///
/// ```
/// use socketpool::State;
///
/// fn load_balancer_may_send_more(state: State) -> bool {
///     match state {
///         State::Active => true,
///         State::Draining | State::Drained => false,
///     }
/// }
/// assert!(!load_balancer_may_send_more(State::Draining));
/// assert_eq!(State::Drained.to_string(), "drained");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Newcomers are taken.
    Active,
    /// Newcomers are refused; whoever is busy may finish.
    Draining,
    /// Every connection is gone and was reported. Newcomers are refused for ever.
    Drained,
}

impl State {
    /// The state as a word for logs, metrics and tables, never changed.
    ///
    /// ```
    /// assert_eq!(socketpool::State::Active.as_str(), "active");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Drained => "drained",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a drain stands.
///
/// ```text
///            Begin              Expired
///   Active ─────────▶ Draining ─────────▶ Forcing
///                        │                   │
///                        │ LastClosed        │ LastClosed
///                        ▼                   │
///                     Drained ◀──────────────┘
/// ```
///
/// | state    | newcomers | connections                                     |
/// |----------|-----------|-------------------------------------------------|
/// | Active   | taken     | served                                          |
/// | Draining | refused   | closed unless busy; the busy ones finish first  |
/// | Forcing  | refused   | closed, in slices, whether busy or not          |
/// | Drained  | refused   | none                                            |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum DrainState {
    #[default]
    Active,
    Draining,
    Forcing,
    Drained,
}

/// What moves a drain on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DrainEvent {
    /// Sent by `drain()`. A drain that has begun is not begun again: later calls may only change the deadline,
    /// which is kept elsewhere.
    Begin,
    /// Sent by `server/draining` when the drain's deadline has passed. A drain without a deadline never gets it.
    Expired,
    /// Sent by `server/draining` when nobody is left and every `Closed` event has been delivered. This includes a pool
    /// that was empty when the drain began: whoever sends `Begin` looks, and sends this one at once.
    /// An active pool that loses its last connection stays active.
    LastClosed,
}

impl DrainState {
    /// The state after `event`. Pairs that are not in the diagram change nothing, so senders need not look first.
    #[must_use]
    pub(crate) const fn next(self, event: DrainEvent) -> Self {
        match (self, event) {
            (Self::Active, DrainEvent::Begin) => Self::Draining,
            (Self::Draining, DrainEvent::Expired) => Self::Forcing,
            (Self::Draining | Self::Forcing, DrainEvent::LastClosed) => Self::Drained,
            (state, _) => state,
        }
    }

    /// What users see of it.
    #[must_use]
    pub(crate) const fn state(self) -> State {
        match self {
            Self::Active => State::Active,
            Self::Draining | Self::Forcing => State::Draining,
            Self::Drained => State::Drained,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DrainEvent::{Begin, Expired, LastClosed};
    use super::DrainState::{Active, Drained, Draining, Forcing};
    use super::*;

    #[test]
    fn every_pair_of_state_and_event_goes_where_the_table_says() {
        let table = [
            (Active, Begin, Draining),
            (Active, Expired, Active),
            (Active, LastClosed, Active),
            (Draining, Begin, Draining),
            (Draining, Expired, Forcing),
            (Draining, LastClosed, Drained),
            (Forcing, Begin, Forcing),
            (Forcing, Expired, Forcing),
            (Forcing, LastClosed, Drained),
            (Drained, Begin, Drained),
            (Drained, Expired, Drained),
            (Drained, LastClosed, Drained),
        ];
        for (state, event, after) in table {
            assert_eq!(state.next(event), after, "{state:?} on {event:?}");
        }
    }

    #[test]
    fn an_empty_pool_drains_at_once() {
        assert_eq!(DrainState::default().next(Begin).next(LastClosed).state(), State::Drained);
    }

    #[test]
    fn forcing_shows_as_draining() {
        let shown = [Active, Draining, Forcing, Drained].map(|state| state.state().as_str());
        assert_eq!(shown, ["active", "draining", "draining", "drained"]);
    }

    #[test]
    fn no_event_leads_back() {
        for state in [Active, Draining, Forcing, Drained] {
            for event in [Begin, Expired, LastClosed] {
                assert!(state.next(event) as u8 >= state as u8, "{state:?} on {event:?}");
            }
        }
    }

    #[test]
    fn a_state_is_written_by_its_word() {
        let states = [State::Active, State::Draining, State::Drained];
        assert_eq!(states.map(|state| format!("{state:<9}|")), ["active   |", "draining |", "drained  |"]);
    }
}
