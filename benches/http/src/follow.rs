//! Readers of one stream over server-sent events: how long a value takes to all of them, and what each of them costs.

use std::io::Write;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::get;
use bench_common::{Args, BoxError, KEY, PATIENCE, Report, Workload, mark, rss_kib_of};
use dbos_axum::{AllowAnyone, DbosCtx, DbosLayer, Problem, Sent, StreamLimits, WorkflowApi};
use dbos_runtime::{Ctx as RtCtx, Dbos, Error, WorkflowId, workflow};
use http::Request;
use http::header::{ACCEPT, HOST};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::server::Server;

type Ctx = RtCtx<(), Error>;

const WRITER: &str = "writer";
/// From one value to the next.
const EVERY: Duration = Duration::from_millis(10);
/// Values that are read before the clock counts.
const WARM_UP: usize = 50;
/// Connections that are opened at a time.
const TOGETHER: usize = 250;

/// Waits until it is told how many values to write.
#[workflow]
async fn writes(ctx: Ctx, _: ()) -> Result<(), Error> {
    let count: Option<usize> = ctx.recv("go").timeout(PATIENCE * 10).await?;
    let mut clock = interval(EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..count.unwrap_or_default() {
        clock.tick().await;
        ctx.write_stream(KEY, &mark::now()).await?;
    }
    Ok(())
}

async fn go(ctx: DbosCtx, axum::extract::Path(count): axum::extract::Path<usize>) -> Result<Sent, Problem> {
    ctx.send(&WorkflowId::parse(WRITER)?, "go", &count).await
}

/// Serves until it is killed; says where on the first line.
pub async fn serve(args: &Args) -> Result<(), BoxError> {
    let dbos = Dbos::builder("bench").database_url(&args.url).register(writes).launch().await?;
    dbos.start(writes, ()).id(WorkflowId::parse(WRITER)?).await?;
    let limits = StreamLimits::default().in_all(100_000).anonymous(100_000);
    let layer = DbosLayer::new(dbos.clone()).streams(limits);
    let app = Router::new().route("/go/{count}", get(go)).layer(layer.clone());
    let app = app.nest("/dbos", WorkflowApi::<AllowAnyone>::new(layer).into_router());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    dbos_axum::serve(listener, app, dbos).max_connections(100_000).await?;
    Ok(())
}

/// `--concurrency` readers of a stream of `--count` values; with the workload of idle readers, of none.
pub async fn measure(args: &Args) -> Result<Report, BoxError> {
    let server = Server::start(args, "ours").await?;
    // One of them first: what is made once is made by then.
    let first = Reader::open(&server.addr).await?;
    let before = rss_kib_of(server.pid()?)?;
    let mut readers = vec![first];
    while readers.len() < args.concurrency {
        let mut opening = JoinSet::new();
        for _ in 0..TOGETHER.min(args.concurrency - readers.len()) {
            let addr = server.addr.clone();
            opening.spawn(async move { Reader::open(&addr).await });
        }
        while let Some(opened) = opening.join_next().await {
            readers.push(opened??);
        }
    }
    if args.workload == Workload::SseIdle {
        return idle(args, &server, readers, before).await;
    }
    let begun = Instant::now();
    let mut reading = JoinSet::new();
    let count = args.count + WARM_UP;
    for reader in readers {
        reading.spawn(read(reader, count));
    }
    request(&server.addr, &format!("/go/{count}")).await?;
    let mut latencies = Vec::with_capacity(args.count * args.concurrency);
    while let Some(read) = reading.join_next().await {
        latencies.extend(read??);
    }
    let after = rss_kib_of(server.pid()?)?;
    let mut report = Report::new(args, begun.elapsed(), latencies.len(), &mut latencies);
    (report.rss_kib_before, report.rss_kib_after) = (before, after);
    let at =
        |part: f64| latencies.get((latencies.len() as f64 * part) as usize).map_or(0, |found| *found as i64);
    report.more.push(("latency_us_p99", at(0.99)));
    report.more.push(("readers", i64::try_from(args.concurrency)?));
    report.more.push(("bytes_per_reader", (after as i64 - before as i64) * 1024 / args.concurrency as i64));
    Ok(report)
}

/// All of them wait for a while; then the last one is told a value with all the others.
async fn idle(args: &Args, server: &Server, readers: Vec<Reader>, before: u64) -> Result<Report, BoxError> {
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_secs(args.count as u64)).await;
    let after = rss_kib_of(server.pid()?)?;
    request(&server.addr, "/go/1").await?;
    let mut reading = JoinSet::new();
    let count = readers.len();
    for mut reader in readers {
        reading.spawn(async move { reader.until(b"\nevent: end\n").await });
    }
    while let Some(read) = reading.join_next().await {
        read??;
    }
    let mut report = Report::new(args, begun.elapsed(), count, &mut []);
    (report.rss_kib_before, report.rss_kib_after) = (before, after);
    report.more.push(("readers", i64::try_from(count)?));
    report.more.push(("bytes_per_reader", (after as i64 - before as i64) * 1024 / count as i64));
    Ok(report)
}

/// A reader to whom the server has answered.
struct Reader {
    body: Incoming,
    /// What has come and was not taken yet.
    bytes: Vec<u8>,
}

impl Reader {
    async fn open(addr: &str) -> Result<Self, BoxError> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::get(format!("/dbos/workflows/{WRITER}/streams/{KEY}"))
            .header(HOST, "bench")
            .header(ACCEPT, "text/event-stream")
            .body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        if response.status() != 200 {
            return Err(response.status().to_string().into());
        }
        let mut reader = Self { body: response.into_body(), bytes: Vec::new() };
        reader.until(b": ok\n\n").await?;
        Ok(reader)
    }

    /// Reads on until these bytes have come, and throws away what came by then.
    async fn until(&mut self, what: &[u8]) -> Result<(), BoxError> {
        loop {
            if let Some(at) = self.bytes.windows(what.len()).position(|part| part == what) {
                self.bytes.drain(..at + what.len());
                return Ok(());
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), BoxError> {
        let frame = timeout(PATIENCE, self.body.frame()).await?.ok_or("the answer has ended")??;
        self.bytes.extend_from_slice(frame.data_ref().ok_or("no data")?);
        Ok(())
    }
}

/// How long each value took, in microseconds, without those of the warm-up.
async fn read(mut reader: Reader, count: usize) -> Result<Vec<f64>, BoxError> {
    let (mut latencies, mut seen) = (Vec::with_capacity(count), 0);
    while seen < count {
        reader.more().await?;
        let now = mark::now();
        let mut done = 0;
        while let Some(end) = reader.bytes[done..].windows(2).position(|two| two == b"\n\n") {
            let event = str::from_utf8(&reader.bytes[done..done + end])?;
            done += end + 2;
            let Some((head, data)) = event.rsplit_once("\ndata: ") else { continue };
            let offset = head.rsplit_once("id: ").ok_or("no id")?.1;
            if offset.parse::<usize>()? != seen {
                return Err(format!("{offset} comes in place of {seen}").into());
            }
            seen += 1;
            if seen > WARM_UP {
                latencies.push((now - data.parse::<i64>()?) as f64);
            }
        }
        reader.bytes.drain(..done);
    }
    Ok(latencies)
}

async fn request(addr: &str, path: &str) -> Result<(), BoxError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(TcpStream::connect(addr).await?)).await?;
    tokio::spawn(connection);
    let request = Request::get(path).header(HOST, "bench").body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    if response.status() == 202 { Ok(()) } else { Err(response.status().to_string().into()) }
}
