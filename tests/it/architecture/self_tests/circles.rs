//! Circles are found between files, and not where there is none.

use super::made_up::{fires, found, passes};

#[test]
fn two_files_in_a_circle_are_found() {
    let files =
        [("domain/a.rs", "use crate::domain::b::B;"), ("domain/b.rs", "use crate::domain::a::A;")];
    fires("circles", "domain/a.rs:2", &files);
    let found = found(&files);
    let way = "domain::a:2 -> domain::b:2 -> domain::a;";
    assert!(found.iter().all(|one| one.contains(way)), "{found:#?}");
}

#[test]
fn three_files_in_a_circle_are_found() {
    let files = [
        ("domain/a.rs", "use crate::domain::b::B;"),
        ("domain/b.rs", "use crate::domain::c::C;\nuse crate::domain::d::D;"),
        ("domain/c.rs", "\nfn f() { crate::domain::a::go(); }"),
        ("domain/d.rs", ""),
    ];
    fires("circles", "domain/a.rs:2", &files);
}

#[test]
fn a_circle_through_super_is_found() {
    let files = [("domain/a.rs", "use super::b::B;"), ("domain/b.rs", "type A = super::a::A;")];
    fires("circles", "domain/a.rs:2", &files);
}

#[test]
fn a_circle_through_a_face_by_its_modules_is_found() {
    let files = [
        ("domain/mod.rs", "pub mod a;\npub mod b;"),
        ("domain/a.rs", "use crate::domain; fn f() { domain::b::go(); }"),
        ("domain/b.rs", "use super::a;"),
    ];
    fires("circles", "domain/a.rs:2", &files);
}

#[test]
fn a_circle_through_a_glob_is_found() {
    let files = [
        ("domain/mod.rs", "pub mod a;\npub mod b;"),
        ("domain/a.rs", "use crate::domain::*; fn f() { b::go(); }"),
        ("domain/b.rs", "use super::a::A;"),
    ];
    fires("circles", "domain/a.rs:2", &files);
}

#[test]
fn a_circle_through_macro_words_and_inline_modules_is_found() {
    let files = [
        ("domain/a.rs", "fn f() { vec![crate::domain::b::B]; }"),
        ("domain/b.rs", "mod inner { use super::super::a::A; }"),
    ];
    fires("circles", "domain/a.rs:2", &files);
}

#[test]
fn a_circle_between_folders_is_found() {
    let files = [
        ("serving/a/x.rs", "use crate::serving::b::y::Y;"),
        ("serving/b/y.rs", "use crate::serving::a::x::X;"),
    ];
    fires("circles", "serving/a/x.rs:2", &files);
}

#[test]
fn two_circles_are_both_found() {
    let found = found(&[
        ("domain/a.rs", "use super::b::B;"),
        ("domain/b.rs", "use super::a::A;"),
        ("domain/c.rs", "use super::d::D;"),
        ("domain/d.rs", "use super::c::C;"),
    ]);
    assert_eq!(found.len(), 2, "{found:#?}");
}

#[test]
fn tests_may_look_back() {
    passes(&[
        (
            "domain/mod.rs",
            "pub mod a;\npub mod b;\n#[cfg(test)]\nmod tests;\n#[cfg(test)] mod fake;",
        ),
        ("domain/a.rs", "use super::b::B; #[cfg(test)] use super::b::C;"),
        (
            "domain/b.rs",
            "#[cfg(test)]\n#[rustfmt::skip]\npub(crate) mod tests { use super::super::a::A; }",
        ),
        ("domain/tests.rs", "use super::a::A; use super::fake::F;"),
        ("domain/fake.rs", "use super::tests::T;"),
    ]);
}

#[test]
fn only_test_modules_may_look_back() {
    for text in [
        "#[cfg(test)] fn f() {} mod inner { use crate::domain::a::A; }",
        "#[cfg(not(test))] mod inner { use crate::domain::a::A; }",
        "#[cfg(any(test, unix))] mod inner { use crate::domain::a::A; }",
        "#[cfg(test)] mod tests {} use crate::domain::a::A;",
    ] {
        let files = [("domain/a.rs", "use super::b::B;"), ("domain/b.rs", text)];
        fires("circles", "domain/a.rs:2", &files);
    }
}

#[test]
fn a_diamond_and_a_face_are_no_circle() {
    passes(&[
        ("domain/mod.rs", "pub mod a;\npub mod b;\npub mod c;\npub mod d;"),
        ("domain/a.rs", "use super::b::B;\nuse super::c::C;\nuse crate::domain;"),
        ("domain/b.rs", "use super::d::D;"),
        ("domain/c.rs", "use super::d::D; mod own { use super::own; }"),
        ("domain/d.rs", "fn f() { self::f(); crate::domain::d::f(); }"),
    ]);
}

#[test]
fn names_of_one_scope_do_not_leak_into_another() {
    passes(&[
        ("domain/a.rs", "use super::b::X; fn f() { X::new(); }"),
        (
            "domain/b.rs",
            "struct X; fn f() { X::new(); } #[cfg(test)] mod tests { use crate::domain::a::X; }",
        ),
    ]);
}
