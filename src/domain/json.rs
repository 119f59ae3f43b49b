//! Reads JSON text in one pass, without building a tree of values.
//!
//! The grammar is RFC 8259 and three literals that Python writes and reads: `NaN`, `Infinity` and
//! `-Infinity`. Depth is bounded; nothing is allocated but strings that contain escapes.

use std::borrow::Cow;

/// Reads values one after another from a text.
#[derive(Clone, Debug)]
pub struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    /// Where the text begins in the whole that errors speak of.
    base: usize,
    depth: usize,
}

/// What kind of value comes next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// `{`
    Object,
    /// `[`
    Array,
    /// `"`
    String,
    /// A number, or one of the three literals.
    Number,
    /// `true` or `false`.
    Bool,
    /// `null`.
    Null,
}

/// Where reading stopped, and why.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct JsonError {
    /// What was found and what was expected.
    pub what: String,
    /// Offset in the text.
    pub at: usize,
}

impl<'a> Scanner<'a> {
    /// Begins at the start of a text.
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, base: 0, depth: 0 }
    }

    /// Begins at the start of a part of a longer text, whose first byte is the `at`th there.
    pub fn new_at(text: &'a [u8], at: usize) -> Self {
        Self { base: at, ..Self::new(text) }
    }

    /// An error at the present place.
    pub fn error(&self, what: impl Into<String>) -> JsonError {
        JsonError { what: what.into(), at: self.offset() }
    }

    /// Bytes not read yet.
    pub fn left(&self) -> usize {
        self.text.len() - self.at
    }

    /// Offset of the next byte in the whole text.
    pub fn offset(&self) -> usize {
        self.base + self.at
    }

    /// What comes next.
    ///
    /// # Errors
    ///
    /// [`JsonError`] if it is no value.
    pub fn peek(&mut self) -> Result<Next, JsonError> {
        self.space();
        match self.byte() {
            Some(b'{') => Ok(Next::Object),
            Some(b'[') => Ok(Next::Array),
            Some(b'"') => Ok(Next::String),
            Some(b'-' | b'0'..=b'9' | b'N' | b'I') => Ok(Next::Number),
            Some(b't' | b'f') => Ok(Next::Bool),
            Some(b'n') => Ok(Next::Null),
            Some(_) => Err(self.error("unexpected character, expected a value")),
            None => Err(self.error("unexpected end, expected a value")),
        }
    }

    /// Reads an object; `member` must read the value of each key it is given.
    ///
    /// # Errors
    ///
    /// [`JsonError`], or what `member` returns.
    pub fn object<E: From<JsonError>>(
        &mut self,
        mut member: impl FnMut(&str, &mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.open(b'{', "an object")?;
        let mut first = true;
        while self.more(b'}', &mut first)? {
            let key = self.string()?;
            self.expect(b':', "':'")?;
            member(&key, self)?;
        }
        Ok(())
    }

    /// Reads an array; `element` must read each element.
    ///
    /// # Errors
    ///
    /// [`JsonError`], or what `element` returns.
    pub fn array<E: From<JsonError>>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.open(b'[', "an array")?;
        let mut first = true;
        while self.more(b']', &mut first)? {
            element(self)?;
        }
        Ok(())
    }

    /// Reads a string; borrowed unless it contains escapes.
    ///
    /// # Errors
    ///
    /// [`JsonError`]; also for bytes that are not UTF-8.
    pub fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        self.expect(b'"', "a string")?;
        let start = self.at;
        loop {
            match self.byte() {
                Some(b'"') => {
                    let text = self.utf8(start)?;
                    self.at += 1;
                    return Ok(Cow::Borrowed(text));
                }
                Some(b'\\') => {
                    let text = self.utf8(start)?.to_owned();
                    return self.escaped(text).map(Cow::Owned);
                }
                Some(0..=0x1F) => return Err(self.error("control character in a string")),
                Some(_) => self.at += 1,
                None => return Err(self.error("unexpected end of a string")),
            }
        }
    }

    /// Reads a number as it is written; for the three literals, their text.
    ///
    /// # Errors
    ///
    /// [`JsonError`].
    pub fn number(&mut self) -> Result<&'a str, JsonError> {
        self.space();
        let start = self.at;
        let negative = self.eat(b'-');
        match self.byte() {
            Some(b'I') => self.word("Infinity")?,
            Some(b'N') if !negative => self.word("NaN")?,
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return Err(self.error("expected a number")),
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        self.utf8(start)
    }

    /// Reads `true` or `false`.
    ///
    /// # Errors
    ///
    /// [`JsonError`].
    pub fn bool(&mut self) -> Result<bool, JsonError> {
        self.space();
        let value = self.byte() == Some(b't');
        self.word(if value { "true" } else { "false" })?;
        Ok(value)
    }

    /// Reads any value and forgets it; returns its text.
    ///
    /// # Errors
    ///
    /// [`JsonError`].
    pub fn skip(&mut self) -> Result<&'a [u8], JsonError> {
        let next = self.peek()?;
        let start = self.at;
        match next {
            Next::Object => {
                self.object(|_, scanner| scanner.skip().map(drop))?;
            }
            Next::Array => self.array(|scanner| scanner.skip().map(drop))?,
            Next::String => drop(self.string()?),
            Next::Number => drop(self.number()?),
            Next::Bool => drop(self.bool()?),
            Next::Null => self.word("null")?,
        }
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    /// Checks that nothing but white space is left.
    ///
    /// # Errors
    ///
    /// [`JsonError`].
    pub fn end(&mut self) -> Result<(), JsonError> {
        self.space();
        if self.left() == 0 { Ok(()) } else { Err(self.error("unexpected text after the value")) }
    }

    fn byte(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.byte() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8, what: &str) -> Result<(), JsonError> {
        self.space();
        if self.eat(byte) { Ok(()) } else { Err(self.error(format!("expected {what}"))) }
    }

    fn open(&mut self, bracket: u8, what: &str) -> Result<(), JsonError> {
        self.expect(bracket, what)?;
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err(self.error(format!("nested deeper than {MOST_DEPTH}")));
        }
        Ok(())
    }

    // Before each member: whether there is one, after the comma that must stand before it.
    fn more(&mut self, close: u8, first: &mut bool) -> Result<bool, JsonError> {
        self.space();
        if self.eat(close) {
            self.depth -= 1;
            return Ok(false);
        }
        if !std::mem::take(first) {
            self.expect(b',', "',' or the end")?;
        }
        Ok(true)
    }

    fn word(&mut self, word: &str) -> Result<(), JsonError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return Err(self.error(format!("expected {word}")));
        }
        self.at += word.len();
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while matches!(self.byte(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(self.error("expected a digit")) }
    }

    fn utf8(&self, start: usize) -> Result<&'a str, JsonError> {
        let bytes = self.text.get(start..self.at).unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|_| self.error("text is not UTF-8"))
    }

    fn escaped(&mut self, mut text: String) -> Result<String, JsonError> {
        loop {
            let start = self.at;
            while !matches!(self.byte(), None | Some(b'"' | b'\\' | 0..=0x1F)) {
                self.at += 1;
            }
            text.push_str(self.utf8(start)?);
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    self.at += 1;
                    text.push(self.escape()?);
                }
                _ => return Err(self.error("unexpected end or control character in a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let byte = self.byte().ok_or_else(|| self.error("unexpected end of a string"))?;
        self.at += 1;
        Ok(match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return Err(self.error("unknown escape in a string")),
        })
    }

    fn unicode(&mut self) -> Result<char, JsonError> {
        let first = self.hex()?;
        let code = match first {
            // Two escapes stand for one character beyond the first 65,536.
            0xD800..=0xDBFF => {
                self.word("\\u")?;
                let second = self.hex()?.checked_sub(0xDC00).filter(|&low| low < 0x400);
                let low = second.ok_or_else(|| self.error("unpaired surrogate in a string"))?;
                0x1_0000 + ((first - 0xD800) << 10) + low
            }
            code => code,
        };
        char::from_u32(code).ok_or_else(|| self.error("unpaired surrogate in a string"))
    }

    fn hex(&mut self) -> Result<u32, JsonError> {
        let digits = self.text.get(self.at..self.at + 4).unwrap_or_default();
        let valid = digits.len() == 4 && digits.iter().all(u8::is_ascii_hexdigit);
        let text = std::str::from_utf8(digits).ok().filter(|_| valid);
        let code = text.and_then(|text| u32::from_str_radix(text, 16).ok());
        let code = code.ok_or_else(|| self.error("expected four hex digits"))?;
        self.at += 4;
        Ok(code)
    }
}

