//! What a handler holds: it starts workflows, sends to them and reads from them on behalf of the request.

use std::future::Future;
use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath};
use dbos_runtime::{
    Dbos, Error, ErrorKind, Start, Target, WorkflowHandle, WorkflowId, WorkflowInfo, WorkflowStatus,
};
use http::header::RETRY_AFTER;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use serde_json::Map;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::access::{Action, TENANT};
use crate::key::IdempotencyKey;
use crate::layer::{Concurrent, Scope};
use crate::links::Links;
use crate::meter;
use crate::patience::Patience;
use crate::principal::{IntoPrincipal, Principal};
use crate::problem::{self, Problem};
use crate::reply::{Asked, Started};
use crate::scope::Keyed;
use crate::seen::Seen;
use crate::trace::{self, Trace};

/// Put into requests by a server that drains them: cancelled when that begins.
#[derive(Clone, Debug)]
pub(crate) struct Draining(pub(crate) CancellationToken);

/// The request's way to the runtime. A handler takes it as an argument; [`DbosLayer`](crate::DbosLayer) has to be on
/// the route.
///
/// A request has one idempotency key and so one [`start`](Self::start); [`sub_key`](Self::sub_key) names further ones.
/// What is done on behalf of an [`owner`](Self::owner) concerns that owner's workflows only.
///
/// # Examples
///
/// ```
/// # use dbos_axum::{DbosCtx, Json, PreferWait, Principal, Problem, Reply, Started};
/// # use dbos_runtime::{Ctx, Error, workflow};
/// # #[workflow] async fn checkout(_: Ctx, cart: u32) -> Result<u32, Error> { Ok(cart) }
/// # #[workflow] async fn newsletter(_: Ctx, cart: u32) -> Result<(), Error> { Ok(()) }
/// async fn handler(ctx: DbosCtx, user: Principal, Json(cart): Json<u32>) -> Result<Started<u32>, Problem> {
///     let ctx = ctx.owner(&user);
///     ctx.sub_key("newsletter").start(newsletter, cart).await?;
///     ctx.start(checkout, cart).await
/// }
///
/// async fn patient(ctx: DbosCtx, wait: PreferWait, Json(cart): Json<u32>) -> Result<Reply<u32>, Problem> {
///     ctx.require_key().start(checkout, cart).await?.wait(wait).await
/// }
/// # let _ = axum::Router::<()>::new()
/// #     .route("/a", axum::routing::post(handler)).route("/b", axum::routing::post(patient));
/// ```
#[derive(Clone, Debug)]
pub struct DbosCtx {
    pub(crate) scope: Scope,
    pub(crate) seen: Arc<Seen>,
    pub(crate) draining: CancellationToken,
    pub(crate) trace: Arc<Trace>,
    links: Links,
    key: Result<Option<IdempotencyKey>, Problem>,
    key_required: bool,
    sub_key: Option<Arc<str>>,
    owner: Principal,
    system: bool,
}

impl DbosCtx {
    /// The runtime.
    pub fn dbos(&self) -> &Dbos {
        &self.scope.settings.dbos
    }

    /// The same, on behalf of that caller.
    #[must_use = "the context that was given is used up"]
    pub fn owner(self, who: &impl IntoPrincipal) -> Self {
        Self { owner: who.principal(), ..self }
    }

    /// The same, for the application itself, which may address every workflow, whoever owns it.
    #[must_use = "the context that was given is used up"]
    pub fn as_system(self) -> Self {
        Self { system: true, ..self }
    }

    /// The same, with that key in place of the one in the request's headers.
    #[must_use = "the context that was given is used up"]
    pub fn with_key(self, key: IdempotencyKey) -> Self {
        Self { key: Ok(Some(key)), ..self }
    }

    /// The same, but what takes an idempotency key is answered with 400 when the request has none.
    #[must_use = "the context that was given is used up"]
    pub fn require_key(self) -> Self {
        Self { key_required: true, ..self }
    }

    /// A context for one more operation under the request's key, which is told from the others by this name.
    #[must_use = "the name counts for what is done with the context that is returned"]
    pub fn sub_key(&self, name: &str) -> Self {
        Self { sub_key: Some(name.into()), ..self.clone() }
    }

    /// Cancelled when the server drains its requests or the runtime shuts down: a long response should end then.
    pub fn shutdown_token(&self) -> &CancellationToken {
        &self.draining
    }

    /// On whose behalf this is.
    pub(crate) fn caller(&self) -> &Principal {
        &self.owner
    }

    /// Starts a workflow under the request's idempotency key, or finds the one that the key has started. Without a
    /// key, it starts one under a fresh id.
    ///
    /// # Errors
    ///
    /// 400 for a key that is missing or not valid, 422 for one that was used with another input, 409 when the id
    /// belongs to another workflow, 503 when the database is away, 500 for a second start without a
    /// [`sub_key`](Self::sub_key).
    ///
    /// # Cancel safety
    ///
    /// Dropping it may or may not have started the workflow; the same request again tells.
    pub async fn start<W: Target>(
        &self,
        workflow: W,
        input: W::Input,
    ) -> Result<Started<W::Output>, Problem> {
        self.start_with(workflow, input, |start| start).await
    }

