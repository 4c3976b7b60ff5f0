//! Advisory locks that say who lives, on a connection of their own: the server lets go of them when that breaks.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Executor;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions};
use tokio_util::sync::CancellationToken;

use super::{DEADLINE, Postgres, cannot_open, migrate, options};
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::ids::ExecutorId;
use crate::store::error::StoreError;
use crate::store::presence::{Presence, key, life, slot};

/// Between two tries to get a lost lock back.
const RETRY: Duration = Duration::from_secs(1);
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// Processes of one application that find a name by themselves.
const SLOTS: u32 = 1000;

/// A host that vanished without a word is given up by the server after some twenty seconds; one that has nothing to say
/// is not given up at all.
const SETTINGS: &str = "\
SELECT set_config(name, wanted.value, false)
FROM (VALUES ('tcp_keepalives_idle', '10'), ('tcp_keepalives_interval', '3'), ('tcp_keepalives_count', '3'),
    ('tcp_user_timeout', '20000'), ('idle_session_timeout', '0')) AS wanted(name, value)
JOIN pg_settings USING (name)";

const LOCK: &str = "SELECT pg_try_advisory_lock($1)";

const UNLOCK: &str = "SELECT pg_advisory_unlock_all()";

/// Who holds a lock while it puts the work back is the only one who does so, and keeps its owner from coming back
/// before it is done. A row that a transaction of the dead still holds is
/// left for a later look, and does not hold up the others.
const TAKE_OVER: &str = "\
WITH free AS MATERIALIZED (
    SELECT lock::text AS lock FROM unnest($1::int8[]) AS lock WHERE pg_try_advisory_xact_lock(lock)
), left_behind AS MATERIALIZED (
    SELECT workflow_uuid, owner_xid FROM {s}.workflow_status
    WHERE status = 'PENDING' AND owner_xid LIKE '%@%' AND (application_name = $2 OR application_name IS NULL)
        AND split_part(owner_xid, '@', 2) IN (SELECT lock FROM free)
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE {s}.workflow_status w
SET status = 'ENQUEUED', owner_xid = NULL, started_at_epoch_ms = NULL,
    updated_at = (EXTRACT(epoch FROM now()) * 1000)::int8, queue_name = coalesce(nullif(w.queue_name, ''), $3)
FROM left_behind l
WHERE w.workflow_uuid = l.workflow_uuid AND w.status = 'PENDING' AND w.owner_xid = l.owner_xid";

/// A connection that does nothing but hold the locks of this process.
pub(crate) struct Vigil {
    options: PgConnectOptions,
    /// The lock of the executor id, then the one of this life.
    locks: [i64; 2],
    watch: Watch,
}

/// Names this process, after a free slot unless it has a name, and takes the lock of this life.
pub(crate) async fn announce(
    config: &Config,
    configured: Option<ExecutorId>,
) -> Result<(Presence, Vigil), Error> {
    let options = options(config)?;
    let announcing = async {
        if config.migrate {
            migrate::create_database_if_missing(&options).await.map_err(|error| cannot_open(&error))?;
        }
        let mut watch = Watch::open(&options).await.map_err(|error| cannot_open(&error))?;
        let executor = name(&mut watch, config, configured).await?;
        let life = key(&life(config, executor.as_str()));
        if !watch.hold(life).await.map_err(|error| cannot_open(&error))? {
            return Err(Error::new(
                ErrorKind::Initialization,
                "this process cannot make itself known to its peers",
            ));
        }
        let locks = [key(&slot(config, executor.as_str())), life];
        Ok((Presence::new(executor, Some(life)), Vigil { options: options.clone(), locks, watch }))
    };
    tokio::time::timeout(config.startup_timeout, announcing)
        .await
        .map_err(|_| Error::new(ErrorKind::Initialization, "the database did not answer in time"))?
}

/// The configured name, else that of the first free slot.
async fn name(
    watch: &mut Watch,
    config: &Config,
    configured: Option<ExecutorId>,
) -> Result<ExecutorId, Error> {
    if let Some(executor) = configured {
        let alone =
            watch.hold(key(&slot(config, executor.as_str()))).await.map_err(|error| cannot_open(&error))?;
        if !alone {
            tracing::warn!(dbos.executor.id = %executor, "another process goes by this executor id; each keeps its own work");
        }
        return Ok(executor);
    }
    for number in 1..=SLOTS {
        let executor = format!("executor-{number}");
        if watch.hold(key(&slot(config, &executor))).await.map_err(|error| cannot_open(&error))? {
            return Ok(ExecutorId::trusted(executor));
        }
    }
    Err(Error::new(ErrorKind::Initialization, format!("all {SLOTS} executor names are taken")))
}

impl Vigil {
    /// Holds the locks until told to stop. One that is lost is taken back as soon as the database lets it.
    pub(crate) async fn keep(mut self, presence: Arc<Presence>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return self.watch.close().await,
                () = self.broken(&presence) => {}
            }
            presence.set_held(false);
            tracing::warn!(
                "the lock that says that this process lives is lost; it takes no work until it is back"
            );
            tokio::select! {
                () = stop.cancelled() => return self.watch.close().await,
                watch = self.back() => self.watch = watch,
            }
            presence.set_held(true);
            tracing::info!("this process is known to live again");
        }
    }

    /// Returns when the connection, and the lock with it, is gone.
    async fn broken(&mut self, presence: &Presence) {
        loop {
            tokio::select! {
                () = self.watch.broken() => return,
                () = presence.doubted() => {}
            }
            // A session that holds a lock gets it again.
            if !self.watch.hold(self.locks[1]).await.unwrap_or(false) {
                return;
            }
        }
    }

    async fn back(&self) -> Watch {
        let [slot, life] = self.locks;
        loop {
            match Watch::open(&self.options).await {
                Ok(mut watch) => {
                    // Not held while a peer puts this process's work back, or the server has not noticed the loss yet.
                    if matches!(watch.hold(life).await, Ok(true)) {
                        // Another process may have taken the name. Both may go by it.
                        let _ = watch.hold(slot).await;
                        return watch;
                    }
                }
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "still no lock; trying again");
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// A connection whose end is noticed without a question, because it listens.
struct Watch {
    pool: PgPool,
    listener: PgListener,
}

impl Watch {
    async fn open(options: &PgConnectOptions) -> Result<Self, sqlx::Error> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(DEADLINE)
            .max_lifetime(None)
            .idle_timeout(None)
            .test_before_acquire(false)
            .connect_lazy_with(options.clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        listener.ignore_pool_close_event(true);
        listener.execute(SETTINGS).await?;
        Ok(Self { pool, listener })
    }

    /// Takes a lock for as long as the connection lasts, unless another session has it.
    async fn hold(&mut self, lock: i64) -> Result<bool, sqlx::Error> {
        let asked = sqlx::query_scalar(LOCK).bind(lock).fetch_one(&mut self.listener);
        tokio::time::timeout(DEADLINE, asked).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    async fn broken(&mut self) {
        // It listens to no channel, so the next thing that it hears is the end.
        while let Ok(Some(_)) = self.listener.try_recv().await {}
    }

    /// Lets go of the locks, so that the next process finds them free at once.
    async fn close(self) {
        let Self { pool, mut listener } = self;
        let closing = async {
            let _ = listener.execute(UNLOCK).await;
            drop(listener);
            pool.close().await;
        };
        // A connection that does not close in time is closed by the server.
        let _ = tokio::time::timeout(FAREWELL, closing).await;
    }
}

impl Postgres {
    pub(crate) async fn take_over(&self, locks: &[i64], queue: &str) -> Result<u64, StoreError> {
        let query = sqlx::query(self.statements.get(TAKE_OVER)).bind(locks);
        let query = query.bind(&self.identity.application).bind(queue);
        self.ask(async |c| Ok(query.execute(c).await?.rows_affected())).await
    }
}
