//! HTTP/2, frame by frame.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GO_AWAY: u8 = 7;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// A frame of HTTP/2.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A request's head: three fields of the static table, the path, the host and the others spelled out.
pub(super) fn get(path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| {
        let length = u8::try_from(text.len()).unwrap();
        assert!(length < 127, "{text:?} needs more than a byte for its length");
        [&[length], text.as_bytes()].concat()
    };
    let mut head = [vec![0x82, 0x86, 4], text(path), vec![1], text("test")].concat();
    for (name, value) in headers {
        head.extend([vec![0], text(name), text(value)].concat());
    }
    head
}

/// A connection of HTTP/2, frame by frame.
pub(super) struct Connection(pub(super) TcpStream);

impl Connection {
    pub(super) async fn open(mut stream: TcpStream, settings: &[u8]) -> Self {
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, settings)).await.unwrap();
        Self(stream)
    }

    /// A client that says that it takes nothing of any answer.
    pub(super) async fn without_windows(stream: TcpStream) -> Self {
        Self::open(stream, &[0, 4, 0, 0, 0, 0]).await
    }

    pub(super) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.0.write_all(&frame(kind, flags, stream, payload)).await.unwrap();
    }

    /// The kind, stream and payload of the next frame; nothing after the end.
    pub(super) async fn next(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        let read = async {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.0.read_exact(&mut payload).await.ok()?;
            // A ping is answered, as clients do of whom nothing else is heard.
            if (head[3], head[4]) == (PING, 0) {
                let _ = self.0.write_all(&frame(PING, ACK, 0, &payload)).await;
            }
            Some((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
        };
        tokio::time::timeout(harness::PATIENCE, read).await.expect("the server says something")
    }

    /// Waits for a frame of that kind, and gives its stream and payload; nothing when the connection ends before.
    pub(super) async fn until(&mut self, wanted: u8) -> Option<(u32, Vec<u8>)> {
        while let Some((kind, stream, payload)) = self.next().await {
            if kind == wanted {
                return Some((stream, payload));
            }
        }
        None
    }

    /// Waits for the frame by which the server ends the connection, and gives its reason.
    pub(super) async fn sent_away(&mut self) -> Option<u32> {
        let (_, payload) = self.until(GO_AWAY).await?;
        Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()))
    }
}
