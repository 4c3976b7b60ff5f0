//! Many readers, and readers that do not read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::super::frames::{Connection, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, get};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::*;

/// An API on a port of its own.
struct Served {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinSet<()>,
    /// How many requests have come as far as the router.
    entered: Arc<AtomicUsize>,
}

const HOUR: Duration = Duration::from_secs(3600);

impl Served {
    async fn start(
        layer: DbosLayer,
        dbos: &Dbos,
        configure: impl FnOnce(dbos_axum::Serve) -> dbos_axum::Serve,
    ) -> Self {
        let app = app(layer.clone()).nest("/dbos", WorkflowApi::<Caller>::new(layer).into_router());
        let entered = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&entered);
        let app = app.layer(axum::middleware::map_request(move |request: axum::extract::Request| {
            counted.fetch_add(1, Ordering::SeqCst);
            std::future::ready(request)
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, (stop, stopped)) = (listener.local_addr().unwrap(), oneshot::channel());
        let serve =
            dbos_axum::serve(listener, app, dbos.clone()).until(async move { stopped.await.unwrap_or(()) });
        let serve = configure(serve);
        let mut task = JoinSet::new();
        task.spawn(async move { serve.await.unwrap() });
        Self { address, stop, task, entered }
    }

    async fn end(mut self) -> Duration {
        let begun = Instant::now();
        self.stop.send(()).unwrap();
        self.task.join_next().await.unwrap().unwrap();
        begun.elapsed()
    }
}

const READ: &str = "GET /dbos/workflows/desk-1/streams/progress HTTP/1.1\r\nhost: t\r\nx-user: ada\r\n\
    accept: text/event-stream\r\n\r\n";

fn stream_request() -> Vec<u8> {
    get("/dbos/workflows/desk-1/streams/progress", &[("x-user", "ada"), ("accept", "text/event-stream")])
}

/// Reads until that comes.
async fn until_seen(stream: &mut TcpStream, what: &str) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    let reading = async {
        while !String::from_utf8_lossy(&text).contains(what) {
            let read = stream.read(&mut buffer).await.unwrap();
            assert!(read > 0, "no {what:?} in {:?}", String::from_utf8_lossy(&text));
            text.extend_from_slice(&buffer[..read]);
        }
    };
    tokio::time::timeout(harness::PATIENCE, reading).await.unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

/// The resident memory of this process in KiB.
fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

harness::on_each_backend! {
    async fn idle_streams_hold_no_connection_to_the_database(fresh: Fresh) {
        let dbos = scribes(fresh.url(), "here", 2).await;
        let limits = StreamLimits::default().per_caller(1000);
        let api = WorkflowApi::<Caller>::new(DbosLayer::new(dbos.clone()).streams(limits));
        let client = Client::new(Router::new().nest("/dbos", api.into_router()));
        let desk = Desk { dbos: dbos.clone(), client, id: Id::parse("desk-1").unwrap() };
        for number in 1..=5 {
            let id = Id::parse(format!("desk-{number}")).unwrap();
            dbos.start(scribe, ()).id(id).authenticated_user("ada").await.unwrap();
        }
        let mut idle = JoinSet::new();
        for number in 0..500 {
            let path = format!("/dbos/workflows/desk-{}/streams/progress", number % 5 + 1);
            let response = desk.client.get(path).header("x-user", "ada").open().await;
            idle.spawn(async move { Events::of(response).take(1).await });
        }
        // All of them wait, and everything else goes on.
        for _ in 0..20 {
            let status = desk.client.get("/dbos/workflows/desk-3").header("x-user", "ada").send();
            let status = tokio::time::timeout(harness::PATIENCE, status).await.expect("a connection is free");
            assert_eq!(status.json()["status"], "PENDING");
        }
        assert!(idle.try_join_next().is_none());
        for number in 1..=5 {
            let id = Id::parse(format!("desk-{number}")).unwrap();
            dbos.send(&id, &Order::Write(vec![json!(number)])).topic("do").await.unwrap();
        }
        let mut woken = 0;
        while let Some(events) = idle.join_next().await {
            assert_eq!(events.unwrap()[0].id.as_deref(), Some("0"));
            woken += 1;
        }
        assert_eq!(woken, 500);
        end(&dbos).await;
    }

    async fn s15_a_reader_that_never_reads_makes_nothing_grow_and_is_dropped(fresh: Fresh) {
        let desk = Desk::open(&fresh).await;
        let layer = DbosLayer::new(desk.dbos.clone()).streams(StreamLimits::default().per_caller(6));
        let served = Served::start(layer, &desk.dbos, |serve| {
            serve.write_timeout(Duration::from_secs(5)).drain(Duration::ZERO)
        });
        let served = served.await;
        let open = async || {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            let mut stream = socket.connect(served.address).await.unwrap();
            stream.write_all(READ.as_bytes()).await.unwrap();
            let begun = until_seen(&mut stream, "\n: ").await;
            (stream, begun.contains("retry: 2000"))
        };
        let mut stuck = Vec::new();
        for _ in 0..6 {
            let (stream, admitted) = open().await;
            assert!(admitted);
            stuck.push(stream);
        }
        assert!(!open().await.1, "one more is told to come back");
        let before = resident();
        // 16 MiB for each of them.
        desk.tell(&Order::Fill(100, 160 * 1024)).await;
        desk.write([json!("last")]).await;
        let written = async || desk.dbos.stream_length(&desk.id, "progress").await.unwrap() == 101;
        harness::until("all is written", written).await;
        let grown = resident() - before;
        assert!(grown < 60 * 1024, "{grown} KiB for 6 readers that do not read");
        // Who reads is served meanwhile.
        let mut reader = desk.follow("?after=99").await;
        assert_eq!(reader.take(1).await, [value(100, json!("last"))]);
        // Their places are free again once they have taken nothing for a while.
        harness::until("the stuck readers are gone", async || open().await.1).await;
        drop(stuck);
        served.end().await;
    }

    // S15, S28: over HTTP/2 a client can take nothing of an answer, and go on answering pings.
    async fn s15_a_stream_without_a_window_is_dropped_too(fresh: Fresh) {
        let desk = Desk::open(&fresh).await;
        let layer = DbosLayer::new(desk.dbos.clone()).streams(StreamLimits::default().per_caller(6));
        let served = Served::start(layer, &desk.dbos, |serve| {
            serve.write_timeout(Duration::from_secs(1)).drain(Duration::ZERO)
        });
        let served = served.await;
        let mut connection = Connection::without_windows(TcpStream::connect(served.address).await.unwrap()).await;
        let opened = Instant::now();
        for n in 0..6 {
            connection.send(HEADERS, END_STREAM | END_HEADERS, 2 * n + 1, &stream_request()).await;
            let (stream, head) = connection.until(HEADERS).await.unwrap();
            assert_eq!((stream, head[0]), (2 * n + 1, 0x88), "200");
        }
        let admitted = async || {
            let mut stream = TcpStream::connect(served.address).await.unwrap();
            stream.write_all(READ.as_bytes()).await.unwrap();
            until_seen(&mut stream, "\n: ").await.contains("retry: 2000")
        };
        assert!(!admitted().await, "one more is told to come back");
        for _ in 0..6 {
            let (_, reason) = connection.until(RST_STREAM).await.unwrap();
            assert_eq!(reason, 8_u32.to_be_bytes(), "cancelled");
        }
        assert!(opened.elapsed() >= Duration::from_millis(900), "{:?}", opened.elapsed());
        assert!(admitted().await, "their places are free");
        // Whatever else is read on the connection is not given up.
        connection.send(PING, 0, 0, b"12345678").await;
        assert_eq!(connection.until(PING).await.unwrap().1, b"12345678");
        served.end().await;
    }

    async fn a_stream_that_nobody_takes_does_not_hold_up_the_end(fresh: Fresh) {
        let desk = Desk::open(&fresh).await;
        // The client's limit is half a minute, until the server stops.
        let served = Served::start(DbosLayer::new(desk.dbos.clone()), &desk.dbos, |serve| serve.drain(Duration::from_secs(8)));
        let served = served.await;
        let mut connections = Vec::new();
        for window in [0, 1] {
            let stream = TcpStream::connect(served.address).await.unwrap();
            let mut connection = Connection::open(stream, &[0, 4, 0, 0, 0, window]).await;
            connection.send(HEADERS, END_STREAM | END_HEADERS, 1, &stream_request()).await;
            assert_eq!(connection.until(HEADERS).await.unwrap().1[0], 0x88);
            connections.push(connection);
        }
        let begun = Instant::now();
        let mut stopping = JoinSet::new();
        stopping.spawn(served.end());
        for mut connection in connections {
            while connection.next().await.is_some() {}
            let took = begun.elapsed();
            assert!(took < Duration::from_secs(6), "{took:?}: the rest of the drain is the workflow's");
        }
        stopping.join_next().await.unwrap().unwrap();
    }

    async fn a_server_that_stops_ends_its_streams_and_waits_in_time(fresh: Fresh) {
        let desk = Desk::open(&fresh).await;
        let layer = DbosLayer::new(desk.dbos.clone()).streams(StreamLimits::default().per_caller(60));
        let served = Served::start(layer, &desk.dbos, |serve| serve.drain(HOUR)).await;
        desk.write([json!(0)]).await;
        let mut streams = Vec::new();
        for _ in 0..50 {
            let mut stream = TcpStream::connect(served.address).await.unwrap();
            stream.write_all(READ.as_bytes()).await.unwrap();
            until_seen(&mut stream, "id: 0\n").await;
            streams.push(stream);
        }
        let mut polls = Vec::new();
        for _ in 0..20 {
            let mut stream = TcpStream::connect(served.address).await.unwrap();
            let poll = READ.replace("progress HTTP", "progress?after=0 HTTP");
            let poll = poll.replace("text/event-stream", "application/json\r\nprefer: wait=25");
            stream.write_all(poll.as_bytes()).await.unwrap();
            polls.push(stream);
        }
        harness::until("all have come", async || served.entered.load(Ordering::SeqCst) == 70).await;
        let begun = Instant::now();
        let mut stopping = JoinSet::new();
        stopping.spawn(served.end());
        for mut stream in streams {
            let mut rest = String::new();
            tokio::time::timeout(harness::PATIENCE, stream.read_to_string(&mut rest)).await.unwrap().unwrap();
            assert!(!rest.contains("event:"), "{rest}");
            assert!(rest.ends_with("0\r\n\r\n"), "the answer is whole: {rest:?}");
        }
        for mut stream in polls {
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.contains(r#"{"values":[],"next":1,"closed":false}"#), "{answer}");
        }
        // Before the polls' own time was up, and the rest of the drain is the workflow's, which waits for orders.
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        assert!(stopping.try_join_next().is_none());
    }
}
