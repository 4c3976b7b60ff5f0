//! Start a workflow, or attach to the one that is there.

use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use super::execution::{Completion, Execution};
use super::handle::WorkflowHandle;
use super::registry::{Body, Target};
use super::shared::Shared;
use super::{run, wait};
use crate::error::{DurableError, Error, ErrorKind, Result};
use crate::ids::{OwnerToken, WorkflowId};
use crate::limits;
use crate::model::workflow::{Existing, Fence, NewWorkflow, Parent};
use crate::model::write::{Receipt, Write};
use crate::payload;

/// A start that can be configured before it is awaited.
///
/// Awaiting it gives a [`WorkflowHandle`]. When it returns, the workflow is in the database and will run to its end,
/// whatever happens to this process.
///
/// # Cancel safety
///
/// Dropping it once polled may or may not have started the workflow; a start under the same id tells.
#[must_use = "a start does nothing until it is awaited"]
pub struct Start<T, E> {
    shared: Arc<Shared>,
    request: Result<Request>,
    same_input: bool,
    types: PhantomData<fn() -> (T, E)>,
}

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

impl<T, E> Start<T, E> {
    pub(crate) fn new<W: Target>(shared: &Arc<Shared>, target: &W, input: &W::Input) -> Self {
        Self { shared: Arc::clone(shared), request: Request::of(target, input), same_input: false, types: PhantomData }
    }

    /// The workflow's id. A second start under it finds the first one's workflow.
    pub fn id(self, id: impl TryInto<WorkflowId, Error: Into<Error>>) -> Self {
        self.change(|request| {
            request.id = id.try_into().map_err(Into::into)?;
            Ok(())
        })
    }

    /// On whose behalf the workflow runs.
    pub fn authenticated_user(self, user: &str) -> Self {
        self.change(|request| {
            limits::text("authenticated user", user)?;
            request.user = Some(user.to_owned());
            Ok(())
        })
    }

    /// The roles of that user.
    pub fn authenticated_roles<R: AsRef<str>>(self, roles: &[R]) -> Self {
        self.change(|request| {
            let roles: Vec<&str> = roles.iter().map(AsRef::as_ref).collect();
            request.roles = if roles.is_empty() { None } else { Some(payload::encode(&roles)?) };
            Ok(())
        })
    }

    /// Attributes to find the workflow by: a JSON object, without NUL in its texts.
    pub fn attributes(self, attributes: &Map<String, Value>) -> Self {
        self.change(|request| {
            let text = payload::encode(attributes)?;
            if attributes.iter().any(|(key, value)| key.contains('\0') || holds_nul(value)) {
                return Err(Error::invalid("attributes must not contain NUL"));
            }
            request.attributes = Some(text);
            Ok(())
        })
    }

    /// Refuses, with [`ErrorKind::InputMismatch`], to attach to a workflow that runs with another input.
    pub fn same_input(self) -> Self {
        Self { same_input: true, ..self }
    }

    fn change(mut self, change: impl FnOnce(&mut Request) -> Result<()>) -> Self {
        if let Ok(request) = &mut self.request
            && let Err(error) = change(request)
        {
            self.request = Err(error);
        }
        self
    }
}

impl<T, E> std::fmt::Debug for Start<T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let id = self.request.as_ref().map(|request| &request.id);
        f.debug_struct("Start").field("id", &id).finish_non_exhaustive()
    }
}

impl<T, E> IntoFuture for Start<T, E>
where
    T: DeserializeOwned + Send + 'static,
    E: DurableError,
{
    type Output = Result<WorkflowHandle<T, E>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { shared, request, same_input, .. } = self;
        Box::pin(async move {
            let request = request?;
            let (id, input) = (request.id.clone(), same_input.then(|| request.input.clone()));
            let started = start(&shared, request).await?;
            if let (Some(ours), Some(theirs)) = (input, started.attached())
                && !same(&ours, theirs)
            {
                let message = format!("workflow {id} was started with another input");
                return Err(Error::new(ErrorKind::InputMismatch, message).about(&id));
            }
            Ok(started.handle(&shared, id))
        })
    }
}

