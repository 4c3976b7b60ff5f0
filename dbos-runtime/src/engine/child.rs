//! Workflows that start others.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::context::Ctx;
use super::debounce::Next;
use super::durable::Durable;
use super::execution::Execution;
use super::handle::{Origin, WorkflowHandle};
use super::insert::{Request, submit};
use super::options::{Options, start_verbs};
use super::registry::Target;
use super::{replay, step};
use crate::error::{DurableError, Error, ErrorKind};
use crate::ids::WorkflowId;
use crate::model::step::StepRow;
use crate::model::workflow::Parent;
use crate::payload;

const RESULT: &str = "DBOS.getResult";

/// A child's start that has been called and not yet awaited.
pub type StartChild<T, C, E> = Durable<'static, ChildOptions, ChildHandle<T, C, E>, E>;

/// What can still be set on a child's start. Its id is derived from the parent's and the step's number unless it is set;
/// its deadline is the parent's.
#[derive(Debug, Default)]
pub struct ChildOptions {
    start: Options,
}

impl<T, E> Durable<'_, ChildOptions, T, E> {
    start_verbs!();

    fn change(self, change: impl FnOnce(&mut Options) -> Result<(), Error>) -> Self {
        self.with(|options| options.start.change(change))
    }
}

/// A workflow that this one has started.
pub struct ChildHandle<T, C, E> {
    handle: WorkflowHandle<T, C>,
    parent: Arc<Execution>,
    error: std::marker::PhantomData<fn() -> E>,
}

impl<T, C, E> ChildHandle<T, C, E> {
    pub(super) fn new(handle: WorkflowHandle<T, C>, parent: &Arc<Execution>) -> Self {
        Self { handle, parent: Arc::clone(parent), error: std::marker::PhantomData }
    }

    /// The child's id.
    pub fn id(&self) -> &WorkflowId {
        self.handle.id()
    }
}

impl<T, C, E> fmt::Debug for ChildHandle<T, C, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildHandle").field("id", self.id()).finish_non_exhaustive()
    }
}

impl<T, C, E> ChildHandle<T, C, E>
where
    T: Serialize + DeserializeOwned + Send + 'static,
    C: DurableError,
    E: DurableError + From<C>,
{
    /// Waits for the child's result and records it: a replay does not wait again.
    ///
    /// # Errors
    ///
    /// The child's own error, converted; [`ErrorKind::AwaitedWorkflowCancelled`] when it was cancelled.
    pub fn result(&self) -> Durable<'static, (), T, E> {
        let handle = self.handle.clone();
        Durable::build(&self.parent, 1, move |execution, number, ()| result(execution, number, handle))
    }
}

impl<S: Send + Sync + 'static, E: DurableError> Ctx<S, E> {
    /// Starts another workflow as a child of this one. The child's row and this step are one commit; a replay finds the
    /// same child.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotRegistered`], and [`ErrorKind::ConflictingWorkflow`] when the id belongs to another workflow.
    #[expect(clippy::needless_pass_by_value, reason = "a start reads as the call of the workflow")]
    pub fn start<W: Target>(&self, workflow: W, input: W::Input) -> StartChild<W::Output, W::Error, E> {
        let request = match Request::of(&workflow, &input) {
            Ok(request) => request,
            Err(error) => return Durable::refused(&self.execution, error),
        };
        Durable::build(&self.execution, 1, move |execution, number, options: ChildOptions| async move {
            let handle = start_child(&execution, number, options, request).await?;
            Ok(ChildHandle::new(handle, &execution))
        })
    }

    /// Starts a child and waits for its result. Takes two step numbers.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start), and the child's own error, converted.
    #[expect(clippy::needless_pass_by_value, reason = "a start reads as the call of the workflow")]
    pub fn run<W: Target>(&self, workflow: W, input: W::Input) -> Durable<'static, ChildOptions, W::Output, E>
    where
        E: From<W::Error>,
    {
        let request = match Request::of(&workflow, &input) {
            Ok(request) => request,
            Err(error) => return Durable::refused(&self.execution, error),
        };
        Durable::build(&self.execution, 2, move |execution, number, options: ChildOptions| async move {
            let handle = start_child(&execution, number, options, request).await?;
            result::<_, W::Error, E>(execution, number + 1, handle).await
        })
    }
}

async fn start_child<T, C>(
    execution: &Arc<Execution>,
    number: i32,
    options: ChildOptions,
    mut request: Request,
) -> Result<WorkflowHandle<T, C>, Error> {
    request.options = options.start;
    request.user.clone_from(&execution.user);
    request.roles.clone_from(&execution.roles);
    request.tenant.clone_from(&execution.tenant);
    request.deadline = execution.deadline;
    let Some(debounced) = request.options.debounced() else {
        return enqueue_or_run(execution, number, request).await;
    };
    // Which steps there are depends on what is found, so their numbers are taken one after the other. A replay finds the
    // same and takes the same.
    request.options.check(&execution.shared)?;
    let mut number = number;
    loop {
        let new = request.clone().new_workflow(&execution.shared);
        match debounced.bounce(&execution.shared, &new, Some((execution, number))).await? {
            Next::Moved(id) => return Ok(handle_of(execution, id)),
            Next::Enqueue => match enqueue_or_run(execution, execution.claim(1)?, request.clone()).await {
                Err(error) if error.kind() == ErrorKind::QueueDeduplicated => {}
                started => return started,
            },
            Next::Again => {}
        }
        number = execution.claim(1)?;
    }
}

