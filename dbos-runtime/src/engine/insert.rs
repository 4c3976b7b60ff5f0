//! Insert a workflow, or find the one that is there; run the one that is new.

use std::sync::Arc;
use std::time::Instant;

use super::debounce::{Debounced, Next};
use super::execution::Completion;
use super::handle::{Origin, WorkflowHandle};
use super::launch::{Decided, Launch};
use super::options::Options;
use super::registry::Target;
use super::shared::Shared;
use super::{guard, wait};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::WorkflowId;
use crate::limits;
use crate::model::status::WorkflowStatus;
use crate::model::tenant;
use crate::model::workflow::{Existing, NewWorkflow, Parent};
use crate::model::write::{Receipt, Write};
use crate::payload;
use crate::payload::Format;
use crate::store::enlisted::Enlisted;
use crate::time::Timestamp;
use crate::trace;

/// A workflow to be started, before its token is made.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) name: String,
    /// Those of the target, unless the options say otherwise.
    pub(crate) class_name: Option<String>,
    pub(crate) config_name: Option<String>,
    pub(crate) input: String,
    pub(crate) options: Options,
    pub(crate) user: Option<String>,
    pub(crate) roles: Option<String>,
    pub(crate) tenant: Option<String>,
    pub(crate) parent: Option<Parent>,
    /// The parent's, which it inherits.
    pub(crate) deadline: Option<Timestamp>,
}

impl Request {
    pub(crate) fn of<W: Target>(target: &W, input: &W::Input) -> Result<Self> {
        limits::name("workflow name", target.name())?;
        Ok(Self {
            class_name: target.class_name().map(ToOwned::to_owned),
            config_name: target.config_name().map(ToOwned::to_owned),
            ..Self::named(target.name(), payload::encode_input(input)?)
        })
    }

    /// A workflow of that name with this stored input.
    pub(crate) fn named(name: &str, input: String) -> Self {
        Self {
            name: name.to_owned(),
            class_name: None,
            config_name: None,
            input,
            options: Options::default(),
            user: None,
            roles: None,
            tenant: None,
            parent: None,
            deadline: None,
        }
    }

    /// The workflow's id; made now if it was not said.
    pub(crate) fn id(&mut self) -> WorkflowId {
        self.options.id.get_or_insert_with(WorkflowId::generate).clone()
    }

    pub(crate) fn new_workflow(mut self, shared: &Shared) -> NewWorkflow {
        let debounced = self.options.debounced();
        let (timeout, deadline) = self.options.limits(shared.clock.now(), self.deadline);
        let class_name = self.options.class_name.take().or(self.class_name.take());
        let config_name = self.options.config_name.take().or(self.config_name.take());
        let (class, instance) = (class_name.as_deref(), config_name.as_deref());
        let assumed = shared.registry.assumed_role(&self.name, class, instance, self.roles.as_deref());
        let given = self.options.attributes.take();
        let attributes = match &self.tenant {
            Some(tenant) => Some(tenant::attach(tenant, given)),
            None => given,
        };
        let mut new = NewWorkflow {
            id: self.id(),
            entry: self.options.entry(shared, &self.name),
            name: self.name,
            class_name,
            config_name,
            input: self.input,
            format: if self.options.portable { Format::Portable } else { Format::Default },
            token: shared.presence.token(),
            timeout,
            deadline,
            user: self.user,
            roles: self.roles,
            assumed,
            attributes: trace::attached(attributes),
            parent: self.parent,
        };
        if let Some(debounced) = debounced {
            debounced.apply(&mut new, shared);
        }
        new
    }
}

/// What a start led to.
pub(crate) enum Started {
    /// A new workflow, which this process runs unless it is on a queue.
    Created(WorkflowStatus, Option<Arc<Completion>>),
    Attached(Box<Existing>, Option<Arc<Completion>>),
    /// Another workflow holds the deduplication id.
    Held(WorkflowId),
}

