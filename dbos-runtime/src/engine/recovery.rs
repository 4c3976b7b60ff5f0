//! Recovery on demand: somebody knows that processes have died.

use super::runtime::Dbos;
use super::shared::INTERNAL_QUEUE;
use super::{guard, wait};
use crate::error::{Error, Result};
use crate::ids::WorkflowId;
use crate::limits;

/// Executors of one call: they are named in one statement.
const MOST: usize = 10_000;

impl Dbos {
    /// Puts the unfinished workflows of these executors back on their queues, for whichever process claims them, and
    /// says which ones. Recorded steps do not run again.
    ///
    /// Only workflows of this application's present version are taken, and none that is known to run: not those of this
    /// process, and on Postgres not those of any process that announces itself. So it does no harm to ask too early, or
    /// twice. Most applications need not ask at all: processes recover their own work when they are launched again, and
    /// on Postgres that of dead peers.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for a text that is no executor's id,
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the database does not answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping it may or may not have recovered them, all or none.
    ///
    /// # Examples
    ///
    /// ```
    /// # use dbos_runtime::{Dbos, Error};
    /// # async fn example(dbos: Dbos) -> Result<(), Error> {
    /// for id in dbos.recover(["worker-7"]).await? {
    ///     println!("{id} goes on");
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn recover(
        &self,
        executors: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Vec<WorkflowId>> {
        guard::outside_of_transactions()?;
        let executors: Vec<String> = executors.into_iter().map(Into::into).take(MOST + 1).collect();
        if executors.len() > MOST {
            return Err(Error::invalid(format!("more than {MOST} executors are recovered at once")));
        }
        executors.iter().try_for_each(|executor| limits::searched(executor))?;
        let shared = self.shared();
        let running: Vec<String> =
            shared.running.all().iter().map(|execution| execution.fence.id.as_str().to_owned()).collect();
        let recovered =
            wait::briefly(shared, || shared.store.recover_of(&executors, &running, INTERNAL_QUEUE)).await?;
        tracing::info!(recovered = recovered.len(), executors = executors.len(), "recovered on demand");
        shared.wakeups.announce_queue(INTERNAL_QUEUE);
        shared.wakeups.bell().ring_all();
        let mut recovered: Vec<WorkflowId> = recovered.into_iter().map(WorkflowId::trusted).collect();
        recovered.sort_unstable();
        Ok(recovered)
    }
}
