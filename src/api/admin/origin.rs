//! Keeps web pages from operating a server on the reader's own machine.
//!
//! The admin port trusts whoever reaches loopback, and a browser does, for any page it shows. A
//! browser names the page in `Origin` and what it believes to speak to in `Host`: a call is taken
//! only if neither names another machine.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, header};

use crate::api::status::Refusal;
use crate::domain::failure::Code;

/// Refuses calls that a page of another machine makes.
pub async fn check(request: Request, next: Next) -> Response {
    let foreign = [header::ORIGIN, header::HOST]
        .into_iter()
        .find(|name| !names_this_machine(request.headers(), name));
    let Some(name) = foreign else { return next.run(request).await };
    let text = format!("header {name} names another machine, expected a loopback address");
    Refusal::new(Code::Origin, text).into_response()
}

// A header that is not there names nobody.
fn names_this_machine(headers: &HeaderMap, name: &HeaderName) -> bool {
    let Some(value) = headers.get(name) else { return true };
    let Ok(text) = value.to_str() else { return false };
    let authority = text.split_once("://").map_or(text, |(_, authority)| authority);
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    matches!(host, "localhost" | "[::1]")
        || host.parse().is_ok_and(|ip: std::net::Ipv4Addr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::names_this_machine;
    use http::{HeaderMap, header};

    #[test]
    fn only_loopback_names_this_machine() {
        let named = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ORIGIN, text.parse().unwrap());
            names_this_machine(&headers, &header::ORIGIN)
        };
        for own in ["http://127.0.0.1:8003", "localhost:8003", "http://localhost", "[::1]:8003"] {
            assert!(named(own), "{own}");
        }
        for other in
            ["http://evil.example", "http://127.0.0.1.evil.example:8003", "null", "10.0.0.1"]
        {
            assert!(!named(other), "{other}");
        }
        assert!(names_this_machine(&HeaderMap::new(), &header::ORIGIN));
    }
}
