//! Which coding a body has, and which one its sender takes back.

use std::fmt;

use http::{HeaderMap, HeaderValue, header};

use crate::api::status::Refusal;
use crate::domain::failure::{Code, excerpt};

/// How a body is compressed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950; RFC 1951 without that wrapper is read too, because some clients send it.
    Deflate,
}

impl Coding {
    /// How the body of a request is compressed; none if it is not.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] that names what was found, for any other coding and for several at once.
    pub fn of_request(headers: &HeaderMap) -> Result<Option<Self>, Refusal> {
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let found = String::from_utf8_lossy(value.as_bytes());
        let found = found.trim();
        if values.next().is_none() {
            if found.is_empty() || found.eq_ignore_ascii_case(IDENTITY) {
                return Ok(None);
            }
            if let Some(coding) = Self::from_name(found) {
                return Ok(Some(coding));
            }
        }
        let found = excerpt(found);
        let text = format!("content encoding '{found}', expected one of gzip, deflate, identity");
        Err(Refusal::new(Code::Encoding, text))
    }

    /// The coding that the sender of a request likes best for its answer; none for no coding.
    ///
    /// An entry that cannot be read counts as if it were not there. A sender who takes nothing at
    /// all gets the answer as it is (RFC 9110, 12.5.3: that is for us to choose).
    pub fn of_answer(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(header::ACCEPT_ENCODING).iter().peekable();
        values.peek()?;
        let mut weights = Weights::default();
        for value in values {
            weights.read(value);
        }
        weights.best()
    }

    /// Its name in headers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// Its name as a header's value.
    pub const fn value(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }

    fn from_name(name: &str) -> Option<Self> {
        // RFC 9110, 8.4.1.3: the old name counts as the new one.
        if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
            return Some(Self::Gzip);
        }
        name.eq_ignore_ascii_case("deflate").then_some(Self::Deflate)
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How much a sender likes what, in thousandths.
#[derive(Default)]
struct Weights {
    gzip: Option<u16>,
    deflate: Option<u16>,
    identity: Option<u16>,
    any: Option<u16>,
}

impl Weights {
    fn read(&mut self, value: &HeaderValue) {
        let Ok(text) = value.to_str() else { return };
        for entry in text.split(',') {
            let (name, parameters) = entry.split_once(';').unwrap_or((entry, ""));
            let (name, Some(weight)) = (name.trim(), weight(parameters)) else { continue };
            match Coding::from_name(name) {
                Some(Coding::Gzip) => self.gzip = Some(weight),
                Some(Coding::Deflate) => self.deflate = Some(weight),
                None if name == "*" => self.any = Some(weight),
                None if name.eq_ignore_ascii_case(IDENTITY) => self.identity = Some(weight),
                None => {}
            }
        }
    }

    fn best(&self) -> Option<Coding> {
        let (gzip, deflate) = (self.gzip.or(self.any), self.deflate.or(self.any));
        let (gzip, deflate) = (gzip.unwrap_or(0), deflate.unwrap_or(0));
        let (coding, weight) =
            if gzip >= deflate { (Coding::Gzip, gzip) } else { (Coding::Deflate, deflate) };
        // Unsaid, no coding is what a sender takes if it takes nothing else.
        (weight > 0 && weight >= self.identity.unwrap_or(0)).then_some(coding)
    }
}

// `q=0.5` in thousandths; 1 where nothing is said; none if it cannot be read.
fn weight(parameters: &str) -> Option<u16> {
    let text = parameters.trim();
    if text.is_empty() {
        return Some(1000);
    }
    let value = text.strip_prefix("q=").or_else(|| text.strip_prefix("Q="))?;
    let (whole, rest) = value.split_once('.').unwrap_or((value, ""));
    if rest.len() > 3 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths = format!("{rest:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

const IDENTITY: &str = "identity";

#[cfg(test)]
mod tests {
    use super::Coding;
    use http::{HeaderMap, header};

    #[test]
    fn the_answer_is_in_the_coding_that_is_liked_best() {
        let (gzip, deflate) = (Some(Coding::Gzip), Some(Coding::Deflate));
        for (accepted, expected) in [
            ("gzip", gzip),
            ("deflate", deflate),
            ("deflate, gzip", gzip),
            ("x-gzip", gzip),
            ("GZIP;q=0.5, Deflate;Q=0.7", deflate),
            ("gzip;q=0.5, identity", None),
            ("gzip;q=0.5, identity;q=0.5", gzip),
            ("gzip;q=0", None),
            ("*", gzip),
            ("*;q=0.1, gzip;q=0", deflate),
            ("identity;q=0, *;q=0", None),
            ("br, zstd", None),
            ("", None),
            ("gzip;q=1.001, deflate;q=0.001", deflate),
            ("gzip;q=abc", None),
            ("gzip ; q=0.25 , deflate;q=0.250", gzip),
            (",,gzip,", gzip),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, accepted.parse().unwrap());
            assert_eq!(Coding::of_answer(&headers), expected, "{accepted}");
        }
        assert_eq!(Coding::of_answer(&HeaderMap::new()), None);
    }

    #[test]
    fn a_coding_that_is_not_read_is_refused_by_name() {
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_ENCODING, value.parse().unwrap());
            }
            Coding::of_request(&headers).map_err(|refusal| refusal.message)
        };
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["Identity"]), Ok(None));
        assert_eq!(read(&["GZip"]), Ok(Some(Coding::Gzip)));
        assert_eq!(read(&["deflate"]), Ok(Some(Coding::Deflate)));
        for refused in [&["br"][..], &["gzip, gzip"], &["gzip", "gzip"], &["gzip;q=1"]] {
            let text = read(refused).unwrap_err();
            assert!(text.contains("expected one of gzip, deflate, identity"), "{text}");
        }
    }
}
