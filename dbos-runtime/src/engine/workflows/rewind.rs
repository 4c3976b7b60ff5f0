//! Rewinding: a workflow that has ended runs again, in place, from a step on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use super::unit::{Caller, destination, to_its_end};
use super::{RecordedWorkflows, Workflows};
use crate::engine::child::ChildHandle;
use crate::engine::durable::Durable;
use crate::engine::execution::Execution;
use crate::engine::handle::WorkflowHandle;
use crate::engine::shared::Shared;
use crate::engine::{replay, step};
use crate::error::{DurableError, Error, ErrorKind, Result};
use crate::ids::{AppVersion, WorkflowId};
use crate::model::management::{Cut, Rewound, Seen};
use crate::model::status::WorkflowStatus;
use crate::model::step::StepRow;
use crate::payload;

/// A rewind that is to be made: of which workflow, from which step on.
///
/// ```
/// let rewind = dbos_runtime::Rewind::of("order-1", 3).application_version("v2");
/// # let _ = rewind;
/// ```
#[derive(Clone, Debug)]
#[must_use = "a rewind is made by Workflows::rewind"]
pub struct Rewind {
    id: Result<WorkflowId>,
    step: i32,
    version: Option<String>,
    queue: Option<String>,
    partition: Option<String>,
}

impl Rewind {
    /// Of that workflow, so that it runs from that step on. Step 1 runs all of it again.
    pub fn of(id: impl TryInto<WorkflowId, Error: Into<Error>>, from: i32) -> Self {
        let id = id.try_into().map_err(Into::into);
        Self { id, step: from, version: None, queue: None, partition: None }
    }

    /// The version of the code that runs it, instead of the one that it ran with.
    pub fn application_version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// The queue on which it waits, instead of the one that every process of its version serves at once.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// The partition of that queue.
    pub fn partition_key(mut self, key: impl Into<String>) -> Self {
        self.partition = Some(key.into());
        self
    }

    fn prepare(self) -> Result<Cut> {
        if self.step < 1 {
            return Err(Error::invalid(format!("a workflow cannot be rewound to step {}", self.step)));
        }
        Ok(Cut {
            id: self.id?,
            step: self.step,
            version: self.version.map(AppVersion::parse).transpose()?.map(String::from),
            queue: destination(self.queue.as_deref(), self.partition.as_deref())?,
            partition: self.partition,
            seen: Seen { status: String::new(), updated_at: 0 },
            by: None,
        })
    }
}

impl Workflows {
    /// Takes back what an ended workflow did from a step on, and lets it run again from there.
    ///
    /// From that step on the records go, and with them the outcome; events get the values that they had before, and
    /// streams that were closed are open again, with all their values. Messages that were consumed from there on, or
    /// never, are gone. Children stay: the workflow finds those that it had started, with their results. To repair a
    /// failed child, rewind the child, then its parent.
    ///
    /// In other databases than the system database, the witnesses of transactions are removed from every
    /// [`Datasource`](crate::Datasource) that this process has used or was
    /// [told of](crate::Builder::datasource); the application's own rows stay.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NonExistentWorkflow`]; [`ErrorKind::InvalidArgument`] for a step below 1, and for a workflow that has
    /// not ended: cancel it first; [`ErrorKind::Unavailable`] when the database does not answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping it once polled may or may not have rewound the workflow; that happens whole or not at all.
    ///
    /// # Examples
    ///
    /// ```
    /// # use dbos_runtime::{Dbos, Error, Rewind};
    /// # async fn example(dbos: Dbos) -> Result<(), Error> {
    /// let again = dbos.workflows().rewind(Rewind::of("order-1", 3)).await?;
    /// println!("{} has made {}", again.id(), again.result().await?);
    /// # Ok(()) }
    /// ```
    pub async fn rewind(&self, rewind: Rewind) -> Result<WorkflowHandle<Value>> {
        let cut = rewind.prepare()?;
        let handle = super::found(&self.shared, cut.id.clone());
        let work = make(Arc::clone(&self.shared), cut, Caller::Outside);
        match to_its_end(&self.shared, work).await? {
            Rewound::Done => Ok(handle),
            _ => Err(changed(handle.id())),
        }
    }
}

impl<E: DurableError> RecordedWorkflows<E> {
    /// Rewinds another workflow, as [`Workflows::rewind`] does. The rewind and this step's record are one commit, so it
    /// happens once, whatever crashes.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn rewind(&self, rewind: Rewind) -> Durable<'static, (), ChildHandle<Value, Error, E>, E> {
        Durable::build(&self.execution, 1, move |execution, number, ()| async move {
            let id = order(&execution, number, rewind).await?;
            Ok(ChildHandle::new(super::found(&execution.shared, id), &execution))
        })
    }
}

async fn order(execution: &Arc<Execution>, number: i32, rewind: Rewind) -> Result<WorkflowId> {
    const NAME: &str = "DBOS.rewindWorkflow";
    let row = execution.recorded(number);
    if let Some(row) = replay::look(row.as_ref(), &execution.fence.id, number, NAME)? {
        return step::answer(row, execution);
    }
    execution.live()?;
    let started = execution.now();
    let outcome = async {
        let mut cut = rewind.prepare()?;
        let row = StepRow::marker(number, NAME, started, execution.now());
        let row = row.with_output(payload::encode(&cut.id)?);
        cut.by = Some((execution.fence.clone(), row));
        let id = cut.id.clone();
        let work = make(Arc::clone(&execution.shared), cut, Caller::Workflow);
        match to_its_end(&execution.shared, work).await? {
            Rewound::Done => Ok(id),
            Rewound::Lost(status) => Err(execution.lost(status.as_deref())),
            Rewound::Changed => Err(changed(&id)),
        }
    };
    let outcome = outcome.await;
    if let Err(error) = &outcome
        && !error.is_transient()
        && execution.live().is_ok()
    {
        let row = StepRow::marker(number, NAME, started, execution.now());
        execution.record(vec![row.with_error(payload::encode_error(error))]).await?;
    }
    outcome
}

async fn make(shared: Arc<Shared>, mut cut: Cut, caller: Caller) -> Result<Rewound> {
    let row = caller.ask(&shared, || shared.store.look(cut.id.as_str())).await?;
    let row = row.ok_or_else(|| Error::no_workflow(cut.id.as_str()))?;
    if !row.status.is_some_and(WorkflowStatus::is_terminal) {
        let message = format!("workflow {} is {}: cancel it before it is rewound", cut.id, row.status_text);
        return Err(Error::invalid(message).about(&cut.id));
    }
    cut.seen = Seen { status: row.status_text, updated_at: row.updated_at.as_millis() };
    // Before the workflow can run again. Should the rewind fail after it, the workflow has ended all the same.
    shared.registry.datasources.forget(std::slice::from_ref(&cut.id), cut.step).await?;
    let tries = AtomicU32::new(0);
    let question = || {
        tries.fetch_add(1, Ordering::Relaxed);
        shared.store.rewind(&cut)
    };
    let rewound = caller.ask(&shared, question).await?;
    let again = tries.load(Ordering::Relaxed) > 1;
    let rewound = match rewound {
        // The answer to an earlier try was lost, and since then the row is another: that was us.
        Rewound::Changed if again && cut.by.is_none() => Rewound::Done,
        other => other,
    };
    if rewound == Rewound::Done {
        shared.wakeups.announce_queue(&cut.queue);
    }
    Ok(rewound)
}

fn changed(id: &WorkflowId) -> Error {
    let message = format!("workflow {id} changed while it was being rewound; nothing was done");
    Error::new(ErrorKind::InvalidArgument, message).about(id)
}
