//! Requests over a real socket, each on a connection of its own.

use std::io;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

/// Sends a request without a body, and reads the answer.
///
/// # Errors
///
/// When the server is away, dies on the way, or answers something that is not HTTP.
pub async fn request(server: SocketAddr, method: &str, path: &str) -> io::Result<Answer> {
    exchange(server, method, path, &[], "").await
}

/// The same with further headers.
///
/// # Errors
///
/// As [`request`].
pub async fn request_with(
    server: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> io::Result<Answer> {
    exchange(server, method, path, headers, "").await
}

/// The same with a JSON body.
///
/// # Errors
///
/// As [`request`].
pub async fn send(server: SocketAddr, method: &str, path: &str, body: &Value) -> io::Result<Answer> {
    exchange(server, method, path, &[], &body.to_string()).await
}

/// Posts a JSON body as it is, with further headers.
///
/// # Errors
///
/// As [`request`].
pub async fn post(
    server: SocketAddr,
    path: &str,
    headers: &[(&str, String)],
    body: &str,
) -> io::Result<Answer> {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    exchange(server, "POST", path, &headers, body).await
}

async fn exchange(
    server: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> io::Result<Answer> {
    let mut socket = TcpStream::connect(server).await?;
    let (kind, length) =
        (if body.is_empty() { "" } else { "content-type: application/json\r\n" }, body.len());
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {server}\r\n{headers}{kind}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    loop {
        let read_now = socket.read_buf(&mut answer).await?;
        // Some servers leave the connection open all the same.
        if let Some(answer) = read(&answer) {
            return Ok(answer);
        }
        if read_now == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer is not whole"));
        }
    }
}

/// An answer whose length is announced.
fn read(answer: &[u8]) -> Option<Answer> {
    let text = String::from_utf8(answer.to_vec()).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split_whitespace().nth(1)?.parse().ok()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    })?;
    (body.len() == length).then(|| Answer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_cut_is_no_answer() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nhi";
        assert_eq!(read(whole), Some(Answer { status: 200, body: "hi".to_owned() }));
        for cut in 0..whole.len() {
            assert_eq!(read(&whole[..cut]), None, "{cut}");
        }
    }
}
