//! How deep a thread is in calls of the program's functions that call us that call the program's functions.
//!
//! Those may jump out of it all, and then nobody returns: so each level is known by where its frame is, and a frame below that
//! of whoever asks is over. (Stacks grow down.)

use std::cell::Cell;

/// The frames of the levels, the outermost first, and how many there are.
type Frames = ([usize; DEEPEST], usize);

thread_local! {
    static FRAMES: Cell<Frames> = const { Cell::new(([0; DEEPEST], 0)) };
}

/// Begins a level; `false` if that is one too many.
pub(super) fn enter(frame: usize) -> bool {
    let entered = FRAMES.try_with(|frames| {
        let (mut levels, mut n) = above(frames.get(), frame);
        let has_room = n < DEEPEST;
        if has_room {
            levels[n] = frame;
            n += 1;
        }
        frames.set((levels, n));
        has_room
    });
    // A thread that is ending is in no other call.
    entered.unwrap_or(true)
}

/// Ends a level, and those that were jumped out of.
pub(super) fn leave(frame: usize) {
    let _ = FRAMES.try_with(|frames| frames.set(above(frames.get(), frame)));
}

/// A number that no other thread has that runs now.
pub(super) fn this_thread() -> usize {
    thread_local!(static PLACE: Cell<u8> = const { Cell::new(0) });
    PLACE.with(|place| std::ptr::from_ref(place).addr())
}

fn above((levels, n): Frames, frame: usize) -> Frames {
    let alive = levels[..n].iter().take_while(|level| **level > frame).count();
    (levels, alive)
}

const DEEPEST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_only_so_deep_and_whoever_jumped_away_does_not_count() {
        for level in 0..DEEPEST {
            assert!(enter(1000 - level));
        }
        assert!(!enter(500));
        leave(1000 - (DEEPEST - 1));
        assert!(enter(500) && !enter(499));
        // Some function jumped away, to a loop that calls us again and again.
        assert!(enter(998) && enter(998) && enter(998));
        leave(1000);
        for level in 0..DEEPEST {
            assert!(enter(700 - level));
        }
    }
}
