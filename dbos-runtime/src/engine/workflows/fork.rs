//! Forking: a new workflow that begins as the copy of another's first steps.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::unit::{Caller, destination, missing, to_its_end};
use super::{RecordedWorkflows, Workflows};
use crate::engine::child::ChildHandle;
use crate::engine::durable::Durable;
use crate::engine::handle::{Origin, WorkflowHandle};
use crate::engine::recorded::recorded;
use crate::engine::shared::Shared;
use crate::engine::wait;
use crate::error::{DurableError, Error, ErrorKind, Result};
use crate::ids::{AppVersion, WorkflowId};
use crate::limits;
use crate::model::fork::{ForkPoint, NewFork, Replaced, Unforkable};

/// A fork that is to be made: of which workflow, from which step on, and how it differs.
///
/// ```
/// use std::time::Duration;
///
/// use dbos_runtime::{Fork, ForkPoint};
///
/// let again = Fork::of("order-1", 3).id("order-1-again").timeout(Duration::from_secs(60));
/// let repaired = Fork::of("order-2", ForkPoint::LastFailure).application_version("v2");
/// # let _ = (again, repaired);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a fork is made by Workflows::fork"]
pub struct Fork {
    source: Result<WorkflowId>,
    point: ForkPoint,
    id: Option<Result<WorkflowId>>,
    version: Option<String>,
    queue: Option<String>,
    partition: Option<String>,
    timeout: Option<Duration>,
    replaced: Vec<(Result<WorkflowId>, Result<WorkflowId>)>,
}

impl Fork {
    /// A fork of that workflow which runs from that step on. Step 1 runs the whole workflow again.
    pub fn of(source: impl TryInto<WorkflowId, Error: Into<Error>>, from: impl Into<ForkPoint>) -> Self {
        Self {
            source: source.try_into().map_err(Into::into),
            point: from.into(),
            id: None,
            version: None,
            queue: None,
            partition: None,
            timeout: None,
            replaced: Vec::new(),
        }
    }

    /// The fork's id, instead of a fresh one. Making the same fork again finds the one that is there.
    pub fn id(mut self, id: impl TryInto<WorkflowId, Error: Into<Error>>) -> Self {
        self.id = Some(id.try_into().map_err(Into::into));
        self
    }

    /// The version of the code that runs it, instead of the latest one.
    pub fn application_version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// The queue on which it waits, instead of the one that every process serves at once.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// The partition of that queue.
    pub fn partition_key(mut self, key: impl Into<String>) -> Self {
        self.partition = Some(key.into());
        self
    }

    /// How long it may run, from when a process takes it up. Without one it has no limit, whatever its source had.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Where a copied step started the one child, or waited for it, it names the other instead: for example a fork of
    /// the child. Each child can be replaced once.
    pub fn replace_child(
        mut self,
        old: impl TryInto<WorkflowId, Error: Into<Error>>,
        new: impl TryInto<WorkflowId, Error: Into<Error>>,
    ) -> Self {
        self.replaced.push((old.try_into().map_err(Into::into), new.try_into().map_err(Into::into)));
        self
    }

    /// Checked, and with an id.
    fn prepare(self, id: impl FnOnce() -> Result<WorkflowId>) -> Result<NewFork> {
        let named = match &self.point {
            ForkPoint::Step(step) if *step < 0 => {
                return Err(Error::invalid(format!("a fork cannot begin at step {step}")));
            }
            ForkPoint::Named(name) => Some(name.clone()),
            _ => None,
        };
        if let Some(name) = &named {
            limits::name("step name", name)?;
        }
        if let Some(timeout) = self.timeout {
            limits::duration("the timeout", timeout)?;
            if timeout.as_millis() == 0 {
                return Err(Error::invalid("the timeout must be at least a millisecond"));
            }
        }
        let mut replaced = Vec::new();
        let mut once = HashSet::new();
        for (old, new) in self.replaced {
            let (old, new) = (old?, new?);
            if !once.insert(old.clone()) {
                return Err(Error::invalid(format!("child {old} is replaced twice")));
            }
            replaced.push(Replaced { old, new });
        }
        Ok(NewFork {
            source: self.source?,
            id: self.id.unwrap_or_else(id)?,
            point: self.point,
            start: 1,
            named,
            version: self.version.map(AppVersion::parse).transpose()?.map(String::from),
            queue: destination(self.queue.as_deref(), self.partition.as_deref())?,
            partition: self.partition,
            timeout: self.timeout.map(|timeout| i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX)),
            replaced,
        })
    }
}

