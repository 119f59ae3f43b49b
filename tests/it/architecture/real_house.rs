//! The rules on our own sources, and the tables against typing errors.

use std::path::Path;

use super::house::House;
use super::inspect::findings;
use super::rules::{FEATURES, FLOORS, NEVER, ONLY, floor_of};

#[test]
fn every_rule_of_the_house_is_kept() {
    let found = findings(&our_house());
    let lines: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} rules broken:\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn our_own_sources_are_what_is_read() {
    let house = our_house();
    for file in ["lib.rs", "main.rs"] {
        assert!(house.files.contains_key(file), "found no src/{file}: are the rules read at all?");
    }
}

#[test]
fn every_module_in_the_tables_is_on_a_floor() {
    let never = NEVER.iter().flat_map(|(from, to, _)| [*from, *to]);
    let homes = ONLY.iter().flat_map(|row| row.homes.iter().copied());
    let features = FEATURES.iter().map(|(floor, _, _)| *floor);
    for module in never.chain(homes).chain(features).chain(FLOORS.iter().copied()) {
        assert!(module == "tests" || floor_of(module).is_some(), "no floor holds {module}");
    }
}

fn our_house() -> House {
    House::at(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}
