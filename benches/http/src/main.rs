//! The benchmark of `dbos-axum`: its server, the load, and what the layer costs.
//!
//! `bench-http --engine ours|fastapi …` measures; with `--second yes` it is the server that is measured.

mod follow;
mod layer;
mod load;
mod server;
mod shop;

use bench_common::{Args, BoxError, Workload};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (engine, words) = load::engine(std::env::args().skip(1))?;
    let args = Args::parse(words.into_iter())?;
    if args.second {
        return match args.workload {
            Workload::Sse | Workload::SseIdle => follow::serve(&args).await,
            _ => shop::serve(&args).await,
        };
    }
    let report = match args.workload {
        Workload::Layer => layer::measure(&args).await?,
        Workload::Sse | Workload::SseIdle => follow::measure(&args).await?,
        _ => load::measure(&args, &engine).await?,
    };
    println!("{report}");
    Ok(())
}