impl Started {
    pub(crate) fn attached(&self) -> Option<&str> {
        match self {
            Self::Created(..) | Self::Held(_) => None,
            Self::Attached(row, _) => Some(row.input.as_deref().unwrap_or_default()),
        }
    }

    pub(crate) fn handle<T, E>(self, shared: &Arc<Shared>, id: WorkflowId) -> WorkflowHandle<T, E> {
        match self {
            Self::Created(status, local) => {
                WorkflowHandle::new(shared, id, local, Origin::Created).seen(Some(status))
            }
            Self::Held(holder) => {
                let local = shared.running.completion_of(&holder);
                WorkflowHandle::new(shared, holder, local, Origin::Found)
            }
            Self::Attached(row, local) => {
                let status = WorkflowStatus::from_text(&row.status);
                let origin = Origin::Attached(row.input.unwrap_or_default().into());
                WorkflowHandle::new(shared, id, local, origin).seen(status)
            }
        }
    }
}

/// Inserts the workflow and, when it is new, runs it in a task of its own.
pub(crate) async fn insert(shared: &Arc<Shared>, request: Request) -> Result<Started> {
    request.options.check(shared)?;
    let options = request.options.clone();
    let new = request.new_workflow(shared);
    if let Some(debounced) = options.debounced() {
        return debounce(shared, &debounced, new, &options).await;
    }
    submit(shared, &new, &options).await
}

/// Moves the delayed workflow of an earlier call, or enqueues one that later calls can move.
async fn debounce(
    shared: &Arc<Shared>,
    debounced: &Debounced,
    mut new: NewWorkflow,
    options: &Options,
) -> Result<Started> {
    guard::outside_of_transactions()?;
    loop {
        match debounced.bounce(shared, &new, None).await? {
            Next::Moved(id) => return Ok(Started::Held(id)),
            Next::Again => tokio::time::sleep(BOUNCE_AGAIN).await,
            Next::Enqueue => {
                debounced.apply(&mut new, shared);
                match submit(shared, &new, options).await {
                    Err(error) if error.kind() == ErrorKind::QueueDeduplicated => {}
                    started => return started,
                }
            }
        }
    }
}

/// Inserts the workflow, as often as it takes to get an answer.
pub(crate) async fn submit(shared: &Arc<Shared>, new: &NewWorkflow, options: &Options) -> Result<Started> {
    guard::outside_of_transactions()?;
    if shared.tasks.draining.is_cancelled() {
        return Err(wait::shutting_down());
    }
    // A child belongs to work that is under way, and what is for a queue is for whoever claims it.
    if new.parent.is_none() && new.queued().is_none() && !shared.is_active() {
        return Err(Error::new(
            ErrorKind::ShuttingDown,
            "the process is deactivated, and starts nothing new",
        ));
    }
    // A parent waits for its child's row as long as it takes; a caller from outside would rather know soon.
    let patience = new.parent.is_none().then(|| Instant::now() + shared.config.patience);
    loop {
        let write = Write::Start(Box::new(new.clone()));
        let receipt = if new.queued().is_some() {
            let receipt = shared.journal.submit(write, patience).await.ok_or_else(wait::shutting_down)?;
            receipt.await.ok()
        } else {
            match Launch::prepare(shared, new)?.start(write, patience).await {
                Some(Decided::Created(completion)) => {
                    return Ok(Started::Created(new.status(), Some(completion)));
                }
                Some(Decided::Other(receipt)) => Some(receipt),
                None => None,
            }
        };
        // Of a duplicate whose holder has gone since: the id is free now.
        if receipt != Some(Receipt::Nothing) {
            return started(shared, new, options, receipt);
        }
    }
}

/// Between two looks at a workflow that was just released from its delay.
const BOUNCE_AGAIN: std::time::Duration = std::time::Duration::from_millis(5);

