//! Operators and files at random, step by step on a clock that is turned: no promise breaks.
//!
//! Nothing but the seed decides what happens. A failure prints it; to see it again:
//! `TIDEGATE_SIMULATION_SEED=N make test ARGS='--test it simulation::'`.

mod files;
mod follower;
mod house;
mod world;

use crate::harness::apart::apart;
use crate::simulation::world::World;

#[test]
fn whatever_operators_and_files_do_the_best_good_version_serves() {
    apart("simulation::whatever_operators_and_files_do_the_best_good_version_serves", || {
        #[expect(clippy::disallowed_methods, reason = "a seed to see a failure again")]
        let told = std::env::var("TIDEGATE_SIMULATION_SEED").ok();
        let told = told.map(|seed| seed.parse().expect("a number"));
        let fresh = [fastrand::u64(..), fastrand::u64(..)];
        let seeds = told.map_or_else(|| [&fresh[..], &KEPT].concat(), |seed| vec![seed]);
        for seed in seeds {
            println!("seed {seed}");
            let mut world = World::new(seed);
            for step in 0..STEPS {
                world.step(step);
            }
            assert!(world.is_lively(), "{world:?}");
        }
    });
}

/// Seeds that once showed something, or see much.
const KEPT: [u64; 2] = [1, 2];

const STEPS: usize = 1_000;
