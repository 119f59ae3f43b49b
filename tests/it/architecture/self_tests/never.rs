//! Every row of the Never list fires, and its neighbours pass.

use super::made_up::{fires, passes};
use crate::architecture::rules::NEVER;

fn file_of(module: &str) -> String {
    format!("{}/x.rs", module.replace("::", "/"))
}

#[test]
fn every_row_fires_on_the_module_and_below_it() {
    for (from, to, _) in NEVER {
        let file = file_of(from);
        for text in [format!("use crate::{to};"), format!("fn f() {{ crate::{to}::deep::go(); }}")]
        {
            fires(&format!("never {from} -> {to}"), &format!("{file}:2"), &[(&file, &text)]);
        }
    }
}

#[test]
fn every_row_fires_through_a_renamed_parent() {
    for (from, to, _) in NEVER {
        let (parent, name) = to.split_once("::").expect("every row names a module on a floor");
        let file = file_of(from);
        let text = format!("use crate::{parent} as p; fn f() {{ p::{name}::go(); }}");
        fires(&format!("never {from} -> {to}"), &format!("{file}:2"), &[(&file, &text)]);
    }
}

#[test]
fn a_row_fires_through_a_glob_and_through_the_names_of_a_parent() {
    let store = ("platform/store/mod.rs", "pub mod sqlite;");
    let glob = ("api/x.rs", "use crate::platform::*; fn f() { store::sqlite::open(); }");
    fires("never api -> platform::store", "api/x.rs:2", &[store, glob]);
    let inner = (
        "api/x.rs",
        "use crate::platform as p; mod m { use super::p; fn f() { p::store::go(); } }",
    );
    fires("never api -> platform::store", "api/x.rs:2", &[store, inner]);
    let tests = (
        "api/x.rs",
        "use crate::platform as p;\n\
         #[cfg(test)] mod tests { use super::*; fn f() { p::store::go(); } }",
    );
    fires("never api -> platform::store", "api/x.rs:3", &[store, tests]);
}

#[test]
fn neighbours_of_the_never_list_pass() {
    passes(&[
        ("api/x.rs", "use crate::platform::stores::X;\nuse crate::control::change::Change;"),
        ("insight/x.rs", "use crate::serving::gateway::observer::Observer;"),
        ("api/oip/x.rs", "use crate::api::status::Status;\nuse super::y::Y;"),
        ("api/listen.rs", "use super::oip::x::X;\nuse super::admin::x::X as Y;"),
        ("control/change.rs", "use crate::control::audit::chain::Chain;"),
        ("control/x.rs", "use crate::platform::store::journal::Journal;"),
    ]);
}

#[test]
fn one_feature_of_insight_may_not_use_another() {
    let rule = "never one feature of insight -> another";
    for text in [
        "use crate::insight::fairness::Share;",
        "use super::super::fairness;",
        "use crate::insight; fn f() { insight::fairness::go(); }",
        "fn f() { crate::insight::prediction_log::spool::go(); }",
        "use crate::insight::prediction_log; fn f() { prediction_log::spool::go(); }",
        "use crate::insight::prediction_log::*;",
    ] {
        fires(rule, "insight/drift/x.rs:2", &[("insight/drift/x.rs", text)]);
    }
    // What is shared may not look back.
    fires(rule, "insight/window.rs:2", &[("insight/window.rs", "use super::fairness::Share;")]);
}

#[test]
fn features_of_insight_meet_in_what_they_share() {
    passes(&[
        ("insight/drift/x.rs", "use crate::insight::window::Window;\nuse super::y::Y;"),
        ("insight/energy.rs", "use super::baseline;\nuse super::feedback::Label;"),
        ("insight/explain/x.rs", "use crate::insight::prediction_log::redact::Redact;"),
        (
            "insight/fairness.rs",
            "use super::prediction_log; fn f() { prediction_log::redact::go(); }",
        ),
        ("control/x.rs", "use crate::insight::fairness::Share;"),
    ]);
}