/// How deep values may be nested.
const MOST_DEPTH: usize = 32;

#[cfg(test)]
mod tests {
    use super::Scanner;
    use proptest::prelude::*;
    use serde_json::Value;

    fn accepts(text: &[u8]) -> bool {
        let mut scanner = Scanner::new(text);
        scanner.skip().is_ok() && scanner.end().is_ok()
    }

    #[test]
    fn the_three_literals_of_python_are_numbers() {
        for text in ["NaN", "Infinity", "-Infinity"] {
            assert_eq!(Scanner::new(text.as_bytes()).number().unwrap(), text);
        }
        assert!(!accepts(b"-NaN"));
        assert!(!accepts(b"+1"));
    }

    #[test]
    fn depth_is_bounded() {
        let deep = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert!(accepts(&deep(32)));
        assert!(!accepts(&deep(33)));
        assert!(!accepts(&deep(1_000_000)));
    }

    #[test]
    fn an_error_says_where() {
        let error = Scanner::new(b"{\"a\": 1,}").skip().unwrap_err();
        assert_eq!(error.to_string(), "expected a string at byte 8");
    }

    // Mostly JSON, with a flaw here and there.
    fn nearly_json() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("{"),
            Just("}"),
            Just("["),
            Just("]"),
            Just(","),
            Just(":"),
            Just("\"a\""),
            Just("\"\\u00e9\\n\""),
            Just("\"\\ud83d\\ude00\""),
            Just("\"\\ud83d\""),
            Just("0"),
            Just("-1.5e+3"),
            Just("01"),
            Just("1."),
            Just("true"),
            Just("nul"),
            Just("null"),
            Just(" "),
            Just("\"é\""),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn accepts_what_serde_json_accepts(text in nearly_json()) {
            let expected = serde_json::from_str::<Value>(&text).is_ok();
            prop_assert_eq!(accepts(text.as_bytes()), expected, "{}", text);
        }

        #[test]
        fn strings_mean_what_they_mean_to_serde_json(text in any::<String>()) {
            let written = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(Scanner::new(written.as_bytes()).string().unwrap(), text);
        }

        #[test]
        fn no_bytes_make_it_panic(text in prop::collection::vec(any::<u8>(), 0..64)) {
            accepts(&text);
        }
    }
}
