//! Protobuf messages as fields on the wire, so that a change keeps the rest.
//!
//! A decoded message loses what its schema does not name; here every byte that nobody changes stays
//! as it is. The bytes may be anybody's: lengths are checked, and nothing panics.

/// One field of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Field<'a> {
    /// Its number in the schema.
    pub number: u64,
    /// Its value.
    pub value: Value<'a>,
    /// Where the field begins in the message.
    start: usize,
    /// Where it ends.
    end: usize,
}

/// A field's value, as far as the wire tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Value<'a> {
    /// An integer.
    Varint(u64),
    /// A string, a message, or packed numbers.
    Bytes(&'a [u8]),
    /// Four or eight bytes.
    Fixed,
}

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the bytes are no protobuf message")]
pub struct Broken;

/// What becomes of a field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Edit {
    /// It stays as it is.
    Keep,
    /// It goes.
    Drop,
    /// It gets these bytes for its value.
    Put(Vec<u8>),
}

impl<'a> Field<'a> {
    /// The bytes of a string or message; nothing for a number.
    pub fn bytes(&self) -> &'a [u8] {
        match self.value {
            Value::Bytes(bytes) => bytes,
            Value::Varint(_) | Value::Fixed => &[],
        }
    }

    /// An integer; 0 for anything else.
    pub fn number_value(&self) -> u64 {
        match self.value {
            Value::Varint(number) => number,
            Value::Bytes(_) | Value::Fixed => 0,
        }
    }
}

/// Reads a message's fields in order; the first broken one is the last item.
pub fn fields(message: &[u8]) -> impl Iterator<Item = Result<Field<'_>, Broken>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= message.len() {
            return None;
        }
        let field = field(message, at).ok_or(Broken);
        at = field.as_ref().map_or(message.len(), |field| field.end);
        Some(field)
    })
}

/// Changes fields of a message; none if all of them stay.
///
/// # Errors
///
/// [`Broken`], or what `change` returns.
pub fn edit<'a>(
    message: &'a [u8],
    mut change: impl FnMut(Field<'a>) -> Result<Edit, Broken>,
) -> Result<Option<Vec<u8>>, Broken> {
    let mut out: Option<Vec<u8>> = None;
    let mut copied = 0;
    for field in fields(message) {
        let field = field?;
        let edit = change(field)?;
        if edit == Edit::Keep {
            continue;
        }
        let out = out.get_or_insert_default();
        out.extend_from_slice(message.get(copied..field.start).unwrap_or_default());
        copied = field.end;
        if let Edit::Put(bytes) = edit {
            put(out, field.number, &bytes);
        }
    }
    Ok(out.map(|mut out| {
        out.extend_from_slice(message.get(copied..).unwrap_or_default());
        out
    }))
}

/// Writes a field of bytes.
pub fn put(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put_varint(out, number << 3 | LENGTH);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Writes a field of an integer.
pub fn put_number(out: &mut Vec<u8>, number: u64, value: u64) {
    put_varint(out, number << 3 | VARINT);
    put_varint(out, value);
}

/// Reads a varint at a place; also where it ends.
pub fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0;
    for (index, &byte) in bytes.get(at..)?.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7F) << (7 * index);
        if byte < 0x80 {
            return Some((value, at + index + 1));
        }
    }
    None
}

fn field(message: &[u8], start: usize) -> Option<Field<'_>> {
    let (tag, at) = varint(message, start)?;
    let number = tag >> 3;
    let (value, end) = match tag & 7 {
        VARINT => {
            let (value, end) = varint(message, at)?;
            (Value::Varint(value), end)
        }
        LENGTH => {
            let (length, at) = varint(message, at)?;
            let end = at.checked_add(usize::try_from(length).ok()?)?;
            (Value::Bytes(message.get(at..end)?), end)
        }
        FIXED_64 => (Value::Fixed, at + 8),
        FIXED_32 => (Value::Fixed, at + 4),
        _ => return None,
    };
    (number > 0 && end <= message.len()).then_some(Field { number, value, start, end })
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED_32: u64 = 5;

#[cfg(test)]
mod tests {
    use super::{Broken, Edit, Value, edit, fields, put, put_number};
    use proptest::prelude::*;

    #[test]
    fn a_change_keeps_every_other_byte() {
        let mut message = Vec::new();
        put_number(&mut message, 1, 300);
        put(&mut message, 2, b"old");
        put(&mut message, 900, b"unknown");
        let change = |edited: Edit| {
            edit(&message, |field| Ok(if field.number == 2 { edited.clone() } else { Edit::Keep }))
        };
        assert_eq!(change(Edit::Keep).unwrap(), None);
        let values = |message: &[u8]| -> Vec<String> {
            let value = |value| match value {
                Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                Value::Varint(number) => number.to_string(),
                Value::Fixed => "fixed".to_owned(),
            };
            fields(message).map(|field| value(field.unwrap().value)).collect()
        };
        assert_eq!(values(&change(Edit::Drop).unwrap().unwrap()), ["300", "unknown"]);
        let put = change(Edit::Put(b"quite new".to_vec())).unwrap().unwrap();
        assert_eq!(values(&put), ["300", "quite new", "unknown"]);
    }

    #[test]
    fn a_length_beyond_the_end_and_a_number_without_end_are_broken() {
        for bytes in
            [&[0x12, 5, b'a'][..], &[0x08, 0xFF], &[0x08], &[0x0B], &[0x09, 1, 2], &[0x00, 0]]
        {
            assert_eq!(fields(bytes).last(), Some(Err(Broken)), "{bytes:?}");
        }
        let endless = [&[0x12][..], &[0xFF; 9], &[0x01]].concat();
        assert_eq!(fields(&endless).last(), Some(Err(Broken)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let read = fields(&bytes).count();
            prop_assert!(read <= bytes.len());
            edit(&bytes, |_| Ok(Edit::Drop)).ok();
        }
    }
}