impl Workflows {
    /// Makes a new workflow that begins with another's input and its steps up to a point, and runs from there.
    ///
    /// The steps before that point are copied with their results, with the events and the stream values as they were
    /// then; messages are not. The source may be in any state, and stays as it is. The fork belongs to the same
    /// application and user, and is run by the latest version of the code unless another is named.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NonExistentWorkflow`] when the source is missing; [`ErrorKind::InvalidArgument`] for a step before the
    /// beginning or beyond the one after the last that is recorded, for a name that no step has, and for a child that
    /// is replaced twice; [`ErrorKind::WorkflowIdInUse`] when the id belongs to another workflow;
    /// [`ErrorKind::Unavailable`] when the database does not answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping it once polled may or may not have made the fork; it is made whole or not at all.
    ///
    /// # Examples
    ///
    /// ```
    /// # use dbos_runtime::{Dbos, Error, Fork, ForkPoint};
    /// # async fn example(dbos: Dbos) -> Result<(), Error> {
    /// let again = dbos.workflows().fork(Fork::of("order-1", ForkPoint::LastFailure)).await?;
    /// println!("{} has made {}", again.id(), again.result().await?);
    /// # Ok(()) }
    /// ```
    pub async fn fork(&self, fork: Fork) -> Result<WorkflowHandle<Value>> {
        let new = fork.prepare(|| Ok(WorkflowId::generate()))?;
        let handle = WorkflowHandle::new(&self.shared, new.id.clone(), None, Origin::Created);
        make(&self.shared, vec![new], Caller::Outside).await?;
        Ok(handle)
    }

    /// Makes several forks at once: all of them or, for the reasons that [`fork`](Self::fork) names, none.
    ///
    /// # Errors
    ///
    /// As [`fork`](Self::fork), and [`ErrorKind::InvalidArgument`] when two are to have the same id.
    pub async fn fork_all(
        &self,
        forks: impl IntoIterator<Item = Fork>,
    ) -> Result<Vec<WorkflowHandle<Value>>> {
        let prepare = |fork: Fork| fork.prepare(|| Ok(WorkflowId::generate()));
        let forks: Vec<NewFork> = forks.into_iter().map(prepare).collect::<Result<_>>()?;
        let ids: HashSet<&WorkflowId> = forks.iter().map(|fork| &fork.id).collect();
        if ids.len() < forks.len() {
            return Err(Error::invalid("two forks of one call have the same id"));
        }
        let handles = forks
            .iter()
            .map(|fork| WorkflowHandle::new(&self.shared, fork.id.clone(), None, Origin::Created));
        let handles = handles.collect();
        make(&self.shared, forks, Caller::Outside).await?;
        Ok(handles)
    }
}

impl<E: DurableError> RecordedWorkflows<E> {
    /// Forks a workflow, as [`Workflows::fork`] does. Takes two step numbers.
    ///
    /// Unless the fork is given an id, its id follows from this workflow's and the step's number, so a crash before the
    /// step is recorded does not fork twice.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn fork(&self, fork: Fork) -> Durable<'static, (), ChildHandle<Value, Error, E>, E> {
        Durable::build(&self.execution, 2, move |execution, number, ()| async move {
            let shared = &execution.shared;
            let order = || async {
                let new = fork.prepare(|| execution.fence.id.child(number))?;
                let id = new.id.clone();
                make(shared, vec![new], Caller::Workflow).await?;
                Ok(id)
            };
            let id: WorkflowId = recorded(&execution, number, "DBOS.forkWorkflow", order).await?;
            let look = || async {
                let row = wait::patiently(shared, || shared.store.look(id.as_str())).await?;
                row.map(|row| row.status_text).ok_or_else(|| Error::no_workflow(id.as_str()))
            };
            let _: String = recorded(&execution, number + 1, "DBOS.getStatus", look).await?;
            Ok(ChildHandle::new(super::found(shared, id), &execution))
        })
    }
}

async fn make(shared: &Arc<Shared>, forks: Vec<NewFork>, caller: Caller) -> Result<()> {
    if forks.is_empty() {
        return Ok(());
    }
    let shared_too = Arc::clone(shared);
    let work = async move {
        let forked = caller.ask(&shared_too, || shared_too.store.fork(&forks)).await?;
        forked.map_err(|refusal| refused(&refusal))?;
        for fork in &forks {
            shared_too.wakeups.announce_queue(&fork.queue);
        }
        Ok(())
    };
    to_its_end(shared, work).await
}

fn refused(refusal: &Unforkable) -> Error {
    let about = |id: &str, message: String| Error::invalid(message).about(&WorkflowId::trusted(id));
    match refusal {
        Unforkable::Missing(ids) => missing(ids),
        Unforkable::NoStep { source, name } => {
            about(source, format!("workflow {source} has no step named {name:?}"))
        }
        Unforkable::Beyond { source, step, last } => about(
            source,
            format!("workflow {source} cannot be forked at step {step}: its last step is {last}"),
        ),
        Unforkable::Taken { id } => {
            let message = format!("workflow {id} exists, and is no fork of this workflow");
            Error::new(ErrorKind::WorkflowIdInUse, message).about(&WorkflowId::trusted(id.as_str()))
        }
    }
}
