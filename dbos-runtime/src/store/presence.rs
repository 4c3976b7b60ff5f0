//! Whether this process is known to live, so that its peers leave its work alone and take up that of the dead.
//!
//! A process holds a lock for as long as it lives, and the tokens of its executions name that lock. So a row says by
//! itself whose it is and where to look whether the owner lives. A token that names no lock belongs to another kind of
//! executor, of which nobody here judges anything.

use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(feature = "postgres")]
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Answer, Store};
use crate::config::Config;
use crate::error::Result;
use crate::failpoint::{self, Boundary, Side};
#[cfg(feature = "postgres")]
use crate::ids;
use crate::ids::{ExecutorId, OwnerToken};

/// What a process is called when neither the configuration nor a free slot names it.
const UNNAMED: &str = "local";

/// How this process is known to its peers.
#[derive(Debug)]
pub(crate) struct Presence {
    executor: ExecutorId,
    lock: Option<i64>,
    held: AtomicBool,
    doubted: Notify,
}

/// What holds the lock until it is kept, or given up with this value.
pub(crate) enum Vigil {
    /// There is no lock.
    None,
    #[cfg(feature = "postgres")]
    Postgres(Box<super::postgres::presence::Vigil>),
}

impl Presence {
    /// Names this process and takes its lock, where the database can hold one and the settings want it.
    pub(crate) async fn announce(config: &Config) -> Result<(Self, Vigil)> {
        let configured = config.executor()?;
        #[cfg(feature = "postgres")]
        if config.announces() && config.database_url.starts_with("postgres") {
            let (presence, vigil) = super::postgres::presence::announce(config, configured).await?;
            return Ok((presence, Vigil::Postgres(Box::new(vigil))));
        }
        let executor = configured.unwrap_or_else(|| ExecutorId::trusted(UNNAMED));
        Ok((Self::new(executor, None), Vigil::None))
    }

    pub(crate) fn new(executor: ExecutorId, lock: Option<i64>) -> Self {
        Self { executor, lock, held: AtomicBool::new(true), doubted: Notify::new() }
    }

    pub(crate) fn executor(&self) -> &ExecutorId {
        &self.executor
    }

    /// The lock that says that this process lives.
    pub(crate) fn lock(&self) -> Option<i64> {
        self.lock
    }

    /// A fresh token for an execution of this process.
    pub(crate) fn token(&self) -> OwnerToken {
        OwnerToken::generate(self.lock)
    }

    /// Whether this process may take work: without its lock its peers hold it for dead, and would take that up again.
    pub(crate) fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }

    /// Has whoever keeps the lock look whether it still does.
    pub(crate) fn doubt(&self) {
        self.doubted.notify_one();
    }

    #[cfg(feature = "postgres")]
    pub(super) async fn doubted(&self) {
        self.doubted.notified().await;
    }

    #[cfg(feature = "postgres")]
    pub(super) fn set_held(&self, held: bool) {
        self.held.store(held, Ordering::Release);
    }
}

/// The lock of a name: the first eight bytes of its SHA-256, as the other SDKs derive theirs.
#[cfg(feature = "postgres")]
pub(crate) fn key(name: &str) -> i64 {
    let digest = Sha256::digest(name.as_bytes());
    digest.iter().take(8).fold(0, |key, byte| (key << 8) | i64::from(*byte))
}

/// The name of the lock of an executor id. One process at a time has it, while others may go by the same id.
#[cfg(feature = "postgres")]
pub(crate) fn slot(config: &Config, executor: &str) -> String {
    format!("dbos.executor.{}.{}.{executor}", config.schema, config.name)
}

/// The name of the lock of one life of a process.
#[cfg(feature = "postgres")]
pub(crate) fn life(config: &Config, executor: &str) -> String {
    format!("{}.{}", slot(config, executor), ids::random())
}

impl Store {
    /// Keeps the lock until told to stop.
    pub(crate) fn keep(
        &self,
        presence: &std::sync::Arc<Presence>,
        vigil: Vigil,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) {
        match (self, vigil) {
            #[cfg(feature = "postgres")]
            (Self::Postgres(_), Vigil::Postgres(vigil)) => {
                tasks.spawn(vigil.keep(std::sync::Arc::clone(presence), stop.clone()));
            }
            (_, Vigil::None) => {}
            #[cfg(all(feature = "postgres", feature = "sqlite"))]
            (Self::Sqlite(_), Vigil::Postgres(_)) => {}
        }
        let _ = (presence, tasks, stop);
    }

    /// Puts the running workflows of the holders of these locks, which nobody holds now, back on their queue, or on
    /// `queue`; how many there were.
    pub(crate) async fn take_over(&self, locks: &[i64], queue: &str) -> Answer<u64> {
        failpoint::pass(Boundary::Takeover, Side::Before);
        let taken = ask!(self, backend => backend.take_over(locks, queue).await)?;
        failpoint::pass(Boundary::Takeover, Side::After);
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(feature = "postgres")]
    fn keys_are_derived_as_elsewhere() {
        assert_eq!(key("dbos.background_job.dbos.a1app.background_jobs"), 2_755_709_543_856_704_543);
        assert_eq!(key("dbos.datasource_migrations.dbos"), -539_682_970_964_697_559);
    }

    #[test]
    fn a_token_names_the_lock_of_its_process() {
        let executor = || ExecutorId::trusted("x");
        let announced = Presence::new(executor(), Some(-7));
        assert!(announced.token().as_str().ends_with("@-7"));
        assert_ne!(announced.token(), announced.token());
        assert!(!Presence::new(executor(), None).token().as_str().contains('@'));
    }
}
