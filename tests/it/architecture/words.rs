//! A source file as words: every token in order, with its line.
//!
//! Paths also hide in macros and attributes, where a syntax tree ends in plain tokens. So all is
//! read as tokens, and a path counts wherever it stands. `syn` knows lines only with a feature of
//! `proc-macro2`; so each line is given a marker word before it is parsed.

use std::fmt::Write as _;

use syn::ext::IdentExt;
use syn::parse::{ParseBuffer, ParseStream, Parser};
use syn::{Ident, Lifetime, Lit, Token, braced, bracketed, parenthesized, token};

/// The words of one file; `texts` and `lines` are of equal length.
///
/// A string literal is one word, its content after a `"`; `::` is one word; other literals are `0`.
/// `$` is left out, so that `$crate::x` in a macro reads as `crate::x`.
#[derive(Debug, Default)]
pub struct Words {
    pub texts: Vec<String>,
    pub lines: Vec<usize>,
    line: usize,
}

impl Words {
    /// Splits a file into words, or says why it is not Rust.
    pub fn read(text: &str) -> syn::Result<Self> {
        let mut marked = String::new();
        for (number, line) in (1..).zip(text.lines()) {
            writeln!(marked, "{MARK}{number} {line}").expect("a string takes any text");
        }
        let mut words = Self::default();
        (|input: ParseStream<'_>| words.take(input)).parse_str(&marked)?;
        Ok(words)
    }

    fn take(&mut self, input: ParseStream<'_>) -> syn::Result<()> {
        while !input.is_empty() {
            if input.peek(token::Brace) {
                let inner;
                braced!(inner in input);
                self.group(["{", "}"], &inner)?;
            } else if input.peek(token::Bracket) {
                let inner;
                bracketed!(inner in input);
                self.group(["[", "]"], &inner)?;
            } else if input.peek(token::Paren) {
                let inner;
                parenthesized!(inner in input);
                self.group(["(", ")"], &inner)?;
            } else {
                self.single(input)?;
            }
        }
        Ok(())
    }

    fn group(&mut self, [open, close]: [&str; 2], inner: &ParseBuffer<'_>) -> syn::Result<()> {
        self.push(open.to_owned());
        self.take(inner)?;
        self.push(close.to_owned());
        Ok(())
    }

    fn single(&mut self, input: ParseStream<'_>) -> syn::Result<()> {
        if input.peek(Lit) {
            self.push(literal(&input.parse()?));
        } else if input.peek(Lifetime) {
            self.push(input.parse::<Lifetime>()?.to_string());
        } else if input.peek(Token![::]) {
            input.parse::<Token![::]>()?;
            self.push("::".to_owned());
        } else if input.peek(Ident::peek_any) {
            self.word(&Ident::parse_any(input)?.to_string());
        } else {
            let sign = input.step(|cursor| match cursor.punct() {
                Some((punct, rest)) => Ok((punct.as_char(), rest)),
                None => Err(cursor.error("found no token")),
            })?;
            if sign != '$' {
                self.push(sign.to_string());
            }
        }
        Ok(())
    }

    fn word(&mut self, word: &str) {
        match word.strip_prefix(MARK).and_then(|number| number.parse().ok()) {
            Some(line) => self.line = line,
            None => self.push(word.to_owned()),
        }
    }

    fn push(&mut self, text: String) {
        self.texts.push(text);
        self.lines.push(self.line);
    }
}

/// The index of the bracket that closes the one at `open`, or the end if there is none.
pub fn closing(words: &[&str], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, word) in words.iter().enumerate().skip(open) {
        match *word {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    words.len()
}

/// Whether a word can be a part of a path.
pub fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

fn literal(literal: &Lit) -> String {
    if let Lit::Str(text) = literal {
        return format!("\"{}", unmarked(&text.value()));
    }
    if let Lit::ByteStr(bytes) = literal {
        return format!("\"{}", unmarked(&String::from_utf8_lossy(&bytes.value())));
    }
    "0".to_owned()
}

/// The content of a literal without the markers of the lines it runs over.
fn unmarked(content: &str) -> String {
    let mut pieces = content.split(MARK);
    let mut clean = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let line = piece.trim_start_matches(|digit: char| digit.is_ascii_digit());
        clean.push_str(line.strip_prefix(' ').unwrap_or(line));
    }
    clean
}

const MARK: &str = "__at_line_";
