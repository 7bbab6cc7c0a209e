//! Limits drawn from dice. A die of 0 gives the tamest choice, so that a failing case shrinks to few limits.

use std::time::Duration;

use socketpool::{
    Builder, ByteRate, Eviction, OutputHigh, OverRate, Proof, Rate, ReadStall, SocketPool, SynProtection,
    WhenFull,
};

use crate::support::ms;

/// How many dice [`limits`] looks at.
pub const DICE: usize = 22;

fn choose<T: Clone>(die: u8, choices: &[T]) -> T {
    choices[usize::from(die) % choices.len()].clone()
}

pub fn limits(dice: &[u8; DICE]) -> Builder<usize> {
    let mut dice = dice.iter().copied();
    let mut die = || dice.next().expect("as many dice as are looked at");
    let (max_output, high, low) =
        choose(die(), &[(256 << 10, 64 << 10, 16 << 10), (64, 64, 16), (256, 128, 32), (64, 2, 1)]);
    let mut builder = SocketPool::<usize>::builder()
        .max_output(max_output)
        .output_high(high)
        .output_low(low)
        .max_connections(choose(die(), &[16, 1, 2, 4]))
        .eviction(choose(die(), &[Eviction::OldestUnproven, Eviction::Off]))
        .eviction_grace(choose(die(), &[ms(20), Duration::ZERO, ms(5)]))
        .when_full(choose(die(), &[WhenFull::Wait, WhenFull::Refuse]))
        .first_message_timeout(choose(die(), &[None, Some(ms(200)), Some(ms(50))]))
        .idle_timeout(choose(die(), &[None, Some(ms(500)), Some(ms(100))]))
        .lifetime(choose(die(), &[None, None, Some(ms(300))]))
        .write_stall_timeout(choose(die(), &[None, Some(ms(300)), Some(ms(50))]))
        .read_stall(choose(die(), &[None, None, Some(ReadStall { bytes: 10, window: ms(50) })]))
        .max_input(choose(die(), &[64 << 10, 64, 256]))
        .on_output_high(choose(die(), &[OutputHigh::StopReading, OutputHigh::Report]))
        .proof(choose(die(), &[Proof::Answered, Proof::Consumed]))
        .received_rate(choose(die(), &[None, None, None, Some(ByteRate::per_second(1000).burst(64))]))
        .sent_rate(choose(die(), &[None, None, None, Some(ByteRate::per_second(1000).burst(64))]))
        .operation_rate(choose(die(), &[None, None, Some(Rate::new(1, ms(100)).burst(2))]))
        .pool_operation_rate(choose(die(), &[None, None, None, Some(Rate::new(1, ms(50)).burst(3))]))
        .over_rate(choose(die(), &[OverRate::Ask, OverRate::Delay, OverRate::Close]))
        .max_per_ip(choose(die(), &[None, None, Some(1), Some(2)]))
        .accept_rate(choose(die(), &[None, None, None, Some(Rate::per_second(10).burst(2))]))
        .max_buffer_bytes(choose(die(), &[None, None, Some(64 << 10)]));
    if die() % 4 == 3 {
        builder = builder.syn_protection(
            SynProtection::default().max_attempts(6).window(ms(500)).block(ms(300)).max_tracked(16),
        );
    }
    builder
}
