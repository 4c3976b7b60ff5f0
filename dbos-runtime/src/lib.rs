//! Durable workflows in Rust: ordinary async functions that survive any crash, on SQLite or Postgres.
//!
//! A workflow is an `async fn` whose steps are recorded in a database as they happen. When the process dies, the next
//! one continues where it stopped: recorded steps are answered from the record, the rest runs. There is no server. The
//! database is the official DBOS system database. Programs in Python and TypeScript (tested), Go and Java (the same
//! schema) and plain SQL can start these workflows and be started by them.
//!
//! ```toml
//! [dependencies]
//! dbos-runtime = "0.1"
//! serde = { version = "1", features = ["derive"] }
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```
//!
//! The guide in `docs/guide` of the source has a page for each capability. For axum applications there is the crate
//! `dbos-axum`.
//!
//! # A whole program
//!
//! ```
//! use std::time::Duration;
//!
//! use dbos_runtime::{Dbos, Retry, workflow};
//! use serde::{Deserialize, Serialize};
//!
//! /// What the application's workflows share.
//! #[derive(Clone)]
//! struct App {
//!     currency: &'static str,
//! }
//!
//! /// What they fail with: stored, and handed back as the same type.
//! #[derive(Debug, Serialize, Deserialize, thiserror::Error)]
//! enum ShopError {
//!     #[error("the payment was declined")]
//!     Declined,
//!     #[error(transparent)]
//!     Runtime(#[from] dbos_runtime::Error),
//! }
//!
//! type Ctx = dbos_runtime::Ctx<App, ShopError>;
//!
//! #[derive(Serialize, Deserialize)]
//! struct Cart {
//!     cents: u64,
//! }
//!
//! #[workflow]
//! async fn checkout(ctx: Ctx, cart: Cart) -> Result<String, ShopError> {
//!     // At least once, and never again once its result is recorded. A refusal is an answer, not a reason to retry.
//!     let charged = ctx
//!         .step("charge", || charge(cart.cents))
//!         .retry(Retry::times(3))
//!         .retry_if(|error| !matches!(error, ShopError::Declined))
//!         .await?;
//!     // Published exactly once, for whoever waits for it.
//!     ctx.set_event("charged", &charged).await?;
//!     // Survives restarts; `None` when the time is up.
//!     let note = ctx.recv::<String>("note").timeout(Duration::from_secs(60)).await?;
//!     Ok(format!("{charged} {}: {}", ctx.state().currency, note.unwrap_or_default()))
//! }
//!
//! async fn charge(cents: u64) -> Result<u64, ShopError> {
//!     if cents > 0 { Ok(cents) } else { Err(ShopError::Declined) }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     # let file = std::env::temp_dir().join(format!("dbos-front-{}.sqlite", std::process::id()));
//!     # let url = format!("sqlite:{}", file.display());
//!     let dbos = Dbos::builder("shop")
//!         .database_url(url)
//!         .state(App { currency: "EUR" })
//!         .register(checkout)
//!         .launch()
//!         .await?;
//!
//!     // The id makes it idempotent: a second start finds the first one's workflow.
//!     let order = dbos.start(checkout, Cart { cents: 995 }).id("order-1001").await?;
//!     dbos.send(order.id(), "thank you").topic("note").idempotency_key("note-1").await?;
//!     assert_eq!(order.result().await?, "995 EUR: thank you");
//!
//!     let declined = dbos.start(checkout, Cart { cents: 0 }).await?.result().await;
//!     assert!(matches!(declined, Err(ShopError::Declined)));
//!     dbos.shutdown(Duration::from_secs(5)).await;
//!     # std::fs::remove_file(file).ok();
//!     Ok(())
//! }
//! ```
//!
//! # The nouns
//!
//! | | |
//! |---|---|
//! | [`Dbos`] | a launched runtime: starts and observes workflows, and sends to them; cheap to clone |
//! | [`workflow`](macro@workflow) | makes an `async fn` a workflow: named, typed, registered with [`Builder::register`] |
//! | [`Ctx`] | what a workflow is given: the application's state, and the durable calls |
//! | [`WorkflowHandle`] | a started workflow: its id, its status, its result |
//! | [`Workflows`] | the workflows of the database: listed, counted, changed, moved, deleted |
//! | [`Datasource`] | the application's own tables, written by steps exactly once with [`Ctx::transaction`] |
//! | [`Error`], [`DurableError`] | what goes wrong in the runtime, and what a workflow may fail with |
//!
//! # Rules for a workflow's body
//!
//! Steps must be called in the same order in every run. So anything that depends on time, randomness or the outside world
//! belongs in a step ([`Ctx::now`], [`Ctx::uuid`] and [`Ctx::random`] are ready-made), and a decision may depend only on the
//! input and on what steps returned. Steps may run concurrently with `join!`: each takes its number where it is called. A
//! step whose name differs from the recorded one is refused with [`ErrorKind::UnexpectedStep`].
//!
//! # Logs
//!
//! The runtime logs with `tracing`, under `dbos_runtime`. Without a subscriber nothing is shown, so install one first, for
//! example `tracing_subscriber::fmt().init()`.
//!
//! # Features
//!
//! `postgres`, `sqlite` (both on by default; either builds alone), `macros` (on by default), `tls` (encrypted
//! connections to Postgres), `any` (a [`Datasource`] over `sqlx::Any`, for code that runs on both), `otel` (workflows
//! belong to the trace in which they were started), `failpoints` (named commit boundaries for crash tests; never in
//! production).

