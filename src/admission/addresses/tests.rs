//! The table of addresses, alone.

use super::*;

const EVERYTHING: Features = Features { scores: true, rests: true };

/// Where the address stands.
fn find(table: &Addresses, key: u128) -> Option<u32> {
    table.find(Key::v6(key)).place()
}

/// A place for an address that has none.
fn add(table: &mut Addresses, key: u128) -> Option<u32> {
    let spot = table.find(Key::v6(key));
    table.insert(Key::v6(key), spot, Nanos::ZERO)
}

fn table(capacity: usize) -> Addresses {
    let mut table = Addresses::new(FoldedState::with_seed(1));
    table.try_reserve(capacity, EVERYTHING).unwrap();
    table
}

/// An address without connections.
fn insert(table: &mut Addresses, key: u128) {
    let place = add(table, key).unwrap();
    table.refresh(place);
}

/// Entries that are looked at to find `key`.
fn probes(table: &Addresses, key: u128) -> usize {
    let chain = table.walk(table.heads[table.head(Key::v6(key)) as usize], Entry::next);
    chain.iter().position(|place| table.key(*place) == Key::v6(key)).unwrap() + 1
}

/// The hash of the legacy pool, before it seeds.
fn djb2(key: u128) -> u32 {
    key.to_be_bytes()
        .iter()
        .fold(5_381_u32, |hash, byte| hash.wrapping_mul(33).wrapping_add(u32::from(*byte)))
}

#[test]
fn an_address_takes_twenty_bytes_and_its_score_as_many() {
    assert_eq!((size_of::<Entry>(), size_of::<Score>()), (20, 20));
}

#[test]
fn keys_that_collide_under_djb2_are_found_as_fast_as_others() {
    const KEYS: usize = 65_536;
    // A byte up by one is a byte 33 down behind it: eight such pairs, four choices each.
    let colliding = (0..KEYS).map(|n| {
        let bytes = (0..8).flat_map(|pair| {
            let choice = (n >> (2 * pair) & 3) as u8;
            [100 + choice, 200 - 33 * choice]
        });
        u128::from_be_bytes(bytes.collect::<Vec<u8>>().try_into().unwrap())
    });
    let keys: Vec<u128> = colliding.collect();
    assert!(keys.iter().all(|key| djb2(*key) == djb2(keys[0])));
    for seed in 0..4 {
        let mut table = Addresses::new(FoldedState::with_seed(seed));
        table.try_reserve(KEYS, EVERYTHING).unwrap();
        for key in &keys {
            insert(&mut table, *key);
        }
        let all: Vec<usize> = keys.iter().map(|key| probes(&table, *key)).collect();
        let (sum, most) = (all.iter().sum::<usize>(), *all.iter().max().unwrap());
        // A random function gives 1.5 on average.
        assert!(sum < KEYS * 16 / 10 && most <= 12, "seed {seed}: {sum} in all, {most} at most");
    }
}

#[test]
fn the_oldest_address_without_connections_gives_way_and_a_live_one_never_does() {
    let mut table = table(3);
    for key in 0..3 {
        insert(&mut table, key);
    }
    let live = find(&table, 0).unwrap();
    table.open(live);
    table.refresh(find(&table, 1).unwrap());
    insert(&mut table, 3);
    assert_eq!((find(&table, 2), table.len()), (None, 3));
    insert(&mut table, 4);
    assert_eq!((find(&table, 1), find(&table, 0)), (None, Some(live)));
    table.assert_invariants();
}

#[test]
fn a_table_full_of_live_addresses_has_no_place_and_keeps_all() {
    let mut table = table(2);
    for key in 0..2 {
        let place = add(&mut table, key).unwrap();
        table.open(place);
    }
    assert_eq!(add(&mut table, 2), None);
    table.assert_invariants();
    table.try_reserve(3, EVERYTHING).unwrap();
    insert(&mut table, 2);
    assert_eq!((find(&table, 0), find(&table, 1), find(&table, 2)), (Some(0), Some(1), Some(2)));
    table.assert_invariants();
}

#[test]
fn a_table_without_room_finds_and_takes_nothing() {
    let mut table = Addresses::new(FoldedState::default());
    assert_eq!((find(&table, 7), add(&mut table, 7), table.memory_bytes()), (None, None, 0));
    table.assert_invariants();
}

#[test]
fn room_that_cannot_be_had_is_an_error() {
    let mut table = table(2);
    insert(&mut table, 7);
    assert!(matches!(table.try_reserve(usize::MAX / 128, EVERYTHING), Err(Error::Memory { .. })));
    assert_eq!((find(&table, 7), table.capacity()), (Some(0), 2));
    table.assert_invariants();
}

#[test]
fn a_million_addresses_take_no_more_memory_than_was_reserved() {
    let mut table = table(1_000);
    let memory = table.memory_bytes();
    for key in 0..1_000_000 {
        let place = add(&mut table, key << 64).unwrap();
        table.open(place);
        table.close(place, if key % 3 > 0 { OnceIdle::Keep } else { OnceIdle::Forget });
    }
    assert!(table.len() <= 1_000);
    assert_eq!(table.memory_bytes(), memory);
    table.assert_invariants();
}
