//! Readers of one stream over server-sent events: how long a value takes to all of them, and what each of them costs.

use std::io::Write;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use bench_common::{Args, BoxError, KEY, PATIENCE, Report, Workload, mark, rss_kib_of};
use dbos_axum::{AllowAnyone, DbosCtx, DbosLayer, Problem, Sent, StreamLimits, WorkflowApi};
use dbos_runtime::{Ctx as RtCtx, Dbos, Error, WorkflowId, workflow};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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
    let first = open(&server.addr).await?;
    let before = rss_kib_of(server.pid()?)?;
    let mut readers = vec![first];
    while readers.len() < args.concurrency {
        let mut opening = JoinSet::new();
        for _ in 0..TOGETHER.min(args.concurrency - readers.len()) {
            let addr = server.addr.clone();
            opening.spawn(async move { open(&addr).await });
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
    let at = |part: f64| latencies.get((latencies.len() as f64 * part) as usize).map_or(0, |found| *found as i64);
    report.more.push(("latency_us_p99", at(0.99)));
    report.more.push(("readers", i64::try_from(args.concurrency)?));
    report.more.push(("bytes_per_reader", (after as i64 - before as i64) * 1024 / args.concurrency as i64));
    Ok(report)
}

/// All of them wait for a while; then the last one is told a value with all the others.
async fn idle(args: &Args, server: &Server, readers: Vec<TcpStream>, before: u64) -> Result<Report, BoxError> {
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_secs(args.count as u64)).await;
    let after = rss_kib_of(server.pid()?)?;
    request(&server.addr, "/go/1").await?;
    let mut reading = JoinSet::new();
    let count = readers.len();
    for mut reader in readers {
        reading.spawn(async move { seen(&mut reader, b"\nevent: end\n").await.map(drop) });
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
async fn open(addr: &str) -> Result<TcpStream, BoxError> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let path = format!("/dbos/workflows/{WRITER}/streams/{KEY}");
    let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\naccept: text/event-stream\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let head = seen(&mut stream, b": ok\n\n").await?;
    if !head.starts_with(b"HTTP/1.1 200") {
        return Err(String::from_utf8_lossy(&head).into());
    }
    Ok(stream)
}

/// All bytes until these have come.
async fn seen(stream: &mut TcpStream, what: &[u8]) -> Result<Vec<u8>, BoxError> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 1024]);
    while !bytes.windows(what.len()).any(|part| part == what) {
        let read = timeout(PATIENCE, stream.read(&mut buffer)).await??;
        if read == 0 {
            return Err(format!("the answer ends with {:?}", String::from_utf8_lossy(&bytes)).into());
        }
        bytes.extend_from_slice(&buffer[..read]);
    }
    Ok(bytes)
}

/// How long each value took, in microseconds, without those of the warm-up.
async fn read(mut stream: TcpStream, count: usize) -> Result<Vec<f64>, BoxError> {
    let (mut latencies, mut seen) = (Vec::with_capacity(count), 0);
    let (mut bytes, mut buffer) = (Vec::new(), [0; 8192]);
    while seen < count {
        let read = timeout(PATIENCE, stream.read(&mut buffer)).await??;
        let now = mark::now();
        if read == 0 {
            return Err(format!("the answer ends after {seen} values").into());
        }
        bytes.extend_from_slice(&buffer[..read]);
        let mut done = 0;
        while let Some(end) = bytes[done..].windows(2).position(|two| two == b"\n\n") {
            let event = str::from_utf8(&bytes[done..done + end])?;
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
        bytes.drain(..done);
    }
    Ok(latencies)
}

async fn request(addr: &str, path: &str) -> Result<(), BoxError> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n").as_bytes()).await?;
    seen(&mut stream, b"HTTP/1.1 202").await.map(drop)
}
