//! Protobuf's text format, read into a tree that remembers where things stood.
//!
//! All of the format that a schema is not needed for: comments, strings with escapes that stand
//! side by side, lists, both kinds of brackets, numbers of all bases. No recursion past 32 levels,
//! nothing allocated past the text itself, and no bytes that make it panic.

use std::fmt;

/// Fields in the order of the text; a list stands as one field for each of its values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// The fields.
    pub fields: Vec<Field>,
}

/// One field and where its name stood.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Value,
    /// Where its name begins.
    pub at: Place,
}

/// A value, as far as it can be told without a schema.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Fields in brackets.
    Message(Message),
    /// A string, unescaped.
    Text(String),
    /// A whole number.
    Integer(i128),
    /// Any other number, `-inf` too.
    Float(f64),
    /// A bare word: an enum's value, `true`, `inf`.
    Word(String),
}

/// A line and a column in bytes, both from 1.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// Why a text is none of the format.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SyntaxError {
    /// Longer than any configuration.
    #[error("the text has {found} bytes, expected at most {LENGTH}")]
    Length {
        /// Its bytes.
        found: usize,
    },
    /// Something else stands where something must.
    #[error("{at}: found {found}, expected {expected}")]
    Unexpected {
        /// Where.
        at: Place,
        /// What stands there.
        found: String,
        /// What may.
        expected: &'static str,
    },
    /// Brackets within brackets, without end.
    #[error("{at}: messages are nested deeper than {DEPTH}")]
    Depth {
        /// Where.
        at: Place,
    },
    /// A name in brackets.
    #[error("{at}: extensions and Any messages ('[name]') are not read here")]
    Extension {
        /// Where.
        at: Place,
    },
    /// A string that does not end on its line, or is no text.
    #[error("{at}: {problem}")]
    Text {
        /// Where.
        at: Place,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A number that is none, or one that no field can hold.
    #[error("{at}: '{found}' is no number")]
    Number {
        /// Where.
        at: Place,
        /// What stands there.
        found: String,
    },
}

/// Reads a whole text.
///
/// # Errors
///
/// [`SyntaxError`], with line and column.
pub fn parse(text: &str) -> Result<Message, SyntaxError> {
    if text.len() > LENGTH {
        return Err(SyntaxError::Length { found: text.len() });
    }
    let mut scanner = Scanner { text, at: 0, line: 1, line_start: 0 };
    scanner.message(None, 0)
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    line_start: usize,
}

impl<'a> Scanner<'a> {
    fn message(&mut self, end: Option<u8>, depth: usize) -> Result<Message, SyntaxError> {
        if depth > DEPTH {
            return Err(SyntaxError::Depth { at: self.place() });
        }
        let mut message = Message::default();
        loop {
            self.space();
            match (self.peek(), end) {
                (None, None) => return Ok(message),
                (Some(byte), Some(end)) if byte == end => {
                    self.at += 1;
                    return Ok(message);
                }
                _ => self.field(&mut message, depth)?,
            }
        }
    }

    fn field(&mut self, message: &mut Message, depth: usize) -> Result<(), SyntaxError> {
        let at = self.place();
        if self.peek() == Some(b'[') {
            return Err(SyntaxError::Extension { at });
        }
        let Some(name) = self.word() else {
            return Err(self.unexpected("the name of a field"));
        };
        self.space();
        let colon = self.take(b':');
        self.space();
        let mut add = |value| {
            message.fields.push(Field { name: name.to_owned(), value, at });
        };
        match self.peek() {
            Some(b'[') => self.list(depth, &mut add)?,
            Some(b'{' | b'<') => add(self.bracketed(depth)?),
            _ if colon => add(self.scalar()?),
            _ => return Err(self.unexpected("':' or '{'")),
        }
        self.space();
        if matches!(self.peek(), Some(b',' | b';')) {
            self.at += 1;
        }
        Ok(())
    }

