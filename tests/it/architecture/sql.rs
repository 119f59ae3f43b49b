//! Whether a string literal is a statement for a database.

/// Whether a text starts like SQL, or names a file of it.
///
/// In upper case the first words are enough; in any other case, as in "delete from disk", there
/// must also be a sign that prose does not have.
pub fn is_sql(text: &str) -> bool {
    if text.rsplit_once('.').is_some_and(|(_, end)| end == "sql") {
        return true;
    }
    let shouted = text.split_whitespace().next().is_some_and(|word| {
        word.len() > 1 && word.chars().all(|letter| letter.is_ascii_uppercase())
    });
    let signed = text.contains(['*', '(', '=', '?', '$']);
    (shouted || signed) && starts_as_statement(text, shouted)
}

fn starts_as_statement(text: &str, shouted: bool) -> bool {
    let words: Vec<_> = text.split_whitespace().map(str::to_ascii_uppercase).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["SELECT", rest @ ..] => !rest.is_empty() && (shouted || rest.contains(&"FROM")),
        ["WITH", rest @ ..] => rest.contains(&"AS") && text.to_ascii_uppercase().contains("SELECT"),
        ["INSERT" | "REPLACE", "INTO", _, ..]
        | ["INSERT", "OR", _, "INTO", ..]
        | ["DELETE", "FROM", _, ..]
        | ["CREATE" | "ALTER" | "DROP", "TABLE" | "INDEX" | "VIEW" | "TRIGGER" | "SCHEMA", ..]
        | ["CREATE", "UNIQUE" | "TEMP" | "TEMPORARY", "TABLE" | "INDEX", ..]
        | ["UPDATE", _, "SET", ..] => true,
        ["PRAGMA" | "VACUUM", ..] | ["BEGIN", "IMMEDIATE" | "EXCLUSIVE" | "TRANSACTION", ..] => {
            shouted
        }
        _ => false,
    }
}
