//! The Rust application of the interoperability demo: one of several that share a system database, each in its own
//! language.
//!
//! `DBOS_SYSTEM_DATABASE_URL` names the database, `PORT` the port (8005 by default), `INTEROP_APP_NAME` the application
//! (`interop-rust` by default).

mod contract;
mod http;
mod workflows;

use std::env;
use std::time::Duration;

use dbos_runtime::{Dbos, Queue, Registration};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

const DATABASE: &str = "postgresql://postgres:dbos@localhost:5432/interop_dbos_sys";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let setting = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let own = contract::RUST;
    let dbos = Dbos::builder(&setting("INTEROP_APP_NAME", &own.application()))
        .database_url(setting("DBOS_SYSTEM_DATABASE_URL", DATABASE))
        .application_version(own.version())
        .queue(Queue::new(own.queue()))
        // On a shared database every process would work on the queues of nobody.
        .listen_queues([own.queue()])
        .register_fn(
            Registration::named(contract::ECHO).class(contract::CLASS).instance(contract::INSTANCE),
            workflows::echo,
        )
        .register_fn(contract::DRIVER, workflows::driver)
        .launch()
        .await?;

    let listener = TcpListener::bind(format!("0.0.0.0:{}", setting("PORT", "8005"))).await?;
    println!("listening on {}", listener.local_addr()?.port());
    let mut terminate = signal(SignalKind::terminate())?;
    let stopped = async move {
        terminate.recv().await;
    };
    axum::serve(listener, http::router(dbos.clone())).with_graceful_shutdown(stopped).await?;
    dbos.shutdown(Duration::from_secs(5)).await;
    Ok(())
}
