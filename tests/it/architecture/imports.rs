//! Every path of every file against the tables of rules.
//!
//! Code under `cfg(test)` counts too: a test that needs a higher floor belongs on that floor.

use super::house::Finding;
use super::names::Names;
use super::reading::{Mention, Source};
use super::rules::{Target, objections};

/// Finds every path that a rule refuses.
pub fn check(sources: &[Source], names: &Names) -> Vec<Finding> {
    let mut found = Vec::new();
    for source in sources {
        for mention in &source.mentions {
            found.extend(refused(source, mention, names));
        }
    }
    found
}

fn refused(source: &Source, mention: &Mention, names: &Names) -> Vec<Finding> {
    let from = &source.module;
    let test = mention.test || names.is_test(from);
    let against = |target: &Target| objections(from, target, test);
    let said: Vec<_> = names.already_said(mention).iter().flat_map(against).collect();
    let mut found = Vec::new();
    for target in names.targets(mention) {
        for (rule, why) in against(&target) {
            if said.contains(&(rule.clone(), why.clone())) {
                continue;
            }
            found.push(Finding {
                file: source.file.clone(),
                line: mention.line,
                found: describe(mention, &target),
                rule,
                why,
            });
        }
    }
    found
}

fn describe(mention: &Mention, target: &Target) -> String {
    let full = match target {
        Target::Inside(path) => format!("crate::{path}"),
        Target::Outside(path) => path.clone(),
    };
    if full == mention.written {
        format!("uses {full}")
    } else {
        format!("uses {full}, written {}", mention.written)
    }
}
