//! What only some modules may touch is found elsewhere, not at home.

use super::made_up::{fires, found, passes};
use crate::architecture::rules::{ONLY, SQL as SQL_TEXT, UNSAFE as UNSAFE_CODE};

const ORT: &str = "only serving::runtime may";
const STORE: &str = "only platform::store may";
const READS: &str = "only app::config may";
const WRITES: &str = "only platform::memory may";
const UNSAFE: &str = "only serving::runtime::onnx, platform::memory may";
const ANYHOW: &str = "only app, main, tests may";

/// One line is refused in `control::x`.
fn refused(rule: &str, line: &str) {
    fires(rule, "control/x.rs:2", &[("control/x.rs", line)]);
}

#[test]
fn every_row_fires_away_from_home_and_passes_at_home() {
    for row in ONLY {
        let paths = row.things.iter().filter(|thing| ![SQL_TEXT, UNSAFE_CODE].contains(thing));
        for thing in paths {
            let line = format!("use {thing};");
            refused(&format!("only {} may", row.homes.join(", ")), &line);
            for home in row.homes.iter().filter(|home| home.contains("::")) {
                passes(&[(&format!("{}.rs", home.replace("::", "/")), &line)]);
            }
        }
    }
}

#[test]
fn ort_outside_the_runtime_is_found() {
    for line in [
        "use ort;",
        "use ort::session::Session;",
        "use ort as onnx;",
        "extern crate ort as onnx;",
        "fn f() -> ort::Result<()> { Ok(()) }",
        "fn f() { ::ort::init(); }",
        "fn f() { ort_sys::api(); }",
        "fn f() { log!(ort::VERSION); }",
        "use {ort::Session};",
        "use ort::ort;",
    ] {
        refused(ORT, line);
    }
}

#[test]
fn ort_in_the_runtime_passes() {
    passes(&[
        ("serving/runtime/onnx/session.rs", "use ort::session::Session;"),
        ("serving/x.rs", "struct S { ort: u8 } fn f(s: S) { s.ort; sort::x(); }"),
    ]);
}

#[test]
fn a_database_outside_the_store_is_found() {
    refused(STORE, "use sqlx::Pool;");
    refused(STORE, "#[derive(sqlx::FromRow)] struct Row;");
    refused(STORE, "fn f() { rusqlite::Connection::open(\"x\"); }");
}

#[test]
fn sql_outside_the_store_is_found() {
    for sql in [
        "SELECT 1",
        "select * from journal",
        "\\n    SELECT body\\n    FROM journal",
        "INSERT INTO journal VALUES (1)",
        "INSERT OR REPLACE INTO journal",
        "UPDATE documents SET body = ?1",
        "update documents set body = ?1",
        "DELETE FROM journal",
        "CREATE TABLE journal (id INTEGER)",
        "create table if not exists journal (id integer)",
        "WITH last AS (SELECT 1) UPDATE x",
        "PRAGMA journal_mode = WAL",
        "schema.sql",
    ] {
        refused(STORE, &format!("const Q: &str = \"{sql}\";"));
        refused(STORE, &format!("fn f() {{ query!(\"{sql}\"); }}"));
    }
    refused(STORE, "const Q: &[u8] = br#\"DELETE FROM \"t\"\"#;");
}

#[test]
fn sql_in_the_store_and_prose_anywhere_pass() {
    passes(&[
        ("platform/store/sqlite.rs", "use sqlx::Pool; const Q: &str = \"SELECT 1\";"),
        ("platform/store/tests.rs", "const Q: &str = \"DELETE FROM journal\";"),
        ("control/a.rs", "const M: &str = \"select a model from the list\"; // SELECT 1"),
        (
            "control/b.rs",
            "struct A; /// SELECT 1\nconst M: &str = \"delete from disk, update the set\";",
        ),
        ("control/c.rs", "const M: &str = \"UPDATE\"; const N: &str = \"Select one\";"),
        ("control/d.rs", "const M: &str = \"insert into the queue\"; const N: &str = \"SELECT\";"),
    ]);
}