    fn list(&mut self, depth: usize, add: &mut impl FnMut(Value)) -> Result<(), SyntaxError> {
        self.at += 1;
        self.space();
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.space();
            match self.peek() {
                Some(b'{' | b'<') => add(self.bracketed(depth)?),
                _ => add(self.scalar()?),
            }
            self.space();
            if self.take(b']') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(self.unexpected("',' or ']'"));
            }
        }
    }

    fn bracketed(&mut self, depth: usize) -> Result<Value, SyntaxError> {
        let end = if self.take(b'{') { b'}' } else { b'>' };
        if end == b'>' {
            self.at += 1;
        }
        self.message(Some(end), depth + 1).map(Value::Message)
    }

    fn scalar(&mut self) -> Result<Value, SyntaxError> {
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.strings(quote),
            Some(b'-' | b'.' | b'0'..=b'9') => self.number(),
            _ => match self.word() {
                Some(word) => Ok(Value::Word(word.to_owned())),
                None => Err(self.unexpected("a value")),
            },
        }
    }

    // Strings that stand side by side are one.
    fn strings(&mut self, quote: u8) -> Result<Value, SyntaxError> {
        let at = self.place();
        let (mut bytes, mut next) = (Vec::new(), Some(quote));
        while let Some(quote @ (b'"' | b'\'')) = next {
            self.string(quote, &mut bytes)?;
            self.space();
            next = self.peek();
        }
        let problem = "the string is not UTF-8";
        String::from_utf8(bytes).map(Value::Text).map_err(|_| SyntaxError::Text { at, problem })
    }

    fn string(&mut self, quote: u8, bytes: &mut Vec<u8>) -> Result<(), SyntaxError> {
        let at = self.place();
        self.at += 1;
        loop {
            let Some(byte) = self.peek().filter(|&byte| byte != b'\n') else {
                return Err(SyntaxError::Text { at, problem: "the string does not end" });
            };
            self.at += 1;
            match byte {
                byte if byte == quote => return Ok(()),
                b'\\' => self.escape(bytes)?,
                byte => bytes.push(byte),
            }
        }
    }

    fn escape(&mut self, bytes: &mut Vec<u8>) -> Result<(), SyntaxError> {
        let at = self.place();
        let wrong = SyntaxError::Text { at, problem: "the string has an escape that is none" };
        let Some(byte) = self.peek() else { return Err(wrong) };
        if matches!(byte, b'0'..=b'7') {
            let value = self.digits(8, 3).and_then(|value| u8::try_from(value).ok());
            bytes.push(value.ok_or(wrong)?);
            return Ok(());
        }
        self.at += 1;
        bytes.push(match byte {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'a' => 0x07,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'v' => 0x0b,
            b'\\' | b'\'' | b'"' | b'?' => byte,
            b'x' | b'X' => {
                let value = self.digits(16, 2).and_then(|value| u8::try_from(value).ok());
                value.ok_or(wrong)?
            }
            b'u' | b'U' => {
                let (before, most) = (self.at, if byte == b'u' { 4 } else { 8 });
                let value = self.digits(16, most).and_then(char::from_u32);
                let Some(letter) = value.filter(|_| self.at == before + most) else {
                    return Err(wrong);
                };
                bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(wrong),
        });
        Ok(())
    }

    fn digits(&mut self, base: u32, most: usize) -> Option<u32> {
        let start = self.at;
        let is_digit = |byte: u8| char::from(byte).is_digit(base);
        while self.at < start + most && self.peek().is_some_and(is_digit) {
            self.at += 1;
        }
        u32::from_str_radix(self.text.get(start..self.at)?, base).ok()
    }

    fn number(&mut self) -> Result<Value, SyntaxError> {
        let (at, negative) = (self.place(), self.take(b'-'));
        if negative {
            self.space();
        }
        let start = self.at;
        while let Some(byte) = self.peek() {
            let so_far = self.text.get(start..self.at).unwrap_or_default();
            let exponent = matches!(byte, b'+' | b'-')
                && so_far.ends_with(['e', 'E'])
                && !so_far.starts_with("0x");
            if !(byte.is_ascii_alphanumeric() || byte == b'.' || exponent) {
                break;
            }
            self.at += 1;
        }
        let found = self.text.get(start..self.at).unwrap_or_default();
        let value = magnitude(found).map(|value| if negative { value.negated() } else { value });
        value.ok_or_else(|| {
            let sign = if negative { "-" } else { "" };
            let found = found.chars().take(SHOWN).collect::<String>();
            SyntaxError::Number { at, found: format!("{sign}{found}") }
        })
    }

    fn word(&mut self) -> Option<&'a str> {
        let start = self.at;
        if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return None;
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            self.at += 1;
        }
        self.text.get(start..self.at).filter(|word| !word.is_empty())
    }

    fn space(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b'\n' => {
                    self.line += 1;
                    self.line_start = self.at + 1;
                }
                b' ' | b'\t' | b'\r' | 0x0b | 0x0c => {}
                b'#' => {
                    let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
                    let line = rest.iter().position(|&byte| byte == b'\n');
                    self.at += line.unwrap_or(rest.len());
                    continue;
                }
                _ => return,
            }
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn place(&self) -> Place {
        Place { line: self.line, column: self.at - self.line_start + 1 }
    }

    fn unexpected(&self, expected: &'static str) -> SyntaxError {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let found =
            rest.chars().next().map_or("the end".to_owned(), |letter| format!("{letter:?}"));
        SyntaxError::Unexpected { at: self.place(), found, expected }
    }
}

