//! Answers to requests of which not even the head could be read.
//!
//! hyper answers those itself before any service is called: a status, and no word about it. Callers
//! are promised a code and an id with every error, so these are written in its place.

use bytes::Bytes;

use crate::api::session::{self, Limits};
use crate::api::status::{self, Refusal};
use crate::domain::compat::Compat;
use crate::domain::failure::Code;
use crate::platform::clock::{Clock, System};

/// What to say in place of an answer that hyper makes by itself; none if the bytes are no such.
pub fn in_place_of(bare: &[u8], limits: &Limits) -> Option<Bytes> {
    let head = std::str::from_utf8(bare).ok()?.strip_prefix("HTTP/1.")?;
    let (_, rest) = head.strip_suffix("\r\n\r\n")?.split_once(' ')?;
    let refusal = match rest.get(..3)? {
        "400" => Refusal::new(
            Code::Malformed,
            "head of the request cannot be read as HTTP/1.1, or says two lengths of its body",
        ),
        // A target over 64 KiB is 414 to hyper; the limit and the remedy are those of a head.
        "414" | "431" => {
            let most = limits.header_bytes;
            let text = format!("head of the request is too large, expected at most {most} bytes");
            Refusal::new(Code::Head, text)
        }
        _ => return None,
    };
    let date = rest.lines().find(|line| line.starts_with("date: "));
    Some(written(&refusal, date))
}

/// What to say to a caller whose head does not end.
pub fn slow_head(limits: &Limits) -> Bytes {
    let text = format!("head of the request did not come within {} s", limits.header_timeout_s);
    written(&Refusal::new(Code::SlowHead, text), None)
}

// After such an answer nobody knows where the next request begins: the connection ends.
fn written(refusal: &Refusal, date: Option<&str>) -> Bytes {
    let id = session::new_id(System.wall());
    let body = refusal.body(id);
    let mut out = format!(
        "HTTP/1.1 {}\r\ncontent-type: application/json\r\nx-tidegate-inference-id: {id}\r\n\
         x-request-id: {id}\r\nconnection: close\r\ncontent-length: {}\r\n",
        // Triton says nothing at all here.
        status::http_status(refusal.code.kind(), Compat::None),
        body.len()
    );
    if let Some(date) = date {
        out.push_str(date);
        out.push_str("\r\n");
    }
    out.push_str("\r\n");
    [out.as_bytes(), &body].concat().into()
}

#[cfg(test)]
mod tests {
    use super::in_place_of;
    use crate::api::session::Limits;

    fn said(bare: &str) -> Option<String> {
        let words = in_place_of(bare.as_bytes(), &Limits::default())?;
        Some(String::from_utf8(words.to_vec()).unwrap())
    }

    #[test]
    fn a_bare_answer_gets_a_code_and_keeps_its_date() {
        let bare = "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\
                    date: Mon, 23 Nov 2026 22:00:00 GMT\r\n\r\n";
        let words = said(bare).unwrap();
        assert!(words.starts_with("HTTP/1.1 431 "), "{words}");
        assert!(words.contains("\r\ndate: Mon, 23 Nov 2026 22:00:00 GMT\r\n"), "{words}");
        assert!(words.contains("\"code\":\"header_too_large.head\""), "{words}");
        let (head, body) = words.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{words}");
    }

    #[test]
    fn other_bytes_stay_as_they_are() {
        for other in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 400 Bad", "PRI * HTTP/2.0", ""] {
            assert_eq!(said(other), None, "{other}");
        }
    }
}