#[test]
fn reading_the_environment_outside_the_config_is_found() {
    for line in [
        "fn f() { std::env::var(\"X\"); }",
        "fn f() { ::std::env::var_os(\"X\"); }",
        "fn f() { std::env::vars(); }",
        "fn f() { std::env::vars_os(); }",
        "fn f() { std::env::temp_dir(); }",
        "fn f() { x.map(std::env::var); }",
        "use std::env; fn f() { env::var(\"X\"); }",
        "use std::env as e; fn f() { e::var(\"X\"); }",
        "use std as s; fn f() { s::env::var(\"X\"); }",
        "use std::{env, fs}; fn f() { env::var(\"X\"); }",
        "use std::env::{self}; fn f() { env::var(\"X\"); }",
        "use std::env::var;",
        "use std::env::{args, var as read};",
        "use std::env::*;",
        "fn f() { use std::env; env::var(\"X\"); }",
        "use std::env; mod m { use super::env; fn f() { env::var(\"X\"); } }",
        "use std::env; mod m { fn f() { super::env::var(\"X\"); } }",
        "use std::env; use env::var;",
        "use tracing_subscriber::EnvFilter; fn f() { EnvFilter::from_default_env(); }",
        "fn f() { libc::getenv(x); }",
    ] {
        refused(READS, line);
    }
}

#[test]
fn reading_the_environment_in_the_config_passes() {
    passes(&[("app/config.rs", "use std::env; fn f() { env::var(\"X\"); env::temp_dir(); }")]);
}

#[test]
fn what_is_not_the_environment_of_the_run_passes() {
    passes(&[
        (
            "control/a.rs",
            "const V: &str = env!(\"V\"); const W: Option<&str> = option_env!(\"W\");",
        ),
        (
            "control/b.rs",
            "use std::env; fn f() { env::args(); env::current_exe(); env::current_dir(); }",
        ),
        ("control/c.rs", "mod env { pub fn var() {} } fn f() { env::var(); }"),
        ("control/d.rs", "use crate::domain::env; fn f() { env::var(); }"),
    ]);
}

#[test]
fn writing_the_environment_is_for_memory_alone() {
    refused(WRITES, "fn f() { std::env::set_var(\"X\", \"1\"); }");
    let files = [("app/config.rs", "use std::env; fn f() { env::remove_var(\"X\"); }")];
    fires(WRITES, "app/config.rs:2", &files);
    passes(&[("platform/memory.rs", "fn f() { unsafe { std::env::set_var(\"X\", \"1\") } }")]);
    let files = [("platform/memory.rs", "fn f() { std::env::var(\"X\"); }")];
    fires(READS, "platform/memory.rs:2", &files);
}

#[test]
fn unsafe_outside_its_two_places_is_found() {
    for line in [
        "fn f() { unsafe { go() } }",
        "unsafe fn f() {}",
        "unsafe impl Send for A {}",
        "unsafe extern \"C\" {}",
        "macro_rules! m { () => { unsafe { go() } }; }",
        "#[unsafe(no_mangle)] fn f() {}",
        "#[expect(unsafe_code, reason = \"x\")] fn f() {}",
        "#![allow(unsafe_code)]",
        "#[cfg_attr(unix, allow(unsafe_code))] fn f() {}",
        "#[cfg(test)] mod tests { fn f() { unsafe { go() } } }",
    ] {
        refused(UNSAFE, line);
    }
    fires(
        UNSAFE,
        "serving/runtime/device.rs:2",
        &[("serving/runtime/device.rs", "unsafe fn f() {}")],
    );
}

#[test]
fn unsafe_in_its_two_places_passes() {
    passes(&[
        (
            "serving/runtime/onnx/values.rs",
            "#![expect(unsafe_code, reason = \"x\")] unsafe fn f() {}",
        ),
        ("platform/memory.rs", "fn f() { unsafe { go() } }"),
        ("control/x.rs", "#![forbid(unsafe_code)] const A: &str = \"unsafe\"; // unsafe"),
    ]);
}

#[test]
fn anyhow_below_the_top_floor_is_found() {
    refused(ANYHOW, "use anyhow::Context as _;");
    refused(ANYHOW, "fn f() -> anyhow::Result<()> { Ok(()) }");
    passes(&[
        ("app/run.rs", "use anyhow::Context as _;"),
        ("main.rs", "fn main() -> anyhow::Result<()> { Ok(()) }"),
        ("control/x.rs", "#[cfg(test)] mod tests { fn f() -> anyhow::Result<()> { Ok(()) } }"),
        ("control/y/tests.rs", "use anyhow::Result;"),
    ]);
}

#[test]
fn generated_code_is_not_exempt() {
    let files = [("api/oip/pb/mod.rs", "fn f() { std::env::var(\"X\"); unsafe { go() } }")];
    assert_eq!(found(&files).len(), 2, "{:#?}", found(&files));
}