impl Value {
    fn negated(self) -> Self {
        match self {
            Self::Integer(value) => Self::Integer(-value),
            Self::Float(value) => Self::Float(-value),
            Self::Message(_) | Self::Text(_) | Self::Word(_) => self,
        }
    }
}

fn magnitude(text: &str) -> Option<Value> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let octal = text.strip_prefix('0').filter(|rest| !rest.is_empty());
    if let Some(digits) = hex {
        return integer(digits, 16);
    }
    if let Some(value) = octal.and_then(|digits| integer(digits, 8)) {
        return Some(value);
    }
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit());
    if is_decimal && octal.is_none() {
        return integer(text, 10);
    }
    match text {
        "inf" | "infinity" => return Some(Value::Float(f64::INFINITY)),
        "nan" => return Some(Value::Float(f64::NAN)),
        _ => {}
    }
    // Rust reads more words as numbers than the format does.
    let float = text.strip_suffix(['f', 'F']).unwrap_or(text);
    let is_number =
        !is_decimal && float.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    float.parse().ok().filter(|_| is_number).map(Value::Float)
}

// At most what 64 bits hold, signed or not: no field of the schema is wider.
fn integer(digits: &str, base: u32) -> Option<Value> {
    u64::from_str_radix(digits, base).ok().map(|value| Value::Integer(value.into()))
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fields.iter().try_for_each(|field| write!(f, "{field} "))
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.value {
            Value::Message(message) => write!(f, "{name} {{ {message}}}"),
            Value::Integer(value) => write!(f, "{name}: {value}"),
            Value::Float(value) => write!(f, "{name}: {value:?}"),
            Value::Word(word) => write!(f, "{name}: {word}"),
            Value::Text(text) => {
                write!(f, "{name}: \"")?;
                text.bytes().try_for_each(|byte| match byte {
                    b'"' | b'\\' => write!(f, "\\{}", char::from(byte)),
                    b' '..=b'~' => write!(f, "{}", char::from(byte)),
                    byte => write!(f, "\\{byte:03o}"),
                })?;
                f.write_str("\"")
            }
        }
    }
}

/// Bytes of a text; a model's configuration has a few thousand.
const LENGTH: usize = 1 << 20;

/// Messages within messages; the schema has fewer than ten.
const DEPTH: usize = 32;

/// Letters of a wrong number that a message shows.
const SHOWN: usize = 32;

#[cfg(test)]
mod tests {
    use super::{Field, LENGTH, Message, Place, Value, parse};
    use proptest::prelude::*;

    fn values(text: &str) -> Vec<Value> {
        parse(text).unwrap().fields.into_iter().map(|field| field.value).collect()
    }

