//! Requests from many connections, each sending the next one when the last is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use axum::body::Bytes;
use bench_common::{Args, BoxError, Report};
use http::Request;
use http::header::{CONTENT_TYPE, HOST};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::server::Server;

/// Requests before the clock starts.
const WARM_UP: usize = 200;

/// Takes `--engine NAME` out of the command line.
pub fn engine(words: impl Iterator<Item = String>) -> Result<(String, Vec<String>), BoxError> {
    let mut words: Vec<String> = words.collect();
    let at = words.iter().position(|word| word == "--engine").ok_or("`--engine` is missing")?;
    let mut taken = words.drain(at..(at + 2).min(words.len())).skip(1);
    let engine = taken.next().ok_or("`--engine` needs a value")?;
    drop(taken);
    Ok((engine, words))
}

/// As many requests as `--count` says, from `--concurrency` connections.
pub async fn measure(args: &Args, engine: &str) -> Result<Report, BoxError> {
    let server = Server::start(args, engine).await?;
    drive(&server, WARM_UP, args.concurrency).await?;
    let begun = Instant::now();
    let mut latencies = drive(&server, args.count, args.concurrency).await?;
    Ok(Report::new(args, begun.elapsed(), args.count, &mut latencies))
}

/// The latency of each request, in microseconds.
async fn drive(server: &Server, count: usize, connections: usize) -> Result<Vec<f64>, BoxError> {
    let taken = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::with_capacity(connections);
    for _ in 0..connections {
        let (mut sender, taken) = (connect(&server.addr).await?, Arc::clone(&taken));
        tasks.push(tokio::spawn(async move {
            let mut latencies = Vec::new();
            loop {
                let number = taken.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok::<_, BoxError>(latencies);
                }
                let begun = Instant::now();
                buy(&mut sender, number).await?;
                latencies.push(begun.elapsed().as_secs_f64() * 1e6);
            }
        }));
    }
    let mut latencies = Vec::with_capacity(count);
    for task in tasks {
        latencies.extend(task.await??);
    }
    Ok(latencies)
}

async fn connect(addr: &str) -> Result<SendRequest<Full<Bytes>>, BoxError> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn buy(sender: &mut SendRequest<Full<Bytes>>, widgets: usize) -> Result<(), BoxError> {
    sender.ready().await?;
    let request = Request::post("/buy")
        .header(HOST, "bench")
        .header(CONTENT_TYPE, "application/json")
        .header("idempotency-key", Uuid::new_v4().to_string())
        .body(Full::new(Bytes::from(widgets.to_string())))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    let answer: serde_json::Value = serde_json::from_slice(&body)?;
    if status != 200 || answer["value"] != widgets + 1 {
        return Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
    }
    Ok(())
}
