//! Imports that run up are found however they are written.

use super::made_up::{fires, found, passes};
use crate::architecture::rules::FLOORS;

/// One line of `domain::a` that reaches for `api::b`.
fn runs_up(line: &str) {
    fires("floors", "domain/a.rs:2", &[("domain/a.rs", line)]);
}

#[test]
fn every_floor_may_use_those_below_and_none_above() {
    for (low, below) in FLOORS.iter().enumerate() {
        for (high, above) in FLOORS.iter().enumerate().skip(low + 1) {
            let up = format!("use crate::{above}::x::X;");
            fires("floors", &format!("{below}/a.rs:2"), &[(&format!("{below}/a.rs"), &up)]);
            let down = format!("use crate::{below}::x::X;");
            passes(&[(&format!("{above}/a.rs"), &down)]);
            assert!(low < high);
        }
    }
}

#[test]
fn a_use_runs_up() {
    runs_up("use crate::api::b::B;");
}

#[test]
fn a_use_in_a_group_runs_up() {
    runs_up("use crate::api::b::{self};");
    runs_up("use crate::api::b::{B as C};");
    let found = found(&[("domain/a.rs", "use crate::api::{\n    b,\n    c::{self, C},\n};")]);
    let lines =
        [":3: uses crate::api::b;", ":4: uses crate::api::c;", ":4: uses crate::api::c::C;"];
    assert!(lines.iter().all(|line| found.iter().any(|one| one.contains(line))), "{found:#?}");
}

#[test]
fn a_use_in_a_nested_group_runs_up() {
    let found = found(&[("domain/a.rs", "use crate::{domain::x::X, api::b::{B, C}};")]);
    let floors = found.iter().filter(|one| one.contains("`floors`")).count();
    assert_eq!(floors, 2, "{found:#?}");
}

#[test]
fn a_use_in_a_function_runs_up() {
    runs_up("fn f() { use crate::api::b::B; }");
}

#[test]
fn a_glob_runs_up() {
    runs_up("use crate::api::b::*;");
}

#[test]
fn a_renamed_import_runs_up() {
    runs_up("use crate::api::b as innocent;");
}

#[test]
fn an_import_without_a_name_runs_up() {
    runs_up("use crate::api::b::B as _;");
}

#[test]
fn a_path_through_a_renamed_crate_runs_up() {
    runs_up("use crate as house; fn f() { house::api::b::go(); }");
}

#[test]
fn a_path_through_the_crate_by_its_own_name_runs_up() {
    runs_up("extern crate self as house; fn f() { house::api::b::go(); }");
}

#[test]
fn an_expression_runs_up() {
    runs_up("fn f() { crate::api::b::go::<u8>(1); }");
}

#[test]
fn a_type_runs_up() {
    runs_up("struct A { b: Vec<Option<crate::api::b::B>> }");
}

#[test]
fn a_trait_bound_and_a_qualified_self_run_up() {
    runs_up("fn f<T: crate::api::b::B>(t: T) {}");
    runs_up("type A = <u8 as crate::api::b::B>::Out;");
    runs_up("impl crate::api::b::B for A {}");
}

#[test]
fn a_pattern_runs_up() {
    runs_up("fn f(x: X) { match x { crate::api::b::B { .. } => {} } }");
}

#[test]
fn a_macro_call_runs_up() {
    runs_up("fn f() { println!(\"{}\", crate::api::b::NAME); }");
    runs_up("fn f() { crate::api::b::shout!(); }");
}

#[test]
fn a_macro_definition_runs_up() {
    runs_up("macro_rules! m { ($x:expr) => { $crate::api::b::go($x) }; }");
    runs_up("macro_rules! m { () => { use $crate::api::b::B; }; }");
}

#[test]
fn an_attribute_runs_up() {
    runs_up("#[derive(crate::api::b::Show)] struct A;");
    runs_up("#[cfg_attr(unix, crate::api::b::route)] fn f() {}");
}

#[test]
fn a_path_in_the_string_of_an_attribute_runs_up() {
    runs_up("struct A { #[serde(with = \"crate::api::b\")] b: u8 }");
}

#[test]
fn super_of_super_runs_up() {
    runs_up("use super::super::api::b::B;");
    runs_up("fn f() { super::super::api::b::go(); }");
}

#[test]
fn super_counts_inline_modules() {
    runs_up("mod inner { fn f() { super::super::super::api::b::go(); } }");
    passes(&[("domain/a.rs", "mod api { pub fn go() {} } mod b { use super::api::go; }")]);
}

#[test]
fn self_and_super_mixed_run_up() {
    runs_up("use self::super::super::api::b::B;");
}

#[test]
fn a_re_export_runs_up() {
    let found = found(&[("domain/a.rs", "pub use crate::api::b::B;")]);
    let rules = ["`floors`", "`no re-exports`"];
    assert!(rules.iter().all(|rule| found.iter().any(|one| one.contains(rule))), "{found:#?}");
}

#[test]
fn test_code_runs_up() {
    runs_up("#[cfg(test)] mod tests { use crate::api::b::B; }");
    fires("floors", "domain/x/tests.rs:2", &[("domain/x/tests.rs", "use crate::api::b::B;")]);
}

#[test]
fn generated_code_runs_up() {
    let files = [("api/oip/pb/mod.rs", "type A = super::super::super::app::b::B;")];
    fires("floors", "api/oip/pb/mod.rs:2", &files);
}

#[test]
fn the_line_is_told_below_comments_and_long_strings() {
    let text =
        "/* one\n two */\nconst A: &str = \"three\nfour\"; // crate::api\n\nuse crate::api::b::B;";
    fires("floors", "domain/a.rs:7", &[("domain/a.rs", text)]);
}

#[test]
fn what_is_wrong_with_an_import_is_said_once() {
    runs_up("use crate::api::b; fn f() { b::go(); b::stop(); }");
}

#[test]
fn a_root_beside_the_floors_is_refused() {
    runs_up("fn f() { crate::shout!(); }");
    fires("floors", "attic/mod.rs:1", &[("attic/mod.rs", "")]);
}

#[test]
fn main_may_use_every_floor() {
    passes(&[("main.rs", "use tidegate::app::cli; fn main() { cli::run(); crate::help(); }")]);
    passes(&[("main.rs", "fn main() { anyhow::bail!(tidegate::domain::model::NAME) }")]);
}

#[test]
fn the_own_crate_by_name_runs_up() {
    runs_up("fn f() { tidegate::api::b::go(); }");
    runs_up("fn f() { ::tidegate::api::b::go(); }");
}

#[test]
fn words_that_only_look_like_paths_pass() {
    passes(&[
        ("domain/a.rs", "//! Made up: crate::api::b.\n/// See [`crate::api::b::B`].\nstruct A;"),
        ("domain/b.rs", "const TEXT: &str = \"crate::api::b\"; // crate::api::b"),
        ("domain/c.rs", "fn api() {} fn f(api: u8) -> impl Fn() + use<> { Api::b::<u8>() }"),
        (
            "domain/d.rs",
            "#[doc = \"crate::api::b\"] #[expect(dead_code, reason = \"x\")] fn f() {}",
        ),
    ]);
}