/// A handle to a workflow that is there.
fn handle_of<T, C>(execution: &Execution, id: WorkflowId) -> WorkflowHandle<T, C> {
    let shared = &execution.shared;
    let local = shared.running.completion_of(&id);
    WorkflowHandle::new(shared, id, local, Origin::Found)
}

async fn enqueue_or_run<T, C>(
    execution: &Arc<Execution>,
    number: i32,
    mut request: Request,
) -> Result<WorkflowHandle<T, C>, Error> {
    let shared = &execution.shared;
    let recorded = execution.recorded(number);
    if let Some(row) = replay::look(recorded.as_ref(), &execution.fence.id, number, &request.name)? {
        if let Some(error) = &row.error {
            return Err(payload::decode_error(error));
        }
        let Some(child) = &row.child else {
            return Err(unexpected(
                execution,
                number,
                "is recorded as a plain step, not as the start of a child",
            ));
        };
        return Ok(handle_of(execution, WorkflowId::trusted(child.as_str())));
    }
    execution.live()?;
    // Not before: what is recorded is answered though a queue may have other limits by now.
    request.options.check(shared)?;
    let id = match &request.options.id {
        Some(id) => id.clone(),
        None => execution.fence.id.child(number)?,
    };
    request.options.id = Some(id.clone());
    let now = execution.now();
    let row = StepRow::marker(number, request.name.clone(), now, now).with_child(&id);
    request.parent = Some(Parent { fence: execution.fence.clone(), step: row.clone() });
    let options = request.options.clone();
    let new = request.new_workflow(shared);
    match submit(shared, &new, &options).await {
        Ok(started) => {
            let handle: WorkflowHandle<T, C> = started.handle(shared, id);
            if !handle.created() {
                // The child was there before, or holds the deduplication id: only this step is missing.
                execution.record(vec![row.with_child(handle.id())]).await?;
            }
            Ok(handle)
        }
        Err(error) if error.kind() == ErrorKind::LostOwnership => Err(lost(execution).await),
        Err(error) if error.is_transient() => Err(execution.latch(ErrorKind::ShuttingDown)),
        Err(error) => {
            let row = StepRow { child: None, ..row.with_error(payload::encode_error(&error)) };
            execution.record(vec![row]).await?;
            Err(error)
        }
    }
}

/// The name at this number is the recorded one, and the step is another all the same.
fn unexpected(execution: &Execution, number: i32, what: &str) -> Error {
    let id = &execution.fence.id;
    Error::new(ErrorKind::UnexpectedStep, format!("step {number} of workflow {id} {what}")).about(id)
}

/// The parent no longer owns its row: because it was cancelled, or because another execution does?
async fn lost(execution: &Arc<Execution>) -> Error {
    let shared = &execution.shared;
    let look = super::wait::patiently(shared, || shared.store.look(execution.fence.id.as_str())).await;
    execution.lost(look.ok().flatten().map(|row| row.status_text).as_deref())
}

async fn result<T, C, E>(execution: Arc<Execution>, number: i32, child: WorkflowHandle<T, C>) -> Result<T, E>
where
    T: Serialize + DeserializeOwned + Send,
    C: DurableError,
    E: DurableError + From<C>,
{
    let recorded = execution.recorded(number);
    if let Some(row) = replay::look(recorded.as_ref(), &execution.fence.id, number, RESULT)? {
        if row.child.as_deref() != Some(child.id().as_str()) {
            let there = row.child.as_deref().unwrap_or_default();
            let what =
                format!("is recorded as the result of workflow {there:?}, not of {:?}", child.id().as_str());
            return Err(unexpected(&execution, number, &what).into());
        }
        return step::answer::<T, C>(row, &execution).map_err(E::from);
    }
    execution.live()?;
    let started = execution.now();
    let outcome = tokio::select! {
        outcome = child.outcome() => outcome,
        () = execution.interrupt.cancelled() => {
            execution.live()?;
            return Err(execution.latch(ErrorKind::ShuttingDown).into());
        }
    };
    execution.live()?;
    let result = match outcome {
        // That it cannot be learned now is not how it ended.
        Err(error) if error.kind() == ErrorKind::Database => return Err(error.into()),
        Err(error) => Err(C::from(error)),
        Ok(outcome) => outcome.into_result(child.id()),
    };
    let row = StepRow::marker(number, RESULT, started, execution.now()).with_child(child.id());
    let row = match &result {
        Ok(value) => row.with_output(payload::encode(value)?),
        Err(error) => row.with_error(payload::encode_error(error)),
    };
    execution.record(vec![row]).await?;
    result.map_err(E::from)
}
