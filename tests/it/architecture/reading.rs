//! What one source file says: its paths, modules, strings and `unsafe`.
//!
//! Nothing is judged here. Code in macros and attributes counts like any other; so does a string in
//! an attribute that is a path, such as `#[serde(with = "crate::a::b")]`.

use std::collections::BTreeSet;

use super::house::{join, module_of};
use super::words::{Words, closing, is_name};

/// What one file says.
#[derive(Debug, Default)]
pub struct Source {
    pub file: String,
    pub module: String,
    /// The whole file is test code, by its name or by `#![cfg(test)]`.
    pub test: bool,
    pub mentions: Vec<Mention>,
    /// Inline modules, by full path.
    pub inline: BTreeSet<String>,
    /// Modules declared `#[cfg(test)] mod name;`, by full path.
    pub test_files: BTreeSet<String>,
    pub notes: Vec<(Note, usize)>,
}

/// One path, where it stands.
#[derive(Clone, Debug)]
pub struct Mention {
    /// As written, without generics; a glob ends in `*`.
    pub written: String,
    /// The module around it, inline modules included.
    pub scope: String,
    pub line: usize,
    pub test: bool,
    /// The name that a `use` brings into scope, `*` for a glob.
    pub binds: Option<String>,
}

/// What some rule may look at and is not a path.
#[derive(Debug, Eq, PartialEq)]
pub enum Note {
    /// The keyword, or an attribute that allows it.
    Unsafe,
    /// A string literal outside docs.
    Text(String),
    /// A module by name, inline or in its own file.
    Module(String),
    /// `pub use`, with or without a restriction.
    ReExport,
    /// `use crate::{..}`, or a path inside the braces of an import from this crate.
    Tree,
    /// `include!` or `#[path]`: code that is not where its module says.
    Elsewhere,
}

impl Source {
    /// Reads one file.
    pub fn read(file: &str, words: &Words) -> Self {
        let module = module_of(file);
        let test = module.split("::").any(|name| name == "tests");
        let mut reader = Reader {
            words: words.texts.iter().map(String::as_str).collect(),
            lines: &words.lines,
            scope: module.clone(),
            test,
            attribute: false,
            test_modules: BTreeSet::new(),
            source: Self { file: file.to_owned(), module, test, ..Self::default() },
        };
        reader.scan(0, words.texts.len());
        reader.source
    }
}

/// Walks the words; `at` is always the index of a word.
struct Reader<'a> {
    words: Vec<&'a str>,
    lines: &'a [usize],
    scope: String,
    test: bool,
    attribute: bool,
    /// Where the `mod` of a `#[cfg(test)] mod` stands.
    test_modules: BTreeSet<usize>,
    source: Source,
}

