//! The only room that knows SQL: questions, and the journal for hot writes.
//!
//! [`Store`] is the sealed choice of backend. Each question is asked here under one name and answered by the
//! same-named file of both backends.

/// Puts a question to whichever backend there is.
macro_rules! ask {
    ($store:expr, $backend:ident => $question:expr) => {
        match $store {
            #[cfg(feature = "postgres")]
            Store::Postgres($backend) => $question,
            #[cfg(feature = "sqlite")]
            Store::Sqlite($backend) => $question,
        }
    };
}

pub(crate) mod bell;
mod conditions;
pub(crate) mod enlisted;
pub(crate) mod error;
pub(crate) mod journal;
mod listing;
pub(crate) mod management;
pub(crate) mod migrate;
pub(crate) mod presence;
mod queues;
mod receipts;
mod rename;
mod retention;
mod rows;
mod schedules;
mod sealing;
mod streams;
mod traffic;
mod transfer;
mod versions;
pub(crate) mod wakeups;
#[cfg_attr(not(feature = "sqlite"), allow(dead_code, reason = "only SQLite has one writer"))]
pub(crate) mod writer;

#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::error::StoreError;
use self::journal::Journal;
use self::wakeups::Wakeups;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::failpoint::{self, Boundary, Side};
use crate::model::mailbox::Stored;
use crate::model::step::StepRow;
use crate::model::workflow::{Ending, Fence, Identity};
use crate::model::write::Touched;
use crate::payload::Codec;
use crate::time::Timestamp;

#[cfg(not(any(feature = "postgres", feature = "sqlite")))]
compile_error!("dbos-runtime needs a database: enable the feature `postgres`, `sqlite` or both");

/// The system database.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    #[cfg(feature = "postgres")]
    Postgres(Arc<postgres::Postgres>),
    #[cfg(feature = "sqlite")]
    Sqlite(Arc<sqlite::Sqlite>),
}

#[cfg(feature = "postgres")]
pub(crate) use self::postgres::ends_session;

/// Whether an error ends the session and says nothing of the statement. A file has no sessions.
#[cfg(not(feature = "postgres"))]
pub(crate) const fn ends_session(_: &sqlx::Error) -> bool {
    false
}

type Answer<T> = std::result::Result<T, StoreError>;

impl Store {
    /// Opens the database that the URL names, and brings its schema up to date.
    pub(crate) async fn open(config: &Config, identity: Arc<Identity>) -> Result<Self> {
        let scheme = config.database_url.split(':').next().unwrap_or_default();
        match scheme {
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => {
                Ok(Self::Postgres(Arc::new(postgres::Postgres::open(config, identity).await?)))
            }
            #[cfg(feature = "sqlite")]
            "sqlite" => Ok(Self::Sqlite(Arc::new(sqlite::Sqlite::open(config, identity).await?))),
            _ => Err(Error::invalid("the database URL must start with postgres:// or sqlite:")),
        }
    }

