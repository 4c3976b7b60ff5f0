//! Starting workflows on behalf of a request.

use std::marker::PhantomData;

use dbos_runtime::{Error, ErrorKind, Start, Target, WorkflowHandle, WorkflowId, WorkflowStatus};
use http::HeaderValue;
use http::header::RETRY_AFTER;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::Span;

use crate::access::Action;
use crate::ctx::DbosCtx;
use crate::keyed_start::KeyedStart;
use crate::layer::Concurrent;
use crate::meter;
use crate::problem::{self, Problem};
use crate::reply::Started;
use crate::trace;

impl DbosCtx {
    /// Starts a workflow under the request's idempotency key, or finds the one that the key has started. Without a
    /// key, it starts one under a fresh id.
    ///
    /// What is returned can be [configured](KeyedStart) before it is awaited: with a queue, for example.
    ///
    /// # Errors
    ///
    /// 400 for a key that is missing or not valid, 422 for one that was used with another input, 409 when the id
    /// belongs to another workflow, 503 when the database is away, 500 for a second start without a
    /// [`sub_key`](Self::sub_key).
    ///
    /// # Cancel safety
    ///
    /// Dropping it once polled may or may not have started the workflow; the same request again tells.
    #[expect(clippy::needless_pass_by_value, reason = "a start reads as the call of the workflow")]
    pub fn start<W: Target>(&self, workflow: W, input: W::Input) -> KeyedStart<W::Output> {
        self.start_as(&workflow, input)
    }

    /// The same, with the result read as an `O`.
    pub(crate) fn start_as<W, O>(&self, workflow: &W, input: W::Input) -> KeyedStart<O>
    where
        W: Target,
        O: Serialize + DeserializeOwned + Send + 'static,
    {
        let start = self.dbos().start(Erased(workflow, PhantomData), input);
        KeyedStart::new(self.clone(), workflow.name(), start)
    }

    /// Starts it, once for the key.
    pub(crate) async fn perform<O>(
        &self,
        workflow: &str,
        start: Result<Start<O, Error>, Problem>,
    ) -> Result<Started<O>, Problem>
    where
        O: Serialize + DeserializeOwned + Send + 'static,
    {
        let claim = format!("start!{}", self.sub_key.as_deref().unwrap_or_default());
        let span = self.trace.start(workflow);
        let starting = async {
            let mapping = self.scope.settings.mapping;
            let id = self.keyed()?.map(|keyed| mapping.workflow_id(workflow, keyed)).transpose()?;
            match self.configured(start?, id.clone()).await {
                Ok(handle) => self.found(workflow, id.as_ref(), handle, &span).await,
                Err(error) => Err(self.refused(error).await),
            }
        };
        trace::within(&span, self.once(&claim, starting)).await
    }

    fn configured<O>(&self, start: Start<O, Error>, id: Option<WorkflowId>) -> Start<O, Error> {
        let start = match id {
            Some(id) if self.scope.settings.compare_inputs => start.id(id).same_input(),
            Some(id) => start.id(id),
            None => start,
        };
        let start = match self.owner.user() {
            Some(user) => start.authenticated_user(user).authenticated_roles(self.owner.roles()),
            None => start,
        };
        match self.owner.tenant() {
            Some(tenant) => start.authenticated_tenant(tenant),
            None => start,
        }
    }

    /// Why a start was refused.
    async fn refused(&self, error: Error) -> Problem {
        match (error.kind(), error.workflow_id().cloned()) {
            (ErrorKind::Serialization, _) => {
                Problem::of(problem::INVALID_BODY).with_detail("The input cannot be stored as JSON.")
            }
            // Whose workflow has the deduplication id is nobody else's business.
            (ErrorKind::QueueDeduplicated, Some(holder)) => match self.look(&holder, Action::Read).await {
                Ok(_) => Problem::from(error).about(&holder),
                Err(_) => Problem::from(error),
            },
            // Nor is what another one was started with.
            (ErrorKind::InputMismatch, Some(id)) if self.look(&id, Action::Read).await.is_err() => taken(&id),
            _ => error.into(),
        }
    }

    /// What a start has led to, as an answer.
    async fn found<O>(
        &self,
        workflow: &str,
        asked: Option<&WorkflowId>,
        handle: WorkflowHandle<O>,
        span: &Span,
    ) -> Result<Started<O>, Problem> {
        meter::started(workflow, !handle.created());
        trace::led_to(span, handle.id());
        if handle.created() {
            let status = handle.seen_status();
            return Ok(Started::new(handle, status, self.asked()));
        }
        let info = handle.status().await?;
        if !self.may(Action::Read, &info) {
            // Another id holds the deduplication id, and whose that is concerns nobody else.
            let ours = asked == Some(handle.id());
            return Err(if ours {
                taken(handle.id())
            } else {
                Problem::of(problem::DEDUPLICATED).named(ErrorKind::QueueDeduplicated)
            });
        }
        trace::link(span, &info);
        let ended = info.status.is_some_and(WorkflowStatus::is_terminal);
        if self.scope.settings.concurrent == Concurrent::Conflict && !ended {
            let soon = HeaderValue::from_static("1");
            return Err(Problem::of(problem::KEY_IN_USE).about(handle.id()).with_header(RETRY_AFTER, soon));
        }
        Ok(Started::found(handle, &info, self.asked()))
    }
}

/// A workflow whose error is read as the runtime's, and whose result as an `O`: an answer needs the error's name and its
/// message, not its type.
struct Erased<'a, W, O>(&'a W, PhantomData<fn() -> O>);

impl<W: Target, O: Serialize + DeserializeOwned + Send + 'static> Target for Erased<'_, W, O> {
    type Input = W::Input;
    type Output = O;
    type Error = Error;

    fn name(&self) -> &str {
        self.0.name()
    }

    fn class_name(&self) -> Option<&str> {
        self.0.class_name()
    }

    fn config_name(&self) -> Option<&str> {
        self.0.config_name()
    }
}

/// The id is that of a workflow which is not the caller's.
fn taken(id: &WorkflowId) -> Problem {
    Problem::of(problem::ID_CONFLICT).named(ErrorKind::ConflictingWorkflow).about(id)
}
