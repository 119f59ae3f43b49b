//! Changes to bytes that are likely to matter to a reader of JSON or protobuf.

#![expect(clippy::indexing_slicing, reason = "a test fails where it indexes wrongly")]

/// Makes an input of those that there are; the same ones for the same seed.
#[derive(Debug)]
pub struct Mutator(fastrand::Rng);

impl Mutator {
    /// One with that seed.
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// One of the inputs, with one to six changes.
    pub fn change(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut data = self.one_of(inputs).clone();
        for _ in 0..self.0.usize(1..=6) {
            match self.0.u8(0..9) {
                0 => self.flip(&mut data),
                1 => self.put(&mut data, None),
                2 => self.cut(&mut data),
                3 => self.repeat(&mut data),
                4 => {
                    let token = *self.one_of(TOKENS);
                    self.put(&mut data, Some(token));
                }
                5 => self.splice(&mut data, inputs),
                6 => self.renumber(&mut data),
                7 => {
                    let place = self.place(&data);
                    data.truncate(place);
                }
                _ => self.swap(&mut data),
            }
        }
        data.truncate(MOST_BYTES);
        data
    }

    fn flip(&mut self, data: &mut [u8]) {
        let place = self.place(data);
        if let Some(byte) = data.get_mut(place) {
            *byte ^= 1 << self.0.u8(0..8);
        }
    }

    // Bytes of its own, or those given, between others or over them.
    fn put(&mut self, data: &mut Vec<u8>, token: Option<&[u8]>) {
        let made = [self.0.u8(..), *self.one_of(BYTES)];
        let token = token.unwrap_or(&made[..self.0.usize(1..=2)]);
        let place = self.place(data);
        let over = if self.0.bool() { token.len().min(data.len() - place) } else { 0 };
        data.splice(place..place + over, token.iter().copied());
    }

    fn cut(&mut self, data: &mut Vec<u8>) {
        let (start, end) = self.range(data);
        data.drain(start..end);
    }

    fn repeat(&mut self, data: &mut Vec<u8>) {
        let (start, end) = self.range(data);
        let times = self.0.usize(1..8);
        let part = data[start..end].repeat(times);
        data.splice(start..start, part);
    }

    fn splice(&mut self, data: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        let other = self.one_of(inputs);
        let (start, end) = self.range(other);
        let place = self.place(data);
        data.splice(place..place, other[start..end].iter().copied());
    }

    // Another number where one stands.
    fn renumber(&mut self, data: &mut Vec<u8>) {
        let start = self.place(data);
        let is_digit = |byte: &u8| byte.is_ascii_digit();
        let Some(start) = data[start..].iter().position(is_digit).map(|at| start + at) else {
            return;
        };
        let length = data[start..].iter().take_while(|byte| is_digit(byte)).count();
        let number = *self.one_of(NUMBERS);
        data.splice(start..start + length, number.bytes());
    }

    fn swap(&mut self, data: &mut [u8]) {
        let (one, other) = (self.place(data), self.place(data));
        if one < data.len() && other < data.len() {
            data.swap(one, other);
        }
    }

    fn place(&mut self, data: &[u8]) -> usize {
        self.0.usize(0..=data.len())
    }

    fn range(&mut self, data: &[u8]) -> (usize, usize) {
        let start = self.place(data);
        let most = (data.len() - start).min(64);
        (start, start + self.0.usize(0..=most))
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.0.usize(..all.len())]
    }
}

const MOST_BYTES: usize = 16_384;

const BYTES: &[u8] = b"\0\x01\x0a\x2a\x7f\x80\xff{}[],:\"\\-+.eE0";

const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "4",
    "16",
    "127",
    "128",
    "255",
    "256",
    "32768",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e400",
    "1e-400",
    "3.4028236e38",
    "0.1",
    "1e0",
];

const TOKENS: &[&[u8]] = &[
    b"\"inputs\":",
    b"\"outputs\":",
    b"\"parameters\":",
    b"\"name\":",
    b"\"datatype\":",
    b"\"shape\":",
    b"\"data\":",
    b"\"binary_data_size\":",
    b"\"id\":",
    b"\"timeout\":",
    b"[",
    b"]",
    b"{",
    b"}",
    b"null",
    b"true",
    b"false",
    b"NaN",
    b"-Infinity",
    b"\"\\ud83d\\ude00\"",
    b"\\ud800",
    b"\\u0000",
    b"\xc3\xa9",
    b"\xed\xa0\x80",
    b"FP32",
    b"FP64",
    b"FP16",
    b"BYTES",
    b"BOOL",
    b"INT8",
    b"INT64",
    b"UINT8",
    b"UINT64",
    b"-0",
    b"-1",
    b"1.5",
    b"\xff\xff\xff\xff",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    b"\x22\x04Loop",
    b"\x3a\x08\x0a\x06\x22\x04Loop",
    b"\x0a\x04iris",
    b"\x2a",
    b"\x3a",
];