    /// Starts the journal over this database.
    pub(crate) fn journal(
        &self,
        config: &Config,
        wakeups: &Wakeups,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Journal {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => {
                Journal::start(postgres.lanes(config.lanes), &config.serializer, wakeups, tasks, stop)
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite(sqlite) => {
                Journal::start(vec![sqlite.lane()], &config.serializer, wakeups, tasks, stop)
            }
        }
    }

    /// Starts what carries hints between processes, where the database can.
    pub(crate) fn carry_hints(&self, wakeups: &Wakeups, tasks: &TaskTracker, stop: &CancellationToken) {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => {
                let outbox = wakeups.outbox_to();
                let (teller, hearer) = (Arc::clone(postgres), Arc::clone(postgres));
                let (told, heard, stop) = (wakeups.clone(), wakeups.clone(), stop.clone());
                tasks.spawn(async move { teller.tell(told, outbox).await });
                tasks.spawn(async move { hearer.hear(heard, stop).await });
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => {
                let _ = (wakeups, tasks, stop);
            }
        }
    }

    pub(crate) async fn close(&self) {
        ask!(self, backend => backend.close().await);
    }

    /// How many connections the pool for questions has open, and how many of them are idle.
    pub(crate) fn connections(&self) -> (u32, usize) {
        ask!(self, backend => backend.connections())
    }

    /// The stored form of values.
    pub(crate) fn codec(&self) -> &Codec {
        ask!(self, backend => backend.codec())
    }

    /// The database's time.
    pub(crate) async fn now(&self) -> Answer<Timestamp> {
        ask!(self, backend => backend.now().await)
    }

    /// Where these workflows stand; missing ones are left out.
    pub(crate) async fn endings(&self, ids: &[&str]) -> Answer<Vec<Ending>> {
        let mut endings = ask!(self, backend => backend.endings(ids).await)?;
        endings.iter_mut().for_each(|ending| self.codec().open_ending(ending));
        Ok(endings)
    }

    /// The database's time, and which of these executions have lost their row, with its status.
    pub(crate) async fn displaced(
        &self,
        fences: &[Fence],
    ) -> Answer<(Timestamp, Vec<(String, Option<String>)>)> {
        ask!(self, backend => backend.displaced(fences).await)
    }

    /// Puts what this executor left unfinished back on its queue, or on `queue`; how many there were.
    pub(crate) async fn recover(&self, queue: &str) -> Answer<u64> {
        failpoint::pass(Boundary::Recover, Side::Before);
        let recovered = ask!(self, backend => backend.recover(queue).await)?;
        failpoint::pass(Boundary::Recover, Side::After);
        Ok(recovered)
    }

    /// Puts what these executors left unfinished back on its queue, or on `queue`, but for the workflows to spare; which
    /// ones there were.
    pub(crate) async fn recover_of(
        &self,
        executors: &[String],
        spare: &[String],
        queue: &str,
    ) -> Answer<Vec<String>> {
        failpoint::pass(Boundary::Recover, Side::Before);
        let recovered = ask!(self, backend => backend.recover_of(executors, spare, queue).await)?;
        failpoint::pass(Boundary::Recover, Side::After);
        Ok(recovered)
    }

    /// Moves a workflow that was tried too often out of the way.
    pub(crate) async fn park(&self, fence: &Fence) -> Answer<u64> {
        failpoint::pass(Boundary::DeadLetter, Side::Before);
        let parked = ask!(self, backend => backend.park(fence).await)?;
        failpoint::pass(Boundary::DeadLetter, Side::After);
        Ok(parked)
    }

    /// All recorded steps of a workflow, in order.
    pub(crate) async fn history(&self, id: &str) -> Answer<Vec<StepRow>> {
        let mut rows = ask!(self, backend => backend.history(id).await)?;
        rows.iter_mut().for_each(|row| self.codec().open_step(row));
        Ok(rows)
    }

    /// An event's value.
    pub(crate) async fn event(&self, id: &str, key: &str) -> Answer<Option<Stored>> {
        let mut event = ask!(self, backend => backend.event(id, key).await)?;
        event.iter_mut().for_each(|stored| self.codec().open_stored(stored));
        Ok(event)
    }

    /// All events of a workflow, by key.
    pub(crate) async fn events(&self, id: &str) -> Answer<Vec<(String, Stored)>> {
        let mut events = ask!(self, backend => backend.events(id).await)?;
        events.iter_mut().for_each(|(_, stored)| self.codec().open_stored(stored));
        Ok(events)
    }

    /// The workflows forked from this one, and from those, by id.
    pub(crate) async fn forks(&self, id: &str) -> Answer<Vec<String>> {
        ask!(self, backend => backend.forks(id).await)
    }

    /// Which of the awaited messages and events are there.
    pub(crate) async fn present(&self, awaited: &[Touched]) -> Answer<Vec<Touched>> {
        ask!(self, backend => backend.present(awaited).await)
    }
}
