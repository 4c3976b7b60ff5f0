//! What `DbosLayer` costs a request whose handler does nothing.

use std::hint::black_box;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bench_common::{Args, BoxError, Report};
use dbos_axum::DbosLayer;
use dbos_runtime::Dbos;
use http::Request;
use tower::ServiceExt;

/// Requests are timed by this many at once: one alone is shorter than a look at the clock is exact.
const BATCH: usize = 1_000;

/// The median difference of `--count` pairs of batches, in microseconds a request.
pub async fn measure(args: &Args) -> Result<Report, BoxError> {
    let dbos = Dbos::builder("bench").database_url(&args.url).launch().await?;
    let plain = Router::new().route("/", get(nothing));
    let layered = plain.clone().layer(DbosLayer::new(dbos.clone()));
    batch(&plain).await?;
    batch(&layered).await?;
    let begun = Instant::now();
    let mut differences = Vec::with_capacity(args.count);
    for _ in 0..args.count {
        let without = batch(&plain).await?;
        differences.push(batch(&layered).await? - without);
    }
    let report = Report::new(args, begun.elapsed(), args.count * BATCH, &mut differences);
    dbos.shutdown(std::time::Duration::ZERO).await;
    Ok(report)
}

async fn nothing() {}

/// The mean time of a request in microseconds.
async fn batch(app: &Router) -> Result<f64, BoxError> {
    let begun = Instant::now();
    for _ in 0..BATCH {
        let request = Request::new(Body::empty());
        black_box(app.clone().oneshot(request).await?);
    }
    Ok(begun.elapsed().as_secs_f64() * 1e6 / BATCH as f64)
}
