//! The harness of the integration suite: databases, faults, processes, requests.
#![expect(clippy::expect_used, clippy::panic, reason = "the harness reports trouble by failing the test")]

pub mod backend;
pub mod browser;
pub mod collector;
pub mod drops;
pub mod http;
mod installed;
pub mod node;
pub mod peer;
pub mod process;
pub mod proxy;
pub mod python;
pub mod shop;
pub mod web;

use std::time::Duration;

use dbos_runtime::{Builder, Dbos};

pub use backend::{Backend, Fresh};

/// Expands each test to one on SQLite and one on Postgres: a module of the test's name with two functions.
///
/// ```text
/// on_each_backend! {
///     async fn a_start_is_found_again(fresh: Fresh) { … }
/// }
/// ```
#[macro_export]
macro_rules! on_each_backend {
    ($($(#[$attribute:meta])* async fn $name:ident($fresh:ident: Fresh) $body:block)*) => {
        $(
            $(#[$attribute])*
            mod $name {
                #[allow(unused_imports, reason = "a test may use nothing of its surroundings")]
                use super::*;

                async fn on_a_backend($fresh: $crate::Fresh) $body

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn sqlite() {
                    on_a_backend($crate::fresh($crate::Backend::Sqlite).await).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn postgres() {
                    on_a_backend($crate::fresh($crate::Backend::Postgres).await).await;
                }
            }
        )*
    };
}

/// How long a test waits for what must come. It costs time only where that never comes, so it is long enough for a machine
/// that is very slow for a moment. What must not come by itself (a poll, the end of a delay) is an hour away instead.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A database with an up-to-date schema and no rows.
pub async fn fresh(backend: Backend) -> Fresh {
    Fresh::migrated(backend, "dbos", async |url| {
        let dbos = Dbos::builder("template").database_url(url).launch().await;
        dbos.expect("the template can be migrated").shutdown(Duration::ZERO).await;
    })
    .await
}

/// A runtime on that database that looks often, so that no test waits a second for the safety net. Its next launch takes
/// over what this one runs, dead or alive: peer recovery, which knows the difference, has its own tests.
pub fn builder(fresh: &Fresh) -> Builder<()> {
    Dbos::builder("tests")
        .database_url(fresh.url())
        .application_version("v1")
        .peer_recovery(false)
        .polling_interval(Duration::from_millis(50))
}

/// Waits until a condition holds, looking often; fails the test when that does not come within [`PATIENCE`].
pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never {what}"));
}

/// Does the work, and looks again and again meanwhile at a number that must stay within a bound.
///
/// Each look is one view of the database, so it sees what was there at once. Instants in rows do not tell that: they are
/// those at which statements began.
pub async fn stays_within<T>(most: i64, fresh: &Fresh, sql: &str, work: impl Future<Output = T>) -> T {
    let mut work = Box::pin(work);
    let mut looks = 0;
    loop {
        tokio::select! {
            biased;
            done = &mut work => {
                assert!(looks > 1, "nobody looked while the work was done");
                return done;
            }
            found = fresh.scalar(sql) => {
                assert!(found <= most, "{found} instead of at most {most}: {sql}");
                looks += 1;
            }
        }
    }
}
