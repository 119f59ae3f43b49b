//! The form of files: each rule fires, and what it allows passes.

use super::made_up::{fires, found, passes};

#[test]
fn a_file_without_a_header_is_found() {
    for text in ["// x\nfn f() {}", "//!\nfn f() {}", "//!x", "/// x", "//! \n//! x"] {
        fires("header", "domain/a.rs:1", &[("domain/a.rs", text)]);
    }
    fires("header", "platform/store/tests.rs:1", &[("platform/store/tests.rs", "// x")]);
}

#[test]
fn a_header_may_have_80_characters() {
    let longest = format!("//! {}", "ä".repeat(76));
    passes(&[("domain/a.rs", &longest)]);
    fires("header", "domain/a.rs:1", &[("domain/a.rs", &format!("{longest}."))]);
}

#[test]
fn a_file_may_have_600_lines() {
    let longest = format!("//! Long.\n{}", "\n".repeat(599));
    passes(&[
        ("domain/a.rs", &longest),
        ("domain/b/tests.rs", &"// x\n".repeat(2).replacen("//", "//!", 1)),
    ]);
    fires("length", "domain/a.rs:601", &[("domain/a.rs", &format!("{longest}\n"))]);
    passes(&[("domain/b/tests.rs", &format!("{longest}\n"))]);
}

#[test]
fn a_face_with_more_than_modules_is_found() {
    for text in [
        "pub struct A;",
        "pub mod a;\nuse std::fs;",
        "pub mod a { }",
        "pub(crate) mod a;",
        "macro_rules! m { () => {}; }",
    ] {
        let line = text.lines().count() + 1;
        fires("face", &format!("domain/mod.rs:{line}"), &[("domain/mod.rs", text)]);
    }
    let found = found(&[("domain/mod.rs", "pub use self::a::A;")]);
    assert_eq!(found.len(), 2, "{found:#?}");
}

#[test]
fn a_face_with_docs_attributes_and_modules_passes() {
    let text = "//! Face.\n//!\n//! More.\n\n\
                #![warn(dead_code)]\n/// A.\n#[cfg(unix)]\npub mod a;\n\
                mod b; // b\n";
    passes(&[("domain/mod.rs", text), ("domain/tensor/mod.rs", "#[cfg(test)]\nmod tests;")]);
    passes(&[("domain/demod.rs", "struct A;")]);
}

#[test]
fn the_root_holds_floors_only() {
    passes(&[("lib.rs", "pub mod domain;\n#[cfg(unix)]\npub mod app;")]);
    for text in ["mod domain;", "pub mod attic;", "pub fn f() {}"] {
        fires("face", "lib.rs:2", &[("lib.rs", text)]);
    }
}

#[test]
fn main_has_fewer_than_30_lines_of_code() {
    let calls = "    tidegate::app::run();\n\n    // Comment.\n";
    passes(&[("main.rs", &format!("fn main() {{\n{}}}", calls.repeat(27)))]);
    let long = format!("//! Main.\nfn main() {{\n{}}}", calls.repeat(28));
    let last = long.lines().count();
    fires("thin main", &format!("main.rs:{last}"), &[("main.rs", &long)]);
}

#[test]
fn names_that_hold_anything_are_found() {
    for name in ["common", "utils", "helpers", "misc", "types", "manager", "base", "core"] {
        fires("names", &format!("domain/{name}.rs:1"), &[(&format!("domain/{name}.rs"), "")]);
        let folder = format!("domain/{name}/mod.rs");
        fires("names", &format!("{folder}:1"), &[(&folder, "")]);
        let declared = format!("pub mod {name};");
        fires("names", "domain/mod.rs:2", &[("domain/mod.rs", &declared)]);
        let inline = format!("mod {name} {{}}");
        fires("names", "domain/a.rs:2", &[("domain/a.rs", &inline)]);
    }
    passes(&[("platform/cores.rs", ""), ("insight/baseline.rs", "")]);
}