    /// The same, with more to say about the start.
    pub(crate) async fn start_with<W: Target>(
        &self,
        workflow: W,
        input: W::Input,
        options: impl FnOnce(Start<W::Output, Error>) -> Start<W::Output, Error>,
    ) -> Result<Started<W::Output>, Problem> {
        let claim = format!("start!{}", self.sub_key.as_deref().unwrap_or_default());
        let span = self.trace.start(workflow.name());
        let starting = async {
            let mapping = self.scope.settings.mapping;
            let id = self.keyed()?.map(|keyed| mapping.workflow_id(workflow.name(), keyed)).transpose()?;
            let name = workflow.name().to_owned();
            let start = options(self.dbos().start(Erased(workflow), input));
            match self.configured(start, id).await {
                Ok(handle) => self.found(&name, handle, &span).await,
                Err(error) => Err(self.refused(error).await),
            }
        };
        trace::within(&span, self.once(&claim, starting)).await
    }

    /// The same, with the links of an API that is mounted there.
    pub(crate) fn api_at(self, path: &str) -> Self {
        Self { links: Links::below(path), ..self }
    }

    /// What an answer takes from the request.
    pub(crate) fn asked(&self) -> Asked {
        let long_polls = Arc::clone(&self.scope.settings.long_polls);
        let patience = Patience { long_polls, draining: self.draining.clone() };
        Asked { dbos: self.dbos().clone(), patience, links: self.links.clone(), seen: Arc::clone(&self.seen) }
    }

    /// The facts of a workflow for a caller who may do that with it.
    pub(crate) async fn look(&self, id: &WorkflowId, to: Action) -> Result<WorkflowInfo, Problem> {
        let info = self.dbos().info(id).await?;
        // A foreign workflow gets the answer of one that is not there, so that nobody finds out which ids exist.
        if self.may(to, &info) {
            Ok(info)
        } else {
            Err(Problem::of(problem::NOT_FOUND).named(ErrorKind::NonExistentWorkflow).about(id))
        }
    }

    fn may(&self, to: Action, info: &WorkflowInfo) -> bool {
        self.system || self.scope.settings.policy.allows(&self.owner, to, info)
    }

    /// The request's key with what gives it its meaning; nothing when the request has none.
    pub(crate) fn keyed(&self) -> Result<Option<Keyed<'_>>, Problem> {
        match &self.key {
            Ok(Some(key)) => Ok(Some(Keyed { key, sub_key: self.sub_key.as_deref(), owner: &self.owner })),
            Ok(None) if self.key_required => Err(IdempotencyKey::missing()),
            Ok(None) => Ok(None),
            Err(problem) => Err(problem.clone()),
        }
    }

    /// Does something once in a request. A second time is refused, unless the first one failed.
    pub(crate) async fn once<T>(
        &self,
        claim: &str,
        doing: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let done = if self.scope.claim(claim) {
            doing.await.inspect_err(|_| self.scope.release(claim))
        } else {
            Err(used_up())
        };
        done.map_err(|problem| problem.within(&self.seen))
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
            Some(tenant) => start.attributes(&Map::from_iter([(TENANT.to_owned(), tenant.into())])),
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
            return Err(taken(handle.id()));
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

/// A workflow whose error is read as the runtime's: an answer needs its name and its message, not its type.
struct Erased<W>(W);

impl<W: Target> Target for Erased<W> {
    type Input = W::Input;
    type Output = W::Output;
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

fn used_up() -> Problem {
    let detail = "The request's idempotency key is used up: name each further operation of the handler with `sub_key`.";
    tracing::error!("{detail}");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR).with_detail(detail)
}

impl<S: Send + Sync> FromRequestParts<S> for DbosCtx {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(scope) = parts.extensions.get::<Scope>() else { return Err(no_layer(parts)) };
        let draining = match parts.extensions.get::<Draining>() {
            Some(Draining(token)) => token.clone(),
            None => scope.settings.dbos.shutdown_token(),
        };
        let seen = Arc::new(Seen::of(parts));
        Ok(Self {
            scope: scope.clone(),
            trace: Arc::new(Trace::of(parts, &seen, &scope.settings)),
            seen,
            draining,
            links: scope.settings.links.clone(),
            key: IdempotencyKey::read(&parts.headers),
            key_required: false,
            sub_key: None,
            owner: parts.extensions.get::<Principal>().cloned().unwrap_or_default(),
            system: false,
        })
    }
}

fn no_layer(parts: &Parts) -> Problem {
    let route = parts.extensions.get::<MatchedPath>().map_or("this route", MatchedPath::as_str);
    let detail = format!("DbosCtx needs DbosLayer: add `.layer(DbosLayer::new(dbos))` after {route}.");
    tracing::error!("{detail}");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR).with_detail(detail).within(&Seen::of(parts))
}
