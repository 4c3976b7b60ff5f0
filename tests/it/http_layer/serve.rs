//! The server, over sockets: clients that are slow or hostile, and the order in which it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use axum::extract::ConnectInfo;
use axum::http::HeaderMap;
use harness::Backend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::frames::{Connection, END_HEADERS, END_STREAM, HEADERS, get as get_head};
use super::*;

/// A server on a port of its own, which ends when it is told to.
pub(super) struct Served {
    address: SocketAddr,
    stop: Arc<Notify>,
    task: JoinSet<()>,
    /// How many requests have come as far as the router.
    entered: Arc<AtomicUsize>,
    dbos: Dbos,
    fresh: Fresh,
}

const HOUR: Duration = Duration::from_secs(3600);

impl Served {
    pub(super) async fn start(configure: impl FnOnce(dbos_axum::Serve) -> dbos_axum::Serve) -> Self {
        let fresh = harness::fresh(Backend::Sqlite).await;
        let dbos = launch(fresh.url()).await;
        let hang = async || std::future::pending::<()>().await;
        let peer = async |ConnectInfo(peer): ConnectInfo<SocketAddr>, headers: HeaderMap| {
            format!("{} {}", peer.ip(), headers.len())
        };
        let router = app(DbosLayer::new(dbos.clone())).route("/hang", get(hang)).route("/peer", get(peer));
        let entered = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&entered);
        let router = router.layer(axum::middleware::map_request(move |request: axum::extract::Request| {
            counted.fetch_add(1, Ordering::SeqCst);
            std::future::ready(request)
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), Arc::new(Notify::new()));
        let until = Arc::clone(&stop);
        let serve =
            dbos_axum::serve(listener, router, dbos.clone()).until(async move { until.notified().await });
        let serve = configure(serve);
        let mut task = JoinSet::new();
        task.spawn(async move { serve.await.unwrap() });
        Self { address, stop, task, entered, dbos, fresh }
    }

    /// Tells the server to stop, waits until it has, and says how long that took.
    pub(super) async fn end(mut self) -> Duration {
        let begun = Instant::now();
        self.stop.notify_one();
        let ended = tokio::time::timeout(harness::PATIENCE, self.task.join_next()).await;
        ended.expect("the server ends").unwrap().unwrap();
        begun.elapsed()
    }

    async fn until_entered(&self, requests: usize) {
        let entered = async || self.entered.load(Ordering::SeqCst) == requests;
        harness::until("the requests have come", entered).await;
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes, and reads until the server closes the connection.
    pub(super) async fn exchange(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_ref()).await.unwrap();
        rest(&mut stream).await
    }
}

/// Everything until the connection is closed, or reset.
pub(super) async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(harness::PATIENCE, stream.read_to_end(&mut bytes)).await;
    // A reset is an end too; that there is none is not.
    let _ = read.unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) fn get_request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
}