#[test]
fn all_of_super_is_for_tests() {
    for text in ["use super::*;", "mod a { use super::super::*; }", "use super::a::*;"] {
        fires("no super glob", "domain/a.rs:2", &[("domain/a.rs", text)]);
    }
    passes(&[
        ("domain/a.rs", "#[cfg(test)]\nmod tests {\n    use super::*;\n}"),
        ("domain/b.rs", "#[cfg(all(test, unix))] mod tests { mod deep { use super::*; } }"),
        ("domain/c/tests.rs", "use super::*;"),
    ]);
}

#[test]
fn import_trees_are_found() {
    for text in [
        "use crate::{domain::a::A};",
        "use tidegate::{domain};",
        "use crate::domain::{a::A, b};",
        "use {crate::domain::a::A, std::fs};",
        "use super::{a::A};",
    ] {
        fires("no import trees", "platform/x.rs:2", &[("platform/x.rs", text)]);
    }
}

#[test]
fn one_use_per_parent_passes() {
    let text = "use std::{collections::BTreeMap, fs};\n\
                use crate::domain::a::{self, A, B as C};\n\
                use super::y::{X, Y};";
    passes(&[("platform/x.rs", text)]);
}

#[test]
fn re_exports_are_found() {
    for text in [
        "pub use std::fs;",
        "pub(crate) use std::fs;",
        "pub(in crate::domain) use std::fs;",
        "mod a { pub use std::fs; }",
    ] {
        fires("no re-exports", "domain/a.rs:2", &[("domain/a.rs", text)]);
    }
    passes(&[("domain/a.rs", "pub fn f(x: u8) { use std::fs; }\npub struct A(u8); use std::io;")]);
}

#[test]
fn a_file_beside_its_folder_is_found() {
    let files = [("domain/a.rs", ""), ("domain/a/mod.rs", ""), ("domain/a/b.rs", "")];
    fires("one face", "domain/a.rs:1", &files);
    passes(&[("domain/a.rs", ""), ("domain/ab/mod.rs", ""), ("domain/mod.rs", "")]);
}

#[test]
fn code_that_is_not_in_its_place_is_found() {
    for text in ["#[path = \"b.rs\"] mod a;", "include!(\"b.rs\");"] {
        fires("code in its place", "domain/a.rs:2", &[("domain/a.rs", text)]);
    }
    passes(&[(
        "domain/a.rs",
        "const A: &str = include_str!(\"a.txt\"); #[api(path = \"/x\")] fn f() {}",
    )]);
}

#[test]
fn generated_code_has_any_form() {
    passes(&[
        (
            "api/oip/pb/mod.rs",
            "// Generated.\npub mod types { pub use super::*; include!(\"x.rs\"); }",
        ),
        ("api/oip/pb/inference.v2.rs", &"// Generated.\n".repeat(900)),
    ]);
}

#[test]
fn a_file_that_is_not_rust_is_found() {
    fires("readable", "domain/a.rs:1", &[("domain/a.rs", "fn f() {")]);
}

#[test]
fn all_findings_are_listed_in_order_with_place_rule_and_reason() {
    let files = [
        ("domain/b.rs", "use crate::app::run::run;\nfn f() { unsafe { go() } }"),
        ("domain/a.rs", "use anyhow::Error;"),
    ];
    let found = found(&files);
    assert_eq!(
        found,
        [
            "src/domain/a.rs:2: uses anyhow::Error; rule `only app, main, tests may`: errors below \
             the top floor are enums with fields",
            "src/domain/b.rs:2: uses crate::app::run::run; rule `floors`: imports run down only: \
             state a trait below and implement it above",
            "src/domain/b.rs:3: uses `unsafe` or allows it; rule `only serving::runtime::onnx, \
             platform::memory may`: what the compiler cannot check stays in two places",
        ]
    );
}