    fn refusal(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn every_form_of_a_field_is_read() {
        let text = "# a comment\n a: 1, b { c: 2; } d < e: [3, -4] > f: {} g [ {h: 5}, <> ] i: []";
        let read = parse(text).unwrap();
        let names: Vec<&str> = read.fields.iter().map(|field| &*field.name).collect();
        assert_eq!(names, ["a", "b", "d", "f", "g", "g"]);
        assert_eq!(read.fields[0].at, Place { line: 2, column: 2 });
        let Value::Message(list) = &read.fields[2].value else { panic!("{read:?}") };
        assert_eq!(list.to_string(), "e: 3 e: -4 ");
    }

    #[test]
    fn numbers_of_all_bases_are_read() {
        let read = values(
            "a: [0, 017, 0x1F, -7, - 8, 18446744073709551615, 1.5, .5, 1e3, 2E-2f, -inf, 3f]",
        );
        let (whole, rest) = read.split_at(6);
        let whole: Vec<String> = whole.iter().map(|value| format!("{value:?}")).collect();
        assert_eq!(
            whole.join(" "),
            "Integer(0) Integer(15) Integer(31) Integer(-7) Integer(-8) Integer(18446744073709551615)"
        );
        let float = |value: &Value| if let Value::Float(float) = value { *float } else { f64::NAN };
        let rest: Vec<f64> = rest.iter().map(float).collect();
        assert_eq!(rest, [1.5, 0.5, 1000.0, 0.02, f64::NEG_INFINITY, 3.0]);
        assert_eq!(values("a: inf b: true c: KIND_CPU").len(), 3);
        for wrong in ["0x", "08", "1.2.3", "12abc", "18446744073709551616", "-", "-x"] {
            assert!(refusal(&format!("a: {wrong}")).starts_with("1:4: "), "{wrong}");
        }
    }

    #[test]
    fn strings_are_unescaped_and_joined() {
        let text = r#"a: "x\n\101\x42\u00e4" 'it"s' # joined"#;
        assert_eq!(values(text), [Value::Text("x\nAB\u{e4}it\"s".to_owned())]);
        for (text, problem) in [
            ("a: \"x", "1:4: the string does not end"),
            ("a: 'x\n'", "1:4: the string does not end"),
            ("a: '\\q'", "1:6: the string has an escape that is none"),
            ("a: '\\u12'", "1:6: the string has an escape that is none"),
            ("a: '\\xff'", "1:4: the string is not UTF-8"),
        ] {
            assert_eq!(refusal(text), problem, "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_place() {
        for (text, problem) in [
            ("a 1", "1:3: found '1', expected ':' or '{'"),
            ("\n\n  7: 1", "3:3: found '7', expected the name of a field"),
            ("a { b: 1", "1:9: found the end, expected the name of a field"),
            ("a: [1 2]", "1:7: found '2', expected ',' or ']'"),
            ("a:", "1:3: found the end, expected a value"),
            (
                "[type.googleapis.com/x] {}",
                "1:1: extensions and Any messages ('[name]') are not read here",
            ),
            ("}", "1:1: found '}', expected the name of a field"),
        ] {
            assert_eq!(refusal(text), problem, "{text}");
        }
        assert!(refusal(&"a {".repeat(100_000)).ends_with("messages are nested deeper than 32"));
        assert!(refusal(&" ".repeat(LENGTH + 1)).contains("expected at most 1048576"));
    }

    fn scalar() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<String>().prop_map(Value::Text),
            any::<i64>().prop_map(|value| Value::Integer(value.into())),
            any::<u64>().prop_map(|value| Value::Integer(value.into())),
            any::<f64>()
                .prop_filter("no NaN: it equals nothing", |value| value.is_finite())
                .prop_map(Value::Float),
            "[A-Z][A-Z_0-9]{0,8}".prop_map(Value::Word),
        ]
    }

    fn message() -> impl Strategy<Value = Message> {
        let leaf = prop::collection::vec(("[a-z_][a-z0-9_]{0,8}", scalar()), 0..4).prop_map(tree);
        leaf.prop_recursive(4, 32, 4, |inner| {
            let value = prop_oneof![scalar(), inner.prop_map(Value::Message)];
            prop::collection::vec(("[a-z_][a-z0-9_]{0,8}", value), 0..4).prop_map(tree)
        })
    }

    fn tree(fields: Vec<(String, Value)>) -> Message {
        let at = Place::default();
        Message {
            fields: fields.into_iter().map(|(name, value)| Field { name, value, at }).collect(),
        }
    }

    fn nowhere(mut message: Message) -> Message {
        for field in &mut message.fields {
            field.at = Place::default();
            if let Value::Message(inner) = &mut field.value {
                *inner = nowhere(std::mem::take(inner));
            }
        }
        message
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_as_it_was(message in message()) {
            prop_assert_eq!(nowhere(parse(&message.to_string()).unwrap()), message);
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), soup in r#"[\[\]{}<>:;,"'\\#a-f0-9xe.\-\n ]{0,64}"#) {
            drop((parse(&text), parse(&soup)));
        }
    }
}