/// Inserts the workflow in a transaction of the caller's. It must be for a queue: nobody else sees the row before the
/// caller commits.
pub(crate) async fn insert_within(
    shared: &Arc<Shared>,
    request: Request,
    connection: Enlisted<'_>,
) -> Result<Started> {
    request.options.check(shared)?;
    let options = &request.options;
    if options.queue.is_none() || options.attach_to_duplicate || options.debounce.is_some() {
        return Err(Error::invalid(
            "a start within a transaction needs a queue, cannot attach to a duplicate, and cannot be debounced",
        ));
    }
    let options = request.options.clone();
    let new = request.new_workflow(shared);
    let mut write = Write::Start(Box::new(new.clone()));
    shared.store.codec().seal(&mut write)?;
    let receipt = shared.store.apply_on(connection, &write).await?.ok_or_else(wait::other_database)?;
    match receipt {
        // The transaction still sees whoever held the deduplication id.
        Receipt::Nothing => Err(duplicate(&new, "")),
        receipt => started(shared, &new, &options, Some(receipt)),
    }
}

fn started(
    shared: &Shared,
    new: &NewWorkflow,
    options: &Options,
    receipt: Option<Receipt>,
) -> Result<Started> {
    match receipt {
        Some(Receipt::Done | Receipt::Moved) => Ok(Started::Created(new.status(), None)),
        Some(Receipt::Exists(row)) => attach(shared, new, options, row),
        Some(Receipt::Duplicate(holder)) if options.attach_to_duplicate => {
            Ok(Started::Held(WorkflowId::trusted(holder)))
        }
        Some(Receipt::Duplicate(holder)) => Err(duplicate(new, &holder)),
        receipt => Err(refused(receipt)),
    }
}

fn duplicate(new: &NewWorkflow, holder: &str) -> Error {
    let queued = new.queued();
    let (queue, id) =
        queued.map(|queued| (queued.queue.as_str(), queued.deduplication_id.as_deref())).unzip();
    let message = format!(
        "workflow {holder} holds deduplication id {:?} on queue {:?}",
        id.flatten().unwrap_or_default(),
        queue.unwrap_or_default()
    );
    let error = Error::new(ErrorKind::QueueDeduplicated, message);
    // The one that is there; the new one never came to be.
    if holder.is_empty() { error } else { error.about(&WorkflowId::trusted(holder)) }
}

fn refused(receipt: Option<Receipt>) -> Error {
    match receipt {
        Some(Receipt::Lost(status)) => Error::new(ErrorKind::LostOwnership, status.unwrap_or_default()),
        Some(Receipt::Expired) => Error::new(ErrorKind::Unavailable, "the database cannot be reached"),
        Some(Receipt::Unstorable(error)) => error,
        Some(Receipt::Rejected(why)) => Error::new(ErrorKind::Database, why),
        Some(other) => Error::new(ErrorKind::Database, format!("unexpected answer to a start: {other:?}")),
        None => wait::shutting_down(),
    }
}

/// The workflow that is there already, if it is one of the same function.
fn attach(shared: &Shared, new: &NewWorkflow, options: &Options, mut row: Box<Existing>) -> Result<Started> {
    shared.store.codec().open_existing(&mut row);
    let (id, there) = (&new.id, row.name.as_deref().unwrap_or_default());
    if options.refuse_existing {
        let message = format!("workflow {id} exists already: {there:?}, {}", row.status);
        return Err(Error::new(ErrorKind::WorkflowIdInUse, message).about(id));
    }
    if there != new.name || row.class_name != new.class_name || row.config_name != new.config_name {
        let instance = |class: &Option<String>, config: &Option<String>| {
            let of = [class, config].into_iter().flatten().map(|part| format!(" of {part}"));
            of.collect::<String>()
        };
        let message = format!(
            "workflow {id} exists as {there:?}{}, not as {:?}{}",
            instance(&row.class_name, &row.config_name),
            new.name,
            instance(&new.class_name, &new.config_name)
        );
        return Err(Error::new(ErrorKind::ConflictingWorkflow, message).about(id));
    }
    let local = shared.running.completion_of(id);
    Ok(Started::Attached(row, local))
}
