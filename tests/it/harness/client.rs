//! An HTTP client that keeps its connection, and can hang up in the middle.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::harness::server::Reply;

/// One connection, for one request after the other.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
}

/// Hangs up on behalf of a client that waits for its answer.
#[derive(Debug)]
pub struct Handset(TcpStream);

impl Client {
    /// Connects.
    pub fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).expect("the server listens");
        stream.set_nodelay(true).expect("an open connection");
        Self { stream: BufReader::new(stream) }
    }

    /// The same, but no answer is waited for longer than this.
    pub fn connect_within(to: SocketAddr, wait: Duration) -> Self {
        let client = Self::connect(to);
        client.stream.get_ref().set_read_timeout(Some(wait)).expect("an open connection");
        client
    }

    /// What hangs up, from any thread.
    pub fn handset(&self) -> Handset {
        Handset(self.stream.get_ref().try_clone().expect("an open connection"))
    }

    /// Asks, and waits for the answer; none if the connection ends before it.
    pub fn try_ask(&mut self, method: &str, path: &str, body: &str) -> Option<Reply> {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: t\r\ncontent-length: {length}\r\n");
        self.try_send(format!("{head}\r\n{body}").as_bytes()).then(|| self.answer())?
    }

    /// Asks, and waits for the answer.
    pub fn ask(&mut self, method: &str, path: &str, body: &str) -> Reply {
        self.try_ask(method, path, body).expect("an answer before the connection ends")
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &str) {
        self.stream.get_mut().write_all(bytes.as_bytes()).expect("a writable connection");
    }

    /// Whether the server has ended the connection; what it said before is passed over.
    pub fn is_over(&self) -> bool {
        let mut stream = self.stream.get_ref();
        stream.set_nonblocking(true).expect("an open connection");
        let mut said = [0; 1024];
        loop {
            match stream.read(&mut said) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            }
        }
    }

    /// Sends bytes as they are; false if the server closed before it took them all.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.get_mut().write_all(bytes).is_ok()
    }

    /// Says that nothing more will be sent.
    pub fn end(&self) {
        self.stream.get_ref().shutdown(Shutdown::Write).ok();
    }

    /// What still comes until the server closes; an error if it does not.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest)?;
        Ok(rest)
    }

    /// Reads one answer.
    pub fn answer(&mut self) -> Option<Reply> {
        let mut headers = String::new();
        while !headers.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut headers).ok()? == 0 {
                return None;
            }
        }
        let headers = headers.trim_end().to_lowercase();
        let status = headers.split(' ').nth(1)?.parse().ok()?;
        let length = headers.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().expect("a length"));
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).ok()?;
        Some(Reply { status, headers, body })
    }
}

impl Handset {
    /// Ends the connection, whatever is under way.
    pub fn hang_up(&self) {
        self.0.shutdown(Shutdown::Both).ok();
    }
}
