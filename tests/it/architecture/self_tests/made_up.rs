//! Made-up houses, and what is said of them.

use crate::architecture::house::House;
use crate::architecture::inspect::findings;

/// Files of a made-up house: (path under `src`, text). The text stands from line 2 on, below a
/// header, if it has no header of its own.
pub type Files<'a> = &'a [(&'a str, &'a str)];

/// All findings, as printed.
pub fn found(files: Files<'_>) -> Vec<String> {
    let with_header = |text: &str| {
        if text.starts_with("//") { text.to_owned() } else { format!("//! Made up.\n{text}") }
    };
    let files = files.iter().map(|(file, text)| ((*file).to_owned(), with_header(text)));
    findings(&House { files: files.collect() }).iter().map(ToString::to_string).collect()
}

/// The rule is the only one broken, once, at this `file:line`.
pub fn fires(rule: &str, at: &str, files: Files<'_>) {
    let found = found(files);
    let meant = |finding: &String| {
        finding.starts_with(&format!("src/{at}: ")) && finding.contains(&format!("; rule `{rule}`"))
    };
    assert!(found.len() == 1 && found.iter().all(meant), "want {rule} at {at}, found {found:#?}");
}

/// Nothing is broken.
pub fn passes(files: Files<'_>) {
    let found = found(files);
    assert!(found.is_empty(), "want nothing, found {found:#?}");
}