fn park_request(wait: u32) -> String {
    let head = "POST /park HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: application/json";
    format!("{head}\r\nprefer: wait={wait}\r\ncontent-length: 1\r\n\r\n7")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_sees_its_client() {
    let served = Served::start(|serve| serve.drain(HOUR)).await;
    let answer = served.exchange(get_request("/peer")).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("127.0.0.1 2"), "{answer}");
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_finish_its_head_is_cut() {
    let served = Served::start(|serve| serve.header_timeout(Duration::from_millis(300))).await;
    // The last one might become HTTP/2, until it stops.
    for bytes in ["", "GET /peer HTTP/1.1\r\nhost:", "PRI * HTTP/2.0\r\n\r\nSM"] {
        let begun = Instant::now();
        let answer = served.exchange(bytes).await;
        assert!(!answer.contains("200"), "{answer}");
        let took = begun.elapsed();
        // Ten seconds are what it has unless said.
        assert!(took >= Duration::from_millis(250) && took < Duration::from_secs(9), "{bytes:?}: {took:?}");
    }
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s14_slow_clients_do_not_keep_others_out() {
    let served = Served::start(|serve| serve.header_timeout(HOUR).drain(HOUR)).await;
    let mut dribbling = Vec::new();
    for _ in 0..200 {
        let mut stream = served.connect().await;
        stream.write_all(b"GET /peer HTTP/1.1\r\nx:").await.unwrap();
        dribbling.push(stream);
    }
    assert!(served.exchange(get_request("/peer")).await.starts_with("HTTP/1.1 200"));
    // Half a head is no request, so it does not hold the end up.
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_stays_idle_is_closed() {
    let served = Served::start(|serve| serve.idle_timeout(Duration::from_millis(300))).await;
    let mut stream = served.connect().await;
    stream.write_all(b"GET /peer HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200"));
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_stops_coming_is_given_up() {
    let served = Served::start(|serve| serve.body_timeout(Duration::from_millis(300))).await;
    let head = "POST /park HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: application/json";
    let answer = served.exchange(format!("{head}\r\ncontent-length: 10\r\n\r\n7")).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("application/problem+json"), "{answer}");
    served.end().await;
}

// S14
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_drips_is_given_up_in_time() {
    let served = Served::start(|serve| serve.body_deadline(Duration::from_millis(600))).await;
    let (mut reading, mut writing) = served.connect().await.into_split();
    let head = "POST /park HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: application/json";
    writing.write_all(format!("{head}\r\ncontent-length: 10000\r\n\r\n").as_bytes()).await.unwrap();
    let begun = Instant::now();
    let drip = async {
        while writing.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let mut answer = vec![0; 12];
    tokio::select! {
        read = reading.read_exact(&mut answer) => { read.unwrap(); }
        () = drip => panic!("there is an answer before the connection is closed"),
        () = tokio::time::sleep(Duration::from_secs(10)) => panic!("whoever drips is waited for"),
    }
    assert_eq!(answer, b"HTTP/1.1 400");
    assert!(begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http_2_connection_that_stays_idle_is_closed() {
    let served = Served::start(|serve| serve.idle_timeout(Duration::from_millis(400))).await;
    let mut connection = Connection::open(served.connect().await, &[]).await;
    connection.send(HEADERS, END_STREAM | END_HEADERS, 1, &get_head("/peer", &[])).await;
    assert_eq!(connection.until(HEADERS).await.unwrap().1[0], 0x88);
    let begun = Instant::now();
    // It answers the pings, and is sent away all the same.
    assert_eq!(connection.sent_away().await, Some(0));
    while connection.next().await.is_some() {}
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(5), "{took:?}");
    served.end().await;
}

// B06, B07, B12, B18
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_are_no_http_are_refused() {
    let served = Served::start(|serve| serve).await;
    let line = |header: &str| {
        format!("POST /demand HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{header}\r\n\r\n")
    };
    let many = "x: y\r\n".repeat(1000);
    let cases = [
        (line("idempotency-key: a\0b"), "400"),
        (line("idempotency-key: a\rb"), "400"),
        (line("idempotency-key: a\n b"), "400"),
        (line("content-length: -1"), "400"),
        (line("content-length: 1\r\ncontent-length: 2"), "400"),
        (line(&format!("idempotency-key: {}", "k".repeat(64 * 1024))), "431"),
        (line(many.trim_end()), "431"),
        ("not http at all\r\n\r\n".to_owned(), "400"),
    ];
    for (request, status) in cases {
        let answer = served.exchange(&request).await;
        let shown: String = request.chars().take(120).collect();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{shown:?}: {answer}");
    }
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_2_is_spoken_too() {
    let served = Served::start(|serve| serve.drain(HOUR)).await;
    let mut stream = served.connect().await;
    // The preface and an empty frame of settings; the answer begins with the server's settings.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).await.unwrap();
    assert_eq!((frame[3], &frame[5..]), (4, &[0; 4][..]));
    drop(stream);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_connections_are_served_than_allowed() {
    let served = Served::start(|serve| serve.max_connections(1).idle_timeout(HOUR)).await;
    let mut first = served.connect().await;
    first.write_all(b"GET /peer HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    let mut byte = [0; 1];
    first.read_exact(&mut byte).await.unwrap();
    let mut second = served.connect().await;
    second.write_all(get_request("/peer").as_bytes()).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(300), second.read_exact(&mut byte)).await;
    assert!(early.is_err(), "the second connection waits for the first");
    drop(first);
    assert!(rest(&mut second).await.contains("200 OK"));
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_is_answered_with_202_when_the_server_stops() {
    let served = Served::start(|serve| serve.drain(HOUR)).await;
    let mut waiting = JoinSet::new();
    for _ in 0..20 {
        let mut stream = served.connect().await;
        waiting.spawn(async move {
            stream.write_all(park_request(25).as_bytes()).await.unwrap();
            rest(&mut stream).await
        });
    }
    let pending = "SELECT count(*) FROM workflow_status WHERE status = 'PENDING'";
    harness::until("started", async || served.fresh.scalar(pending).await == 20).await;
    let Served { stop, mut task, dbos, fresh, .. } = served;
    stop.notify_one();
    // At once: the drain would be an hour, and the wait has been asked for more than `rest` reads.
    for answer in waiting.join_all().await {
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
        assert!(!answer.contains("preference-applied"), "{answer}");
    }
    assert!(dbos.shutdown_token().is_cancelled());
    // The rest of the drain is the workflows'.
    assert!(task.try_join_next().is_none());
    assert_eq!(fresh.scalar(pending).await, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_does_not_end_is_dropped_with_the_drain() {
    let served = Served::start(|serve| serve.drain(Duration::from_millis(500))).await;
    let mut hanging = served.connect().await;
    hanging.write_all(get_request("/hang").as_bytes()).await.unwrap();
    served.until_entered(1).await;
    let address = served.address;
    let took = served.end().await;
    assert!(took >= Duration::from_millis(450), "{took:?}");
    assert_eq!(rest(&mut hanging).await, "");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_in_flight_may_still_start_its_workflow() {
    let served = Served::start(|serve| serve.drain(HOUR)).await;
    let mut stream = served.connect().await;
    let request = park_request(0);
    let (head, body) = request.split_at(request.len() - 1);
    stream.write_all(head.as_bytes()).await.unwrap();
    served.until_entered(1).await;
    let mut finishing = JoinSet::new();
    let (body, stop, address) = (body.to_owned(), Arc::clone(&served.stop), served.address);
    finishing.spawn(async move {
        stop.notify_one();
        // Until it listens no more.
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stream.write_all(body.as_bytes()).await.unwrap();
        rest(&mut stream).await
    });
    let answer = finishing.join_next().await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert_eq!(served.fresh.scalar("SELECT count(*) FROM workflow_status WHERE status = 'PENDING'").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_ends_with_the_runtime() {
    let mut served = Served::start(|serve| serve).await;
    served.dbos.shutdown(Duration::ZERO).await;
    let ended = tokio::time::timeout(harness::PATIENCE, served.task.join_next()).await;
    ended.unwrap().unwrap().unwrap();
}