/// Whether a text in the value has a NUL, which Postgres does not store in `jsonb`.
fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(holds_nul),
        Value::Object(members) => members.iter().any(|(key, value)| key.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether two inputs are the same JSON, whatever the spelling.
fn same(ours: &str, theirs: &str) -> bool {
    let arguments = |text: &str| -> Option<(Value, Value)> {
        let mut value: Value = serde_json::from_str(text).ok()?;
        let mut part = |name: &str, empty: Value| match value.get_mut(name).map(Value::take) {
            None | Some(Value::Null) => empty,
            Some(part) => part,
        };
        Some((part("positionalArgs", Value::Array(Vec::new())), part("namedArgs", Value::Object(Map::new()))))
    };
    arguments(ours).is_some_and(|ours| arguments(theirs) == Some(ours))
}

/// What a start led to.
pub(crate) enum Started {
    Created(Arc<Completion>),
    Attached(Box<Existing>, Option<Arc<Completion>>),
}

impl Started {
    fn attached(&self) -> Option<&str> {
        match self {
            Self::Created(_) => None,
            Self::Attached(row, _) => Some(row.input.as_deref().unwrap_or_default()),
        }
    }

    pub(crate) fn handle<T, E>(self, shared: &Arc<Shared>, id: WorkflowId) -> WorkflowHandle<T, E> {
        match self {
            Self::Created(local) => WorkflowHandle::new(shared, id, Some(local), None),
            Self::Attached(row, local) => WorkflowHandle::new(shared, id, local, Some(row.input.unwrap_or_default())),
        }
    }
}

/// Starts the workflow in a task of its own, so that a caller who leaves cannot orphan a committed row.
pub(crate) fn start(shared: &Arc<Shared>, request: Request) -> impl Future<Output = Result<Started>> + use<> {
    let (tell, told) = oneshot::channel();
    let patience = request.parent.is_none().then_some(shared.config.patience);
    let refused = match prepare(shared, request) {
        Ok((body, new)) => {
            shared.tasks.workflows.spawn(insert_and_run(Arc::clone(shared), body, new, tell));
            None
        }
        Err(error) => Some(error),
    };
    async move {
        if let Some(error) = refused {
            return Err(error);
        }
        let told = async { told.await.unwrap_or_else(|_| Err(wait::shutting_down())) };
        match patience {
            None => told.await,
            // What was sent may have been committed: the task goes on, and runs the workflow if it was.
            Some(patience) => tokio::time::timeout(patience, told).await.unwrap_or_else(|_| Err(wait::unavailable())),
        }
    }
}

fn prepare(shared: &Shared, request: Request) -> Result<(Body, NewWorkflow)> {
    if shared.tasks.draining.is_cancelled() {
        return Err(wait::shutting_down());
    }
    let body = shared.registry.body(&request.name)?;
    let new = NewWorkflow {
        id: request.id,
        name: request.name,
        input: request.input,
        token: OwnerToken::generate(),
        user: request.user,
        roles: request.roles,
        attributes: request.attributes,
        parent: request.parent,
    };
    Ok((body, new))
}

async fn insert_and_run(shared: Arc<Shared>, body: Body, new: NewWorkflow, tell: oneshot::Sender<Result<Started>>) {
    let fence = Fence { id: new.id.clone(), token: new.token.clone() };
    let (name, input, user) = (new.name.clone(), new.input.clone(), new.user.clone());
    let inside = new.parent.is_some();
    let write = Write::Start(Box::new(new));
    let receipt = if inside {
        shared.journal.write(write).await
    } else {
        shared.journal.write_within(write, shared.config.patience).await
    };
    let started = match receipt {
        Some(Receipt::Done) => {
            let execution = Execution::new(Arc::clone(&shared), fence, name, user, Vec::new());
            shared.running.add(&execution);
            let _ = tell.send(Ok(Started::Created(Arc::clone(&execution.completion))));
            return run::drive(execution, body, input).await;
        }
        Some(Receipt::Exists(row)) => attach(&shared, &fence.id, &name, row),
        Some(Receipt::Lost(status)) => Err(Error::new(ErrorKind::LostOwnership, status.unwrap_or_default())),
        Some(Receipt::Expired) => Err(wait::unavailable()),
        Some(Receipt::Rejected(why)) => Err(Error::new(ErrorKind::Database, why)),
        Some(other) => Err(Error::new(ErrorKind::Database, format!("unexpected answer to a start: {other:?}"))),
        None => Err(wait::shutting_down()),
    };
    let _ = tell.send(started);
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
