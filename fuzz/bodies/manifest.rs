//! What an owner says of a model: `model.toml`, and Triton's `config.pbtxt`.

use tidegate::serving::repository::manifest::{self, Manifest};
use tidegate::serving::repository::triton::config;

/// Any text is refused with a reason, or comes to a `model.toml` that says the same.
pub fn body(data: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(data) else {
        return "not text".to_owned();
    };
    let ours = match manifest::parse(text) {
        Ok(read) => says_the_same(&read),
        Err(error) => reason(&error.to_string()),
    };
    let tritons = match config::translate(text, None) {
        Ok(translation) => {
            assert!(translation.notes.iter().all(|note| !note.is_empty()), "an empty note");
            says_the_same(&translation.manifest)
        }
        Err(error) => reason(&error.to_string()),
    };
    format!("{ours} {tritons}")
}

fn says_the_same(read: &Manifest) -> String {
    let text = read.to_text();
    match manifest::parse(&text) {
        Ok(again) => assert_eq!(again, *read, "{text}"),
        Err(error) => panic!("{error}: {text}"),
    }
    text.lines().filter_map(|line| line.split('=').next()).collect()
}

fn reason(text: &str) -> String {
    assert!(!text.is_empty(), "refused without a reason");
    text.chars().filter(char::is_ascii_alphabetic).take(24).collect()
}
