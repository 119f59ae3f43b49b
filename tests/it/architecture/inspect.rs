//! All rules on all files of a house.

use super::house::{Finding, House};
use super::names::Names;
use super::reading::Source;
use super::words::Words;
use super::{circles, form, imports};

/// Every broken rule, by file and line.
pub fn findings(house: &House) -> Vec<Finding> {
    let mut found = form::check_folders(house);
    let mut sources = Vec::new();
    for (file, text) in &house.files {
        match Words::read(text) {
            Ok(words) => {
                let source = Source::read(file, &words);
                found.extend(form::check_file(&source, text, &words));
                sources.push(source);
            }
            Err(error) => found.push(Finding {
                file: file.clone(),
                line: 1,
                found: error.to_string(),
                rule: "readable".to_owned(),
                why: "every file must be Rust".to_owned(),
            }),
        }
    }
    let names = Names::of(&sources);
    found.extend(imports::check(&sources, &names));
    found.extend(circles::check(&sources, &names));
    found.sort();
    found.dedup();
    found
}
