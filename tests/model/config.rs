//! Limits drawn from dice. A die of 0 gives the tamest choice, so that a failing case shrinks to few limits.

use std::time::Duration;

use socketpool::{
    Builder, ByteRate, Config, Eviction, OutputHigh, OverRate, Proof, Rate, ReadStall, SocketPool,
    SynProtection, WhenFull,
};

use super::meter::Price;
use crate::support::ms;

/// How many dice [`limits`] looks at.
pub const DICE: usize = 23;

/// Rates of operations of one connection, and of the pool, and rates of bytes, as the model knows them.
const OWN: [(Rate, Price); 2] = [
    (Rate::new(1, ms(100)).burst(2), Price::of(ms(100), 2)),
    (Rate::new(1, ms(10)).burst(1), Price::of(ms(10), 1)),
];
const POOL: [(Rate, Price); 2] = [
    (Rate::new(1, ms(50)).burst(3), Price::of(ms(50), 3)),
    (Rate::new(1, ms(4)).burst(1), Price::of(ms(4), 1)),
];
const BYTES: [(ByteRate, Price); 2] = [
    (ByteRate::per_second(1000).burst(64), Price::of(ms(1), 64)),
    (ByteRate::per_second(10_000).burst(16), Price::of(Duration::from_micros(100), 16)),
];
const OUTPUTS: [(usize, usize, usize); 5] =
    [(256 << 10, 64 << 10, 16 << 10), (64, 64, 16), (256, 128, 32), (64, 2, 1), (8 << 10, 4 << 10, 1 << 10)];
const INPUTS: [usize; 4] = [64 << 10, 64, 256, 8 << 10];
const STALL: ReadStall = ReadStall { bytes: 10, window: ms(50) };

/// The prices of what the limits in `config` bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prices {
    pub own: Option<Price>,
    pub pool: Option<Price>,
    pub received: Option<Price>,
    pub sent: Option<Price>,
}

impl Prices {
    pub fn of(config: &Config) -> Self {
        Self {
            own: look_up(&OWN, config.operation_rate),
            pool: look_up(&POOL, config.pool_operation_rate),
            received: look_up(&BYTES, config.received_rate),
            sent: look_up(&BYTES, config.sent_rate),
        }
    }
}

fn look_up<R: PartialEq>(known: &[(R, Price)], rate: Option<R>) -> Option<Price> {
    rate.map(|rate| known.iter().find(|(other, _)| *other == rate).expect("a rate of this file").1)
}

fn choose<T: Clone>(die: usize, choices: &[T]) -> T {
    choices[die % choices.len()].clone()
}

fn rate<R: Copy>(die: usize, known: &[(R, Price)]) -> Option<R> {
    known.get((die % 8).checked_sub(5)?).map(|(rate, _)| *rate)
}

pub fn limits(dice: &[u8; DICE]) -> Builder<usize> {
    let mut dice = dice.iter().copied().map(usize::from);
    let mut die = || dice.next().expect("as many dice as are looked at");
    let (max_output, high, low) = choose(die(), &OUTPUTS);
    let mut builder = SocketPool::<usize>::builder()
        .max_output(max_output)
        .output_high(high)
        .output_low(low)
        .max_connections(choose(die(), &[16, 1, 2, 4]))
        .eviction(choose(die(), &[Eviction::OldestUnproven, Eviction::Off]))
        .eviction_grace(choose(die(), &[ms(20), Duration::ZERO, ms(5)]))
        .eviction_idle(choose(die(), &[ms(20), ms(1), ms(100)]))
        .when_full(choose(die(), &[WhenFull::Wait, WhenFull::Refuse]))
        .first_message_timeout(choose(die(), &[None, Some(ms(200)), Some(ms(50))]))
        .idle_timeout(choose(die(), &[None, Some(ms(500)), Some(ms(100))]))
        .lifetime(choose(die(), &[None, None, Some(ms(300))]))
        .write_stall_timeout(choose(die(), &[None, Some(ms(300)), Some(ms(50))]))
        .read_stall(choose(die(), &[None, None, Some(STALL)]))
        .max_input(choose(die(), &INPUTS))
        .on_output_high(choose(die(), &[OutputHigh::StopReading, OutputHigh::Report]))
        .proof(choose(die(), &[Proof::Answered, Proof::Consumed]))
        .received_rate(rate(die(), &BYTES))
        .sent_rate(rate(die(), &BYTES))
        .operation_rate(rate(die() + 1, &OWN))
        .pool_operation_rate(rate(die() + 1, &POOL))
        .over_rate(choose(die(), &[OverRate::Ask, OverRate::Delay, OverRate::Close, OverRate::Delay]))
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

/// Changes one limit, which one `n` says.
pub fn change(config: &mut Config, n: usize) {
    let die = n / 20;
    match n % 20 {
        0 => config.max_connections = choose(die, &[1, 3, 20]),
        1 => config.idle_timeout = choose(die, &[None, Some(ms(40)), Some(ms(400))]),
        2 => config.first_message_timeout = choose(die, &[None, Some(ms(40)), Some(ms(400))]),
        3 => config.eviction = choose(die, &[Eviction::Off, Eviction::OldestUnproven]),
        4 => config.max_per_ip = choose(die, &[None, Some(1), Some(3)]),
        5 => config.write_stall_timeout = choose(die, &[None, Some(ms(40)), Some(ms(400))]),
        6 => config.lifetime = choose(die, &[None, Some(ms(250))]),
        7 => config.read_stall = choose(die, &[None, Some(STALL)]),
        8 => config.received_rate = rate(die + 4, &BYTES),
        9 => config.sent_rate = rate(die + 4, &BYTES),
        10 | 11 => config.operation_rate = rate(die + 4, &OWN),
        12 | 13 => config.pool_operation_rate = rate(die + 4, &POOL),
        14 | 15 => config.over_rate = choose(die, &[OverRate::Ask, OverRate::Delay, OverRate::Close]),
        16 => config.max_input = choose(die, &INPUTS),
        17 => {
            (config.max_output, config.output_high, config.output_low) = choose(die, &OUTPUTS);
        }
        18 => config.on_output_high = choose(die, &[OutputHigh::StopReading, OutputHigh::Report]),
        _ => config.max_buffer_bytes = choose(die, &[None, Some(64 << 10)]),
    }
}

/// What the buffers of one connection hold at most, whatever their size classes are.
pub fn largest_buffers(config: &Config) -> usize {
    2 * (config.max_input + config.max_output) + 1024
}

/// Lifts whatever could keep somebody from being answered.
pub fn lift(config: &mut Config) {
    config.max_connections = 200;
    config.first_message_timeout = None;
    config.idle_timeout = None;
    config.lifetime = None;
    config.write_stall_timeout = None;
    config.read_stall = None;
    config.max_buffer_bytes = None;
    config.max_per_ip = None;
    config.proof = Proof::Answered;
    // What has been said with more room would not fit now.
    config.max_input = config.max_input.max(64 << 10);
    if config.over_rate == OverRate::Close {
        config.over_rate = OverRate::Ask;
    }
}