mod config;
mod datasource;
mod engine;
mod error;
mod failpoint;
#[cfg(doctest)]
mod guide;
mod ids;
mod limits;
mod model;
mod payload;
mod store;
mod time;
mod trace;

pub use datasource::{
    Backend, Begun, Datasource, IsolationLevel, OpenTransaction, Placed, TransactionOptions,
};
#[cfg(feature = "macros")]
pub use dbos_runtime_macros::workflow;
pub use engine::{
    Alone, Branches, Builder, CancelReport, CancelWorkflows, ChildHandle, ChildOptions, Client,
    ClientBuilder, Ctx, Dbos, Delay, DeleteWorkflows, Durable, EncodedPage, EncodedStream, EncodedValue,
    Fork, GetEvent, GetEventOptions, Message, Outcome, Patch, Publish, PublishOptions, Queues, Raceable,
    ReadStreamOffset, ReadStreamOptions, RecordedSchedules, RecordedStream, RecordedWorkflows, Recv,
    RecvOptions, Registration, RenameApplication, ResumeOptions, ResumeWorkflows, Retry, Rewind,
    RuntimeMetrics, Schedule, ScheduleFilter, ScheduleInfo, ScheduleStatus, Schedules, Select, Send,
    SendMessage, SendMessages, SendOptions, Start, StartAll, StartChild, Step, StepCtx, StepOptions,
    StepSend, StreamPage, StreamReader, Target, TreeOptions, VersionInfo, Versions, Workflow, WorkflowHandle,
    WorkflowRef, Workflows,
};
pub use error::{DurableError, Error, ErrorKind, Result};
pub use ids::{AppVersion, ExecutorId, WorkflowId};
pub use model::aggregate::{
    GroupBy, Metrics, StepAggregate, StepAggregates, WorkflowAggregate, WorkflowAggregates,
};
pub use model::export::ExportedWorkflow;
pub use model::filter::{Filter, StepFilter};
pub use model::fork::ForkPoint;
pub use model::info::{Payload, StepInfo, WorkflowInfo};
pub use model::queue::{OnConflict, Queue, RateLimit};
pub use model::rename::Renamed;
pub use model::retention::{Collected, Retention};
pub use model::status::WorkflowStatus;
pub use model::stream::StreamEnd;
pub use payload::{Arguments, Serializer};
#[doc(hidden)]
pub use store::enlisted::Enlisted;
pub use store::enlisted::SystemConnection;
pub use time::Timestamp;

/// Traces that OpenTelemetry follows through processes, with the feature `otel`.
///
/// A workflow that is started in a trace belongs to it, whoever runs it: see the guide's page on tracing, and
/// [`WorkflowInfo::trace_context`].
#[cfg(feature = "otel")]
pub mod otel {
    pub use crate::trace::{current_context, remote_context};
}

/// Doors for tests, with the feature `failpoints`.
#[cfg(feature = "failpoints")]
pub mod testing {
    /// The names of all commit boundaries at which `DBOS_FAILPOINT` can have the process killed.
    pub fn boundaries() -> &'static [&'static str] {
        crate::failpoint::ALL
    }

    /// The next times of a cron expression in a zone after an instant, as they are written there; fewer at the end of
    /// the calendar.
    ///
    /// # Errors
    ///
    /// As for a [`Schedule`](crate::Schedule) with that expression.
    pub fn cron_times(
        cron: &str,
        zone: &str,
        after: crate::Timestamp,
        count: usize,
    ) -> crate::Result<Vec<String>> {
        crate::engine::cron_times(cron, zone, after, count)
    }
}

/// What the expansion of `#[workflow]` refers to. Not part of the public API.
#[doc(hidden)]
pub mod __private {
    pub use crate::engine::Context;

    /// The success type of a `Result`.
    pub trait Fallible {
        /// What the result holds when it is good.
        type Ok;
    }

    impl<T, E> Fallible for Result<T, E> {
        type Ok = T;
    }
}
