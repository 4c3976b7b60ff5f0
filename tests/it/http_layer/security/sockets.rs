//! Clients that speak the protocol, and mean no good.

use tokio::io::AsyncWriteExt;

use super::super::frames::{
    CONTINUATION, Connection, DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, SETTINGS, frame, get,
};
use super::super::serve::{Served, get_request, rest};
use super::*;

async fn others_are_served(served: &Served) {
    assert!(served.exchange(get_request("/peer")).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s28_a_connection_has_so_many_streams_and_no_more() {
    let served = Served::start(|serve| serve.drain(Duration::from_millis(100))).await;
    let mut connection = Connection::open(served.connect().await, &[]).await;
    let (kind, _, settings) = connection.next().await.unwrap();
    assert_eq!(kind, SETTINGS);
    let most = settings.chunks(6).find(|setting| setting[..2] == [0, 3]).expect("a limit is announced");
    let most = u32::from_be_bytes(most[2..].try_into().unwrap());
    assert!((1..=256).contains(&most), "{most}");
    let streams = (0..most + 20).map(|n| 2 * n + 1);
    let requests: Vec<u8> =
        streams.flat_map(|id| frame(HEADERS, END_STREAM | END_HEADERS, id, &get("/hang", &[]))).collect();
    connection.0.write_all(&requests).await.unwrap();
    let mut refused = 0;
    while refused < 20 {
        let (kind, stream, payload) = connection.next().await.expect("the others stay open");
        if kind == RST_STREAM {
            assert!(stream > 2 * most - 1, "{stream}");
            assert_eq!(payload, 7_u32.to_be_bytes(), "refused, so that it can be sent again");
            refused += 1;
        }
        assert_ne!(kind, DATA);
    }
    others_are_served(&served).await;
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s28_a_client_that_opens_and_resets_streams_is_sent_away() {
    let served = Served::start(|serve| serve).await;
    let mut connection = Connection::open(served.connect().await, &[]).await;
    let flood: Vec<u8> = (0..5000)
        .map(|n| 2 * n + 1)
        .flat_map(|id| {
            let request = frame(HEADERS, END_STREAM | END_HEADERS, id, &get("/hang", &[]));
            [request, frame(RST_STREAM, 0, id, &8_u32.to_be_bytes())].concat()
        })
        .collect();
    // The server may have closed before it has read everything.
    let _ = connection.0.write_all(&flood).await;
    let reason = connection.sent_away().await;
    assert!(matches!(reason, Some(11) | None), "enhance your calm, or the line is cut: {reason:?}");
    others_are_served(&served).await;
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s28_a_head_without_an_end_is_cut() {
    let served = Served::start(|serve| serve).await;
    let mut connection = Connection::open(served.connect().await, &[]).await;
    connection.0.write_all(&frame(HEADERS, END_STREAM, 1, &get("/peer", &[]))).await.unwrap();
    // A field that is never indexed: 16 KiB of it in each frame.
    let mut field = vec![0x10, 1, b'x', 0x7f, 0xf4, 0x7d];
    field.resize(16_000, b'y');
    let mut sent = 0;
    while connection.0.write_all(&frame(CONTINUATION, 0, 1, &field)).await.is_ok() {
        sent += field.len();
        assert!(sent < 64 * 1024 * 1024, "the server takes whatever comes");
    }
    others_are_served(&served).await;
    served.end().await;
}

// B12, B32
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s13_a_body_without_an_end_is_cut_at_the_limit() {
    let served = Served::start(|serve| serve).await;
    let mut stream = served.connect().await;
    let head = "POST /park HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
    let mut sent = 0;
    while stream.write_all(chunk.as_bytes()).await.is_ok() {
        sent += chunk.len();
        assert!(sent < 100 * 1024 * 1024, "the server takes whatever comes");
    }
    others_are_served(&served).await;

    // Who says both lengths is read by nobody in two ways.
    for lengths in [
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
        "transfer-encoding: identity, chunked, x",
        "transfer-encoding: x",
    ] {
        let smuggled = "0\r\n\r\nGET /peer HTTP/1.1\r\nhost: evil\r\n\r\n";
        let head = "POST /park HTTP/1.1\r\nhost: test\r\ncontent-type: application/json";
        let mut stream = served.connect().await;
        stream.write_all(format!("{head}\r\n{lengths}\r\n\r\n{smuggled}").as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(!answer.contains("200 OK") || answer.starts_with("HTTP/1.1 400"), "{lengths}: {answer}");
    }
    served.end().await;
}
