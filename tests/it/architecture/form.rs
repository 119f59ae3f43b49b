//! The form of files: headers, length, faces, names, how imports are written.
//!
//! Also `unsafe` and SQL, which are not paths and yet stay in few places. Generated protobuf code
//! is exempt from form, not from these.

use super::house::{Finding, House};
use super::reading::{Note, Source};
use super::rules::{FLOORS, SQL, UNSAFE, against_only, floor_of};
use super::sql::is_sql;
use super::words::{Words, closing};

/// Checks one file by itself.
pub fn check_file(source: &Source, text: &str, words: &Words) -> Vec<Finding> {
    let mut found = places(source);
    if is_generated(&source.file) {
        return found;
    }
    found.extend(header(source, text));
    found.extend(length(source, text));
    found.extend(face(source, words));
    found.extend(names(source));
    found.extend(imports(source));
    found
}

/// Checks where the files are.
pub fn check_folders(house: &House) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in house.files.keys() {
        let root = file == "lib.rs" || file == "main.rs";
        let first = file.split(['/', '.']).next().unwrap_or_default();
        if !root && floor_of(first).is_none() {
            found.push(finding(file, 1, ("lies on no floor", "floors", "every file has a floor")));
        }
        let stem = file.strip_suffix(".rs").unwrap_or(file);
        let folder = format!("{stem}/");
        if !is_generated(file) && house.files.keys().any(|other| other.starts_with(&folder)) {
            let what = format!("lies beside the folder {folder}");
            let rule = (what.as_str(), "one face", "a folder's module is its mod.rs, never both");
            found.push(finding(file, 1, rule));
        }
    }
    found
}

/// Generated and committed protobuf code.
fn is_generated(file: &str) -> bool {
    file.starts_with("api/oip/pb/") || file == "api/oip/pb.rs"
}

fn header(source: &Source, text: &str) -> Option<Finding> {
    let first = text.lines().next().unwrap_or_default();
    let length = first.chars().count();
    let why = "the first line says what the file is for";
    if first.strip_prefix("//! ").is_none_or(|purpose| purpose.trim().is_empty()) {
        return Some(finding(&source.file, 1, ("does not open with `//! `", "header", why)));
    }
    let what = format!("first line of {length} characters, allowed are {MAX_HEADER}");
    (length > MAX_HEADER).then(|| finding(&source.file, 1, (&what, "header", why)))
}

fn length(source: &Source, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    if lines > MAX_LINES && !source.file.ends_with("/tests.rs") {
        let what = format!("{lines} lines, allowed are {MAX_LINES}");
        return Some(finding(&source.file, lines, (&what, "length", "split it by its nouns")));
    }
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    let code = text.lines().filter(is_code).count();
    let what = format!("{code} lines of code, allowed are fewer than {MAIN_BELOW}");
    let rule = (what.as_str(), "thin main", "the binary parses the command line and runs");
    (source.file == "main.rs" && code >= MAIN_BELOW).then(|| finding("main.rs", lines, rule))
}

/// A `mod.rs` and lib.rs hold docs, attributes and `mod` lines only.
fn face(source: &Source, words: &Words) -> Option<Finding> {
    let root = source.file == "lib.rs";
    if !root && source.file.rsplit('/').next() != Some("mod.rs") {
        return None;
    }
    let texts: Vec<_> = words.texts.iter().map(String::as_str).collect();
    let mut at = 0;
    loop {
        at = match texts.get(at..).unwrap_or_default() {
            [] => return None,
            ["#", "[", ..] => closing(&texts, at + 1) + 1,
            ["#", "!", "[", ..] => closing(&texts, at + 2) + 1,
            ["pub", "mod", name, ";", ..] if !root || FLOORS.contains(name) => at + 4,
            ["mod", _, ";", ..] if !root => at + 3,
            [word, ..] => {
                let line = words.lines.get(at).copied().unwrap_or_default();
                let what = format!("holds more than modules, from `{word}` on");
                let why = if root { LIB_WHY } else { "types live in a file named for them" };
                return Some(finding(&source.file, line, (&what, "face", why)));
            }
        }
    }
}

fn names(source: &Source) -> Vec<Finding> {
    let last = source.module.rsplit("::").next().unwrap_or_default();
    let mut named = vec![(last, 1)];
    for (note, line) in &source.notes {
        if let Note::Module(name) = note {
            named.push((name, *line));
        }
    }
    named.retain(|(name, _)| BANNED.contains(name));
    let rule = |(name, line): (&str, usize)| {
        let what = format!("a module named `{name}`");
        let why = "such a name holds anything: name the thing that is shared";
        finding(&source.file, line, (&what, "names", why))
    };
    named.into_iter().map(rule).collect()
}

fn imports(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for mention in &source.mentions {
        let is_glob = mention.written.starts_with("super::") && mention.written.ends_with("::*");
        if is_glob && !mention.test && !source.test {
            let rule = ("takes all of super", "no super glob", "import what is used, by name");
            found.push(finding(&source.file, mention.line, rule));
        }
    }
    for (note, line) in &source.notes {
        let rule = match note {
            Note::ReExport => ("`pub use`", "no re-exports", "import from the defining file"),
            Note::Tree => ("nested import", "no import trees", "one `use` per parent module"),
            Note::Elsewhere => (
                "`include!` or `#[path]`",
                "code in its place",
                "a module is the file of its name, or these rules do not see it",
            ),
            Note::Unsafe | Note::Text(_) | Note::Module(_) => continue,
        };
        found.push(finding(&source.file, *line, rule));
    }
    found
}

/// `unsafe` and SQL, which are not paths and yet stay in few places.
fn places(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for (note, line) in &source.notes {
        let (thing, what) = match note {
            Note::Unsafe => (UNSAFE, "uses `unsafe` or allows it".to_owned()),
            Note::Text(text) if is_sql(text) => (SQL, format!("holds {:?}", beginning(text))),
            Note::Text(_) | Note::Module(_) | Note::ReExport | Note::Tree | Note::Elsewhere => {
                continue;
            }
        };
        for (rule, why) in against_only(&source.module, thing, source.test) {
            found.push(finding(&source.file, *line, (&what, &rule, &why)));
        }
    }
    found
}

fn beginning(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().take(4).collect();
    words.join(" ")
}

fn finding(file: &str, line: usize, (found, rule, why): (&str, &str, &str)) -> Finding {
    Finding {
        file: file.to_owned(),
        line,
        found: found.to_owned(),
        rule: rule.to_owned(),
        why: why.to_owned(),
    }
}

/// Longest first line, in characters.
const MAX_HEADER: usize = 80;

/// Longest file, in lines; `tests.rs` may be longer.
const MAX_LINES: usize = 600;

/// main.rs has fewer lines of code than this.
const MAIN_BELOW: usize = 30;

const LIB_WHY: &str = "lib.rs is the table of contents: `pub mod` of floors only";

const BANNED: &[&str] = &["common", "utils", "helpers", "misc", "types", "manager", "base", "core"];
