//! Files that import each other in a circle, on any floor.
//!
//! An import leads to the file whose module is the longest prefix of the path; one that ends at a
//! face leads to the face, which imports nothing. Test-only modules may look back at what they
//! test.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::house::Finding;
use super::names::Names;
use super::reading::Source;
use super::rules::Target;

/// For each file, by module, the files it imports and the line where it first does.
type Graph = BTreeMap<String, BTreeMap<String, usize>>;

/// Finds, for every file in a circle, the shortest circle it is in; each circle once.
pub fn check(sources: &[Source], names: &Names) -> Vec<Finding> {
    let graph = graph(sources, names);
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for source in sources {
        let circle = shortest_circle(&graph, &source.module);
        let members: BTreeSet<_> = circle.iter().cloned().collect();
        if circle.is_empty() || !seen.insert(members) {
            continue;
        }
        let line_of = |(from, to)| graph.get(from)?.get(to).copied();
        let lines: Vec<usize> =
            circle.iter().zip(circle.iter().skip(1)).filter_map(line_of).collect();
        let steps: Vec<_> =
            circle.iter().zip(&lines).map(|(m, line)| format!("{m}:{line}")).collect();
        found.push(Finding {
            file: source.file.clone(),
            line: lines.first().copied().unwrap_or_default(),
            found: format!("{} -> {}", steps.join(" -> "), source.module),
            rule: "circles".to_owned(),
            why: "files that import each other can only be understood together".to_owned(),
        });
    }
    found
}

fn graph(sources: &[Source], names: &Names) -> Graph {
    let mut graph = Graph::new();
    for source in sources.iter().filter(|source| !names.is_test(&source.module)) {
        let edges = graph.entry(source.module.clone()).or_default();
        for mention in source.mentions.iter().filter(|mention| !mention.test) {
            for target in names.targets(mention) {
                let Target::Inside(path) = target else {
                    continue;
                };
                let to = names.file_of(&path).filter(|to| *to != source.module);
                if let Some(to) = to {
                    edges.entry(to.to_owned()).or_insert(mention.line);
                }
            }
        }
    }
    graph
}

/// The shortest way from a module back to itself, both ends included; empty if there is none.
fn shortest_circle(graph: &Graph, start: &str) -> Vec<String> {
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(module) = queue.pop_front() {
        for to in graph.get(module).into_iter().flat_map(BTreeMap::keys) {
            if came_from.contains_key(to.as_str()) {
                continue;
            }
            came_from.insert(to, module);
            if to == start {
                return way_back(&came_from, start);
            }
            queue.push_back(to);
        }
    }
    Vec::new()
}

fn way_back(came_from: &BTreeMap<&str, &str>, start: &str) -> Vec<String> {
    let mut way = vec![start.to_owned()];
    let mut at = start;
    while let Some(before) = came_from.get(at) {
        way.push((*before).to_owned());
        at = before;
        if at == start {
            break;
        }
    }
    way.reverse();
    way
}
