//! The queues of an application: registered, changed and deleted while it runs.

use std::fmt;
use std::sync::Arc;

use super::shared::Shared;
use super::{guard, wait};
use crate::error::{Error, ErrorKind, Result};
use crate::ids;
use crate::limits;
use crate::model::queue::{OnConflict, Queue, QueueRow, name};

/// The queues on the database. Got from [`Dbos::queues`](crate::Dbos::queues).
///
/// A change is seen by every process within a second, and at once by the one that made it.
///
/// ```
/// # use dbos_runtime::{Dbos, Error, Queue};
/// # async fn example(dbos: Dbos) -> Result<(), Error> {
/// dbos.queues().register(Queue::new("mail").concurrency(10)).await?;
/// dbos.queues().update("mail", |queue| queue.concurrency(20)).await?;
/// assert_eq!(dbos.queues().get("mail").await?.and_then(|queue| queue.concurrency), Some(20));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Queues {
    shared: Arc<Shared>,
}

impl Queues {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared) }
    }

    /// Registers a queue, and changes the one that has the name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`] for limits that break a rule, [`ErrorKind::NameInUse`] for a name that another
    /// application has;
    /// [`ErrorKind::Unavailable`] when the database does not answer.
    pub async fn register(&self, queue: Queue) -> Result<()> {
        self.register_with(queue, OnConflict::AlwaysUpdate).await
    }

    /// Registers a queue, and does about one that has the name what is said.
    ///
    /// # Errors
    ///
    /// As [`register`](Self::register); a client, which has no version, cannot say
    /// [`UpdateIfLatestVersion`](OnConflict::UpdateIfLatestVersion).
    pub async fn register_with(&self, queue: Queue, on_conflict: OnConflict) -> Result<()> {
        register(&self.shared, &queue, on_conflict).await
    }

    /// The queue of that name, whichever application has it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`] for a name that no queue can have, [`ErrorKind::Unavailable`] when the database does not answer.
    pub async fn get(&self, name: &str) -> Result<Option<Queue>> {
        let shared = self.asked(name)?;
        let row = wait::briefly(shared, || shared.store.queue(name)).await?;
        Ok(row.as_ref().map(QueueRow::queue))
    }

    /// The queues of this application, and those that belong to nobody, by name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] when the database does not answer.
    pub async fn list(&self) -> Result<Vec<Queue>> {
        let shared = &self.shared;
        let rows = wait::briefly(shared, || shared.store.queues()).await?;
        Ok(rows.iter().map(QueueRow::queue).collect())
    }

    /// Changes a queue. The change is applied to the queue as it is now, and again if somebody else changes it meanwhile.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] when there is no such queue, [`ErrorKind::InvalidArgument`] when its limits would break a
    /// rule, [`ErrorKind::NameInUse`] when it is another application's.
    pub async fn update(&self, name: &str, change: impl Fn(Queue) -> Queue) -> Result<Queue> {
        let shared = self.asked(name)?;
        guard::outside_of_transactions()?;
        loop {
            let Some(from) = wait::briefly(shared, || shared.store.queue(name)).await? else {
                return Err(no_queue(name));
            };
            check_owner(shared, &from)?;
            let queue = change(from.queue());
            if queue.name != name {
                return Err(Error::invalid(format!("queue {name:?} cannot be given another name")));
            }
            queue.check()?;
            let to = QueueRow::of(&queue, from.application.clone());
            if wait::briefly(shared, || shared.store.change_queue(&from, &to)).await? {
                self.changed(&queue);
                return Ok(queue);
            }
        }
    }

    /// Deletes a queue; whether there was one. What waits on it stays, and runs if it is registered again.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`] for a name that no queue can have, [`ErrorKind::Unavailable`] when the database does not answer.
    pub async fn delete(&self, name: &str) -> Result<bool> {
        let shared = self.asked(name)?;
        guard::outside_of_transactions()?;
        if let Some(row) = wait::briefly(shared, || shared.store.queue(name)).await? {
            check_owner(shared, &row)?;
        }
        let deleted = wait::briefly(shared, || shared.store.delete_queue(name)).await?;
        shared.wakeups.bell().ring_all();
        Ok(deleted)
    }

    /// Other programs' queues may have names that ours may not.
    fn asked(&self, name: &str) -> Result<&Arc<Shared>> {
        limits::searched(name)?;
        Ok(&self.shared)
    }

    fn changed(&self, queue: &Queue) {
        know(&self.shared, queue.clone());
        self.shared.wakeups.announce_queue(&queue.name);
    }
}

impl fmt::Debug for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queues").finish_non_exhaustive()
    }
}

pub(crate) async fn register(shared: &Arc<Shared>, queue: &Queue, on_conflict: OnConflict) -> Result<()> {
    queue.check()?;
    guard::outside_of_transactions()?;
    let update = match on_conflict {
        OnConflict::AlwaysUpdate => true,
        OnConflict::NeverUpdate => false,
        OnConflict::UpdateIfLatestVersion if shared.identity.version.is_none() => {
            return Err(Error::invalid("a client has no version by which a queue could be updated"));
        }
        OnConflict::UpdateIfLatestVersion => wait::briefly(shared, || shared.store.runs_latest()).await?,
    };
    let (id, row) = (ids::random().to_string(), QueueRow::of(queue, shared.identity.application.clone()));
    let application = wait::briefly(shared, || shared.store.register_queue(&id, &row, update)).await?;
    check_owner(shared, &QueueRow { application, ..row })?;
    if let Some(there) = wait::briefly(shared, || shared.store.queue(&queue.name)).await? {
        know(shared, there.queue());
    }
    shared.wakeups.bell().ring_all();
    Ok(())
}

/// What this process has just read or written. A client does not look again, and would believe it for ever.
fn know(shared: &Shared, queue: Queue) {
    if !shared.is_client() {
        shared.queues.add(queue);
    }
}

/// Another application's queue is not this one's to change. A client without an application speaks for all.
fn check_owner(shared: &Shared, row: &QueueRow) -> Result<()> {
    match (&row.application, &shared.identity.application) {
        (Some(owner), Some(own)) if owner != own => {
            let message = format!("queue {:?} belongs to application {owner:?}", row.name);
            Err(Error::new(ErrorKind::NameInUse, message))
        }
        _ => Ok(()),
    }
}

/// A queue to which work may be sent, as far as this process knows it.
pub(crate) fn check_target(shared: &Shared, queue: &str, partition: Option<&str>) -> Result<()> {
    name("queue name", queue)?;
    let Some(known) = shared.queues.get(queue) else { return Ok(()) };
    match (known.is_partitioned(), partition) {
        (true, None) => {
            Err(Error::invalid(format!("queue {queue:?} is partitioned: a partition key is needed")))
        }
        (false, Some(_)) => Err(Error::invalid(format!("queue {queue:?} has no partitions"))),
        _ => Ok(()),
    }
}

fn no_queue(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("no queue is registered under the name {name:?}"))
}