impl Reader<'_> {
    fn scan(&mut self, mut at: usize, end: usize) {
        while at < end {
            at = self.step(at);
        }
    }

    /// Reads what starts at a word; returns where to go on.
    fn step(&mut self, at: usize) -> usize {
        match self.words.get(at..).unwrap_or_default() {
            ["#", "[", ..] => self.attribute(at, at + 1),
            ["#", "!", "[", ..] => self.attribute(at, at + 2),
            ["mod", name, "{", ..] => self.inline_module((*name).to_owned(), at),
            ["mod", name, ";", ..] => self.declared_module((*name).to_owned(), at),
            // `impl Trait + use<'a>` imports nothing.
            ["use", "<", ..] => at + 2,
            ["use", ..] => {
                if self.is_public(at) {
                    self.note(Note::ReExport, at);
                }
                self.tree(at + 1, "", false)
            }
            ["extern", "crate", name, rest @ ..] => {
                let bound = if let ["as", other, ..] = rest { other } else { name };
                let (written, bound) = (format!("::{name}"), (*bound).to_owned());
                self.mention(written, at, Some(bound));
                at + 3
            }
            ["unsafe", ..] => {
                self.note(Note::Unsafe, at);
                at + 1
            }
            ["include", "!", ..] => {
                self.note(Note::Elsewhere, at);
                at + 2
            }
            [word, "::", ..] if is_name(word) => self.path(at),
            [word, ..] => {
                if let Some(text) = word.strip_prefix('"') {
                    self.text(text.to_owned(), at);
                }
                at + 1
            }
            [] => at + 1,
        }
    }

    fn attribute(&mut self, at: usize, open: usize) -> usize {
        let close = closing(&self.words, open);
        let content = self.words.get(open + 1..close).unwrap_or_default();
        if content.starts_with(&["doc", "="]) {
            return close + 1;
        }
        let moves = content.starts_with(&["path", "="])
            || content.starts_with(&["cfg_attr"]) && content.windows(2).any(|w| w == ["path", "="]);
        let relaxes = content.contains(&"unsafe_code")
            && content.iter().any(|word| ["allow", "expect", "warn"].contains(word));
        if is_test_only(content) {
            if open == at + 1 {
                self.test_modules.insert(self.item_after(close + 1));
            } else {
                // Inner: all of the module around it.
                self.test = true;
                self.source.test |= self.scope == self.source.module;
            }
        }
        if moves {
            self.note(Note::Elsewhere, at);
        }
        if relaxes {
            self.note(Note::Unsafe, at);
        }
        self.attribute = true;
        self.scan(open + 1, close);
        self.attribute = false;
        close + 1
    }

    /// The first word after attributes and visibility.
    fn item_after(&self, mut at: usize) -> usize {
        loop {
            at = match self.words.get(at..).unwrap_or_default() {
                ["#", "[", ..] | ["pub", "(", ..] => closing(&self.words, at + 1) + 1,
                ["pub", ..] => at + 1,
                _ => return at,
            }
        }
    }

    fn inline_module(&mut self, name: String, at: usize) -> usize {
        let close = closing(&self.words, at + 2);
        let (scope, test) = (self.scope.clone(), self.test);
        self.scope = join(&scope, &name);
        self.test |= self.test_modules.contains(&at);
        self.source.inline.insert(self.scope.clone());
        self.note(Note::Module(name), at);
        self.scan(at + 3, close);
        (self.scope, self.test) = (scope, test);
        close + 1
    }

    fn declared_module(&mut self, name: String, at: usize) -> usize {
        if self.test_modules.contains(&at) {
            self.source.test_files.insert(join(&self.scope, &name));
        }
        self.note(Note::Module(name), at);
        at + 3
    }

    /// Whether `pub` or `pub(..)` stands before a word.
    fn is_public(&self, at: usize) -> bool {
        let before = self.words.get(..at).unwrap_or_default();
        match before {
            [.., "pub"] => true,
            [.., ")"] => {
                let open = before.iter().rposition(|word| *word == "(").unwrap_or_default();
                matches!(before.get(..open), Some([.., "pub"]))
            }
            _ => false,
        }
    }

    /// Reads one branch of a `use`; returns where to go on.
    fn tree(&mut self, mut at: usize, prefix: &str, grouped: bool) -> usize {
        let mut path = prefix.to_owned();
        loop {
            match self.words.get(at..).unwrap_or_default() {
                ["::", ..] if path.is_empty() => {
                    "::".clone_into(&mut path);
                    at += 1;
                }
                [name, "::", ..] if is_name(name) => {
                    path = below(&path, name);
                    if grouped && is_inside(&path) {
                        self.note(Note::Tree, at);
                    }
                    at += 2;
                }
                ["{", ..] => return self.branches(at, &path),
                ["*", ..] => {
                    self.mention(below(&path, "*"), at, Some("*".to_owned()));
                    return at + 1;
                }
                [name, rest @ ..] if is_name(name) => {
                    let renamed = if let ["as", other, ..] = rest { Some(*other) } else { None };
                    let written =
                        if *name == "self" && grouped { path } else { below(&path, name) };
                    let bound = renamed.unwrap_or_else(|| last(&written)).to_owned();
                    let next = if renamed.is_some() { at + 3 } else { at + 1 };
                    self.mention(written, at, Some(bound));
                    return next;
                }
                _ => return at,
            }
        }
    }

    fn branches(&mut self, open: usize, prefix: &str) -> usize {
        if prefix == "crate" || prefix == "tidegate" {
            self.note(Note::Tree, open);
        }
        let close = closing(&self.words, open);
        let mut at = open + 1;
        while at < close {
            at = self.tree(at, prefix, true).max(at + 1);
        }
        close + 1
    }

    /// Reads a path outside `use`.
    fn path(&mut self, start: usize) -> usize {
        let before = self.words.get(..start).unwrap_or_default();
        // `<T as Trait>::name::..` and `Vec::<u8>::name::..` go on from a type, not from a module.
        let goes_on = matches!(before, [.., ">", "::"]);
        let global = matches!(before, [.., "::"]);
        let mut written = if global { "::".to_owned() } else { String::new() };
        let mut at = start;
        while let [name, "::", rest @ ..] = self.words.get(at..).unwrap_or_default() {
            written = below(&written, name);
            match rest {
                [next, "::", ..] if is_name(next) => at += 2,
                [next, ..] if is_name(next) => {
                    written = below(&written, next);
                    at += 3;
                    break;
                }
                _ => {
                    at += 2;
                    break;
                }
            }
        }
        if !goes_on && written.trim_start_matches("::").contains("::") {
            self.mention(written, start, None);
        }
        at
    }

    fn text(&mut self, text: String, at: usize) {
        let is_path = text.contains("::") && text.split("::").all(is_plain_name);
        if self.attribute && is_path && is_inside(&text) {
            self.mention(text.clone(), at, None);
        }
        self.note(Note::Text(text), at);
    }

    fn mention(&mut self, written: String, at: usize, binds: Option<String>) {
        let (scope, line, test) = (self.scope.clone(), self.line(at), self.test);
        self.source.mentions.push(Mention { written, scope, line, test, binds });
    }

    fn note(&mut self, note: Note, at: usize) {
        let line = self.line(at);
        self.source.notes.push((note, line));
    }

    fn line(&self, at: usize) -> usize {
        self.lines.get(at).copied().unwrap_or_default()
    }
}

/// `cfg(test)` and `cfg(all(test, ..))`: compiled for tests and nothing else.
fn is_test_only(attribute: &[&str]) -> bool {
    attribute.starts_with(&["cfg", "("])
        && attribute.contains(&"test")
        && !attribute.contains(&"any")
        && !attribute.contains(&"not")
}

/// Whether a path starts from this crate and not from another.
fn is_inside(path: &str) -> bool {
    let first = path.split("::").next().unwrap_or_default();
    ["crate", "tidegate", "self", "super"].contains(&first)
}

fn is_plain_name(word: &str) -> bool {
    is_name(word) && word.chars().all(|part| part.is_alphanumeric() || part == '_')
}

fn below(path: &str, name: &str) -> String {
    if path == "::" { format!("::{name}") } else { join(path, name) }
}

fn last(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path)
}
