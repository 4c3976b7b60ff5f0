//! Insert a workflow, or find the one that is there; run the one that is new.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::execution::{Completion, Execution};
use super::handle::WorkflowHandle;
use super::registry::{Body, Target};
use super::shared::Shared;
use super::{guard, run, wait};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::WorkflowId;
use crate::limits;
use crate::model::workflow::{Existing, Fence, NewWorkflow, Parent};
use crate::model::write::{Receipt, Write};
use crate::payload;

/// A workflow to be started, before its token is made.
pub(crate) struct Request {
    pub(crate) id: WorkflowId,
    pub(crate) name: String,
    pub(crate) input: String,
    pub(crate) user: Option<String>,
    pub(crate) roles: Option<String>,
    pub(crate) attributes: Option<String>,
    pub(crate) parent: Option<Parent>,
}

impl Request {
    pub(crate) fn of<W: Target>(target: &W, input: &W::Input) -> Result<Self> {
        limits::name("workflow name", target.name())?;
        Ok(Self {
            id: WorkflowId::generate(),
            name: target.name().to_owned(),
            input: payload::encode_input(input)?,
            user: None,
            roles: None,
            attributes: None,
            parent: None,
        })
    }
}

/// What a start led to.
pub(crate) enum Started {
    Created(Arc<Completion>),
    Attached(Box<Existing>, Option<Arc<Completion>>),
}

impl Started {
    pub(crate) fn attached(&self) -> Option<&str> {
        match self {
            Self::Created(_) => None,
            Self::Attached(row, _) => Some(row.input.as_deref().unwrap_or_default()),
        }
    }

    pub(crate) fn handle<T, E>(self, shared: &Arc<Shared>, id: WorkflowId) -> WorkflowHandle<T, E> {
        match self {
            Self::Created(local) => WorkflowHandle::new(shared, id, Some(local), None),
            Self::Attached(row, local) => {
                WorkflowHandle::new(shared, id, local, Some(row.input.unwrap_or_default()))
            }
        }
    }
}

/// Inserts the workflow and, when it is new, runs it in a task of its own.
pub(crate) async fn insert(shared: &Arc<Shared>, request: Request) -> Result<Started> {
    guard::outside_of_transactions()?;
    if shared.tasks.draining.is_cancelled() {
        return Err(wait::shutting_down());
    }
    let body = shared.registry.body(&request.name)?;
    let (undecided, new) = Undecided::prepare(shared, body, request);
    let (id, name) = (new.id.clone(), new.name.clone());
    // A parent waits for its child's row as long as it takes; a caller from outside would rather know soon.
    let patience = new.parent.is_none().then(|| Instant::now() + shared.config.patience);
    let receipt = shared.journal.submit(Write::Start(Box::new(new)), patience).await;
    match undecided.decide(receipt.ok_or_else(wait::shutting_down)?).await {
        Decided::Created(completion) => Ok(Started::Created(completion)),
        Decided::Other(Some(Receipt::Exists(row))) => attach(shared, &id, &name, row),
        Decided::Other(receipt) => Err(refused(receipt)),
    }
}

fn refused(receipt: Option<Receipt>) -> Error {
    match receipt {
        Some(Receipt::Lost(status)) => Error::new(ErrorKind::LostOwnership, status.unwrap_or_default()),
        Some(Receipt::Expired) => Error::new(ErrorKind::Unavailable, "the database cannot be reached"),
        Some(Receipt::Rejected(why)) => Error::new(ErrorKind::Database, why),
        Some(other) => Error::new(ErrorKind::Database, format!("unexpected answer to a start: {other:?}")),
        None => wait::shutting_down(),
    }
}

/// A start between the hand-over of its row and the receipt.
///
/// Its caller may leave in between, for example because a client hung up. The row may be committed all the same, and
/// must not be left without anybody who runs it: so a dropped one is decided in a task of its own.
struct Undecided {
    shared: Arc<Shared>,
    launch: Option<Launch>,
    receipt: Option<oneshot::Receiver<Receipt>>,
}

/// What is needed to run a workflow once its row is there.
struct Launch {
    body: Body,
    fence: Fence,
    name: String,
    caller: (Option<String>, Option<String>),
    input: String,
}

enum Decided {
    Created(Arc<Completion>),
    Other(Option<Receipt>),
}

impl Undecided {
    fn prepare(shared: &Arc<Shared>, body: Body, request: Request) -> (Self, NewWorkflow) {
        let new = NewWorkflow {
            id: request.id,
            name: request.name,
            input: request.input,
            token: shared.presence.token(),
            user: request.user,
            roles: request.roles,
            attributes: request.attributes,
            parent: request.parent,
        };
        let launch = Launch {
            body,
            fence: Fence { id: new.id.clone(), token: new.token.clone() },
            name: new.name.clone(),
            caller: (new.user.clone(), new.roles.clone()),
            input: new.input.clone(),
        };
        (Self { shared: Arc::clone(shared), launch: Some(launch), receipt: None }, new)
    }

    async fn decide(mut self, receipt: oneshot::Receiver<Receipt>) -> Decided {
        let receipt = self.receipt.insert(receipt).await.ok();
        let launch = self.launch.take();
        match (receipt, launch) {
            (Some(Receipt::Done), Some(launch)) => Decided::Created(launch.run(&self.shared)),
            (receipt, _) => Decided::Other(receipt),
        }
    }
}

impl Drop for Undecided {
    fn drop(&mut self) {
        let (Some(launch), Some(receipt)) = (self.launch.take(), self.receipt.take()) else { return };
        let shared = Arc::clone(&self.shared);
        // On the runtime's own handle: a future may be dropped where there is no runtime.
        let decide = async move {
            if matches!(receipt.await, Ok(Receipt::Done)) {
                launch.run(&shared);
            }
        };
        self.shared.tasks.workflows.spawn_on(decide, &self.shared.handle);
    }
}

impl Launch {
    fn run(self, shared: &Arc<Shared>) -> Arc<Completion> {
        let execution = Execution::new(Arc::clone(shared), self.fence, self.name, self.caller, Vec::new());
        shared.running.add(&execution);
        let completion = Arc::clone(&execution.completion);
        shared.tasks.workflows.spawn_on(run::drive(execution, self.body, self.input), &shared.handle);
        completion
    }
}

/// The workflow that is there already, if it is one of the same function.
fn attach(shared: &Shared, id: &WorkflowId, name: &str, row: Box<Existing>) -> Result<Started> {
    if row.name.as_deref() != Some(name) || row.class_name.is_some() || row.config_name.is_some() {
        let there = row.name.as_deref().unwrap_or_default();
        let message = format!("workflow {id} exists as {there:?}, not as {name:?}");
        return Err(Error::new(ErrorKind::ConflictingWorkflow, message).about(id));
    }
    let local = shared.running.get(id).map(|execution| Arc::clone(&execution.completion));
    Ok(Started::Attached(row, local))
}
