//! A shop that is told to stop while many follow it, and the one after it.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use harness::on_each_backend;
use harness::shop::Shop;
use harness::web::request_with;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const VISITORS: usize = 10;
/// As many streams has each of them, one less than it may have.
const STREAMS: usize = 5;
/// As many requests of each wait for the end of its dispatch.
const WAITS: usize = 2;

/// Somebody who has paid for a widget.
struct Visitor {
    authorization: String,
    payment: String,
}

impl Visitor {
    async fn buy(shop: SocketAddr, number: usize) -> Self {
        let authorization = format!("Bearer the-secret-of-visitor-{number:02}-of-the-shop-that-stops");
        let buy = async |method: &str, path: &str| {
            let headers = [("authorization", authorization.as_str()), ("prefer", "wait=20")];
            let answer = request_with(shop, method, path, &headers).await.unwrap();
            assert!(matches!(answer.status, 200 | 202), "{path}: {answer:?}");
            answer.body
        };
        let payment = buy("POST", "/checkout/one").await;
        buy("POST", &format!("/provider/payments/{payment}/paid")).await;
        // With its number, the order is on its way.
        buy("GET", &format!("/dbos/workflows/{payment}/events/order_id")).await;
        Self { authorization, payment }
    }

    /// Asks about the dispatch, and leaves the answer to be read.
    async fn ask(&self, shop: SocketAddr, path: &str, header: &str) -> TcpStream {
        let (authorization, payment) = (&self.authorization, &self.payment);
        let mut socket = TcpStream::connect(shop).await.unwrap();
        let request = format!(
            "GET /dbos/workflows/{payment}::dispatch{path} HTTP/1.1\r\nhost: {shop}\r\nconnection: close\r\n\
             authorization: {authorization}\r\n{header}\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        socket
    }
}

/// Everything until the server closes the connection.
async fn rest(mut socket: TcpStream) -> String {
    let mut text = String::new();
    let read = tokio::time::timeout(Duration::from_secs(20), socket.read_to_string(&mut text)).await;
    read.expect("the answer ends").unwrap();
    text
}

/// The ids of the events in an answer.
fn ids(answer: &str) -> Vec<String> {
    answer.lines().filter_map(|line| line.strip_prefix("id: ")).map(str::to_owned).collect()
}

on_each_backend! {
    async fn who_follows_a_shop_that_is_told_to_stop_goes_on_at_the_next_one(fresh: Fresh) {
        let mut first = Shop::open(&fresh, &[("WIDGET_TICK_MS", "500")]).await.unwrap();
        let visitors = join_all((0..VISITORS).map(|number| Visitor::buy(first.address, number))).await;
        let (mut streams, mut waits) = (Vec::new(), Vec::new());
        for visitor in &visitors {
            for _ in 0..STREAMS {
                let mut socket = visitor.ask(first.address, "/streams/progress", "accept: text/event-stream").await;
                // Each has seen something of its dispatch.
                let mut seen = Vec::new();
                while !String::from_utf8_lossy(&seen).contains("id: 0\n") {
                    assert!(socket.read_buf(&mut seen).await.unwrap() > 0, "{}", String::from_utf8_lossy(&seen));
                }
                streams.push((visitor, String::from_utf8(seen).unwrap(), socket));
            }
            for _ in 0..WAITS {
                waits.push((visitor, visitor.ask(first.address, "/result", "prefer: wait=25").await));
            }
        }

        let status = first.process.terminate(Duration::from_secs(10)).await;
        assert!(status.success(), "{status:?}\n{}", first.process.output());
        let second = Shop::open(&fresh, &[("WIDGET_TICK_MS", "20")]).await.unwrap();

        let streams = join_all(streams.into_iter().map(async |(visitor, seen, socket)| {
            let before = seen + &rest(socket).await;
            assert!(before.ends_with("\r\n0\r\n\r\n") && !before.contains("event: "), "whole, and without an end: {before:?}");
            let mut ids = ids(&before);
            let last = format!("accept: text/event-stream\r\nlast-event-id: {}", ids.last().unwrap());
            let after = rest(visitor.ask(second.address, "/streams/progress", &last).await).await;
            assert!(after.starts_with("HTTP/1.1 200") && after.contains("event: end\n"), "{after}");
            ids.extend(self::ids(&after));
            ids
        }))
        .await;
        assert_eq!(streams.len(), VISITORS * STREAMS);
        let expected: Vec<String> = (0..10).map(|id| id.to_string()).chain(["9.end".to_owned()]).collect();
        assert!(streams.iter().all(|ids| *ids == expected), "each value once, and the end: {streams:?}");

        let waits = join_all(waits.into_iter().map(async |(visitor, socket)| {
            let before = rest(socket).await;
            assert!(before.starts_with("HTTP/1.1 202"), "{before}");
            let after = rest(visitor.ask(second.address, "/result", "prefer: wait=25").await).await;
            assert!(after.starts_with("HTTP/1.1 200"), "{after}");
        }))
        .await;
        assert_eq!(waits.len(), VISITORS * WAITS);
        assert_eq!(fresh.scalar("SELECT count(*) FROM orders WHERE progress_remaining = 0").await, 10);
    }
}
