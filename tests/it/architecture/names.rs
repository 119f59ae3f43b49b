//! Where a path leads: through `self`, `super`, renamed imports and globs.
//!
//! The names of a scope are its `use` lines and its modules; a `use` in a function counts for the
//! whole module around it. A path that starts with any other name is taken to start outside.

use std::collections::{BTreeMap, BTreeSet};

use super::house::{join, parent, under};
use super::reading::{Mention, Source};
use super::rules::Target;

/// All names that the files of a house bring into scope.
#[derive(Debug)]
pub struct Names {
    files: BTreeSet<String>,
    modules: BTreeSet<String>,
    tests: BTreeSet<String>,
    uses: BTreeMap<String, Vec<Mention>>,
}

impl Names {
    /// Collects the names of all files.
    pub fn of(sources: &[Source]) -> Self {
        let files: BTreeSet<_> = sources.iter().map(|source| source.module.clone()).collect();
        let inline = sources.iter().flat_map(|source| source.inline.iter().cloned());
        let modules = files.iter().cloned().chain(inline).collect();
        let mut tests: BTreeSet<_> =
            sources.iter().flat_map(|source| source.test_files.iter().cloned()).collect();
        tests.extend(sources.iter().filter(|source| source.test).map(|one| one.module.clone()));
        let mut uses: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for mention in sources.iter().flat_map(|source| &source.mentions) {
            if mention.binds.is_some() {
                uses.entry(mention.scope.clone()).or_default().push(mention.clone());
            }
        }
        Self { files, modules, tests, uses }
    }

    /// Whether a file is compiled for tests only.
    pub fn is_test(&self, module: &str) -> bool {
        self.tests.iter().any(|test| under(module, test))
    }

    /// The module of the file that a path leads into, or ends at.
    pub fn file_of<'a>(&self, path: &'a str) -> Option<&'a str> {
        prefixes(path).find(|prefix| self.files.contains(*prefix))
    }

    /// All places where a path may lead; more than one if names are not unique in a scope.
    pub fn targets(&self, mention: &Mention) -> Vec<Target> {
        self.resolve(&mention.scope, &mention.written, DEPTH)
    }

    /// Where the `use` behind the first name of a path leads: what is wrong there is said there.
    pub fn already_said(&self, mention: &Mention) -> Vec<Target> {
        match mention.written.split_once("::") {
            Some((first, _)) => {
                let uses = self.behind(&mention.scope, first, DEPTH);
                uses.into_iter().flat_map(|import| self.targets(import)).collect()
            }
            None => Vec::new(),
        }
    }

    /// The `use` lines that bring a name into scope, also through globs, as in inline tests.
    fn behind<'a>(&'a self, scope: &str, name: &'a str, depth: usize) -> Vec<&'a Mention> {
        let other = |import: &&Mention| split(&import.written).0 != name;
        let mut uses: Vec<_> = self.bound(scope, name).filter(other).collect();
        if let (true, Some(depth)) = (uses.is_empty(), depth.checked_sub(1)) {
            for target in self.globs(scope, depth) {
                if let Target::Inside(module) = target {
                    uses.extend(self.behind(&module, name, depth));
                }
            }
        }
        uses
    }

    fn resolve(&self, scope: &str, written: &str, depth: usize) -> Vec<Target> {
        let Some(depth) = depth.checked_sub(1) else {
            return Vec::new();
        };
        if let Some(global) = written.strip_prefix("::") {
            return match split(global) {
                ("self" | "tidegate", rest) => self.inside(rest.to_owned(), depth),
                _ => vec![Target::Outside(global.to_owned())],
            };
        }
        match split(written) {
            ("crate", rest) => self.inside(join(root(scope), rest), depth),
            ("tidegate", rest) => self.inside(rest.to_owned(), depth),
            ("self", rest) if split(rest).0 == "super" => self.resolve(scope, rest, depth),
            ("self", rest) => self.inside(join(scope, rest), depth),
            ("super", rest) if split(rest).0 == "super" => self.resolve(parent(scope), rest, depth),
            ("super", rest) => self.inside(join(parent(scope), rest), depth),
            ("Self", _) => Vec::new(),
            _ => self.named(scope, written, depth),
        }
    }

    /// A path from the root; if it goes through a `use` of its module, also where that leads.
    fn inside(&self, path: String, depth: usize) -> Vec<Target> {
        let mut found = Vec::new();
        if let Some(module) = prefixes(&path).find(|prefix| self.modules.contains(*prefix)) {
            let rest = path.strip_prefix(module).unwrap_or_default().trim_start_matches("::");
            let first = split(rest).0;
            if first != "*" && self.bound(module, first).next().is_some() {
                found = self.named(module, rest, depth);
            }
        }
        found.push(Target::Inside(path));
        found
    }

    /// A path that starts with a name in scope, or with that of another crate.
    fn named(&self, scope: &str, written: &str, depth: usize) -> Vec<Target> {
        let (first, rest) = split(written);
        let mut found = Vec::new();
        for import in self.bound(scope, first) {
            if split(&import.written).0 == first {
                found.push(Target::Outside(join(&import.written, rest)));
            } else {
                found.extend(self.resolve(scope, &join(&import.written, rest), depth));
            }
        }
        if found.is_empty() && self.modules.contains(&join(scope, first)) {
            found = self.inside(join(scope, written), depth);
        }
        if found.is_empty() {
            found = self.through_globs(scope, written, depth);
            found.push(Target::Outside(written.to_owned()));
        }
        found
    }

    fn through_globs(&self, scope: &str, written: &str, depth: usize) -> Vec<Target> {
        let Some(depth) = depth.checked_sub(1) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for target in self.globs(scope, depth) {
            match target {
                Target::Inside(module) => found.extend(self.named(&module, written, depth)),
                Target::Outside(path) => found.push(Target::Outside(join(&path, written))),
            }
        }
        found.retain(|target| *target != Target::Outside(written.to_owned()));
        found
    }

    /// What the globs of a scope take everything from.
    fn globs(&self, scope: &str, depth: usize) -> Vec<Target> {
        let bases = self.bound(scope, "*").filter_map(|glob| glob.written.strip_suffix("::*"));
        // Globs through globs through globs multiply: half the depth keeps it quick.
        bases.flat_map(|base| self.resolve(scope, base, depth / 2)).collect()
    }

    fn bound<'a>(&'a self, scope: &str, name: &'a str) -> impl Iterator<Item = &'a Mention> {
        let uses = self.uses.get(scope).map(Vec::as_slice).unwrap_or_default();
        uses.iter().filter(move |import| import.binds.as_deref() == Some(name))
    }
}

/// The crate that a module is in: the binary has a root of its own.
fn root(scope: &str) -> &str {
    if under(scope, "main") { "main" } else { "" }
}

fn split(path: &str) -> (&str, &str) {
    path.split_once("::").unwrap_or((path, ""))
}

/// A path and all paths around it, the longest first, without the root.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let longest = (!path.is_empty()).then_some(path);
    std::iter::successors(longest, |path| path.rsplit_once("::").map(|(before, _)| before))
}

/// How many renames and globs a path is followed through; they may lead in a circle.
const DEPTH: usize = 6;
