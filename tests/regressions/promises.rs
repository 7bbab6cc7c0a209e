//! What the documentation promised and the pool did not keep.

use socketpool::{Event, Reason};

use super::{builder, connect};
use crate::support::{Rig, Seen};

#[test]
fn whoever_is_closed_when_done_after_his_end_is_not_read_again() {
    let (mut rig, mut seen, mut readable) = (Rig::new(builder()), Seen::default(), 0);
    let client = connect(&rig, 1);
    client.send(b"first\nsecond\n");
    client.finish();
    rig.settle(|pool, event| {
        seen.note(&event);
        if let Event::Readable(id) = event {
            let mut conn = pool.conn(id);
            conn.receive();
            conn.hold();
        }
    });
    assert_eq!((seen.read_closed, seen.reasons()), (1, vec![]));
    let mut conn = rig.pool.conn(seen.opened[0]);
    conn.close_when_done();
    conn.resume_reading();
    conn.again();
    rig.settle(|_, event| readable += usize::from(matches!(event, Event::Readable(_))));
    assert_eq!(readable, 0);
    rig.pool.conn(seen.opened[0]).release();
    rig.settle(seen.echo());
    assert_eq!(seen.reasons(), [Reason::Closed], "the application has asked for it");
}
