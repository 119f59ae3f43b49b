//! A house to be checked: its files, and how a file is named as a module.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

/// Source files by path under `src`, such as `api/oip/mod.rs`.
#[derive(Debug)]
pub struct House {
    pub files: BTreeMap<String, String>,
}

impl House {
    /// Reads all `.rs` files below a folder.
    pub fn at(root: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("the folder of sources is readable") {
                let path = entry.expect("the folder of sources is readable").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let relative = path.strip_prefix(root).expect("every file is under the root");
                    let text = fs::read_to_string(&path).expect("sources are UTF-8");
                    files.insert(relative.to_string_lossy().replace('\\', "/"), text);
                }
            }
        }
        Self { files }
    }
}

/// One broken rule at one place.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Finding {
    pub file: String,
    pub line: usize,
    pub found: String,
    pub rule: String,
    pub why: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, found, rule, why } = self;
        write!(out, "src/{file}:{line}: {found}; rule `{rule}`: {why}")
    }
}

/// The module that a file holds: `api::oip` for `api/oip/mod.rs`, empty for `lib.rs`.
pub fn module_of(file: &str) -> String {
    let path = file.strip_suffix(".rs").unwrap_or(file);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" { String::new() } else { path.replace('/', "::") }
}

/// Puts a path below another; either may be empty.
pub fn join(parent: &str, child: &str) -> String {
    let between = if parent.is_empty() || child.is_empty() { "" } else { "::" };
    format!("{parent}{between}{child}")
}

/// Whether a path is a module or lies in it; all lies in the empty module.
pub fn under(path: &str, module: &str) -> bool {
    module.is_empty()
        || path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The module around a module; the root's is the root.
pub fn parent(module: &str) -> &str {
    module.rsplit_once("::").map_or("", |(parent, _)| parent)
}
