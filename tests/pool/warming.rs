//! Connections that are made before anybody asks: all at once, or some at a time so that a restart is no stampede.

use socketpool::{PoolConfig, PoolError};

use crate::fake::{Call, Does};
use crate::scene::{Scene, ms, quiet};

#[test]
fn twelve_come_as_five_five_and_two() {
    let scene = Scene::new(PoolConfig { min_size: 12, ..quiet(20) });
    scene.pool.warm_gradually();
    scene.tick();
    assert_eq!(scene.idle(), 5, "at once");
    scene.pass(ms(99));
    assert_eq!(scene.idle(), 5);
    scene.pass(ms(1));
    assert_eq!(scene.idle(), 10, "after 100 ms");
    scene.pass(ms(99));
    assert_eq!(scene.idle(), 10);
    scene.pass(ms(1));
    assert_eq!(scene.idle(), 12, "after 200 ms");
    scene.pass(ms(1_000));
    assert_eq!((scene.idle(), scene.world.count(Call::Connect)), (12, 12));
}

#[test]
fn what_others_made_meanwhile_need_not_be_made() {
    let scene = Scene::new(PoolConfig { min_size: 12, ..quiet(20) });
    scene.pool.warm_gradually();
    scene.tick();
    drop(scene.acquire_all(9));
    scene.pass(ms(100));
    scene.pass(ms(100));
    assert_eq!((scene.idle(), scene.world.count(Call::Connect)), (12, 12));
}

#[test]
fn warming_at_once_returns_when_all_are_there() {
    let scene = Scene::new(PoolConfig { min_size: 12, ..quiet(20) });
    scene.pool.warm().unwrap();
    assert_eq!(scene.idle(), 12);
    scene.pool.warm().unwrap();
    assert_eq!(scene.world.count(Call::Connect), 12, "it is warm");
}

#[test]
fn the_error_of_what_could_not_be_made_is_returned_and_the_rest_is_kept() {
    let scene = Scene::new(PoolConfig { min_size: 4, ..quiet(20) });
    scene.world.script([Does::Work, Does::Fail, Does::Work, Does::Panic]);
    let error = scene.pool.warm().unwrap_err();
    assert!(matches!(error, PoolError::Connect(_)), "{error}");
    assert_eq!(scene.idle(), 2);
}

#[test]
fn a_pool_that_is_closed_cannot_be_warmed() {
    let scene = Scene::new(PoolConfig { min_size: 4, ..quiet(20) });
    scene.pool.close();
    assert!(matches!(scene.pool.warm(), Err(PoolError::Closed)));
    scene.pool.warm_gradually();
    scene.tick();
    assert_eq!(scene.world.count(Call::Connect), 0);
}

#[test]
fn a_pool_that_is_closed_in_the_middle_warms_no_further() {
    let scene = Scene::new(PoolConfig { min_size: 12, ..quiet(20) });
    scene.pool.warm_gradually();
    scene.tick();
    scene.pool.close();
    scene.pass(ms(100));
    scene.pass(ms(100));
    assert_eq!((scene.total(), scene.world.count(Call::Connect)), (0, 5));
    scene.world.assert_all_closed();
}
