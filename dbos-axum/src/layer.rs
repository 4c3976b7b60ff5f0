//! `DbosLayer` puts a small scope into each request; [`DbosCtx`](crate::DbosCtx) takes it out.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use dbos_runtime::{Dbos, Payload};
use http::Request;
use serde_json::Value;
use tokio::sync::Semaphore;
use tower_layer::Layer;
use tower_service::Service;

use crate::access::{AccessPolicy, OwnersOnly};
use crate::links::Links;
use crate::redact::{Field, Redactor};
use crate::scope::{KeyMapping, Scoped, Verbatim};
use crate::sse::{Admission, StreamLimits, StreamTokens, Watches};
#[cfg(feature = "webhooks")]
use crate::webhooks::Callbacks;

/// As many requests of one layer wait for a workflow at a time; one more is answered at once.
const LONG_POLLS: usize = 1024;
/// Where the API about workflows is mounted by default.
const API: &str = "/dbos";

/// Gives the handlers of a router their [`DbosCtx`](crate::DbosCtx).
///
/// Add it after the routes: axum's `layer` covers what was added before. It reads no body and waits for nothing, so it
/// fits every tower service.
///
/// # Examples
///
/// ```
/// use axum::{Router, routing::post};
/// use dbos_axum::{DbosCtx, DbosLayer, Json, Problem, Scoped, Started};
/// use dbos_runtime::{Ctx, Dbos, Error, workflow};
///
/// #[workflow]
/// async fn double(_ctx: Ctx, n: u32) -> Result<u32, Error> {
///     Ok(2 * n)
/// }
///
/// async fn start(ctx: DbosCtx, Json(n): Json<u32>) -> Result<Started<u32>, Problem> {
///     ctx.start(double, n).await
/// }
///
/// fn app(dbos: Dbos) -> Router {
///     Router::new().route("/double", post(start)).layer(DbosLayer::new(dbos).idempotency(Scoped::default()))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct DbosLayer {
    settings: Arc<Settings>,
}

/// What a layer was told.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) dbos: Dbos,
    pub(crate) mapping: KeyMapping,
    pub(crate) compare_inputs: bool,
    pub(crate) concurrent: Concurrent,
    pub(crate) long_polls: Arc<Semaphore>,
    pub(crate) policy: Arc<dyn AccessPolicy>,
    pub(crate) redactor: Option<Arc<dyn Redactor>>,
    #[cfg(feature = "webhooks")]
    pub(crate) callbacks: Option<Callbacks>,
    pub(crate) streams: Arc<Admission>,
    pub(crate) stream_tokens: Option<StreamTokens>,
    pub(crate) public_streams: HashSet<String>,
    pub(crate) watches: Arc<Watches>,
    pub(crate) links: Links,
    #[cfg(feature = "otel")]
    pub(crate) trust_incoming_trace: bool,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("mapping", &self.mapping)
            .field("links", &self.links)
            .finish_non_exhaustive()
    }
}

/// What a request gets whose key is that of a request still at work.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum Concurrent {
    /// The workflow that is running: the same answer as the first request's.
    #[default]
    Attach,
    /// 409 with `Retry-After`, as the IETF's draft has it.
    Conflict,
}

impl DbosLayer {
    /// A layer whose handlers start, address and observe workflows of this runtime. Keys are [`Scoped`].
    pub fn new(dbos: Dbos) -> Self {
        let settings = Settings {
            dbos,
            mapping: Scoped.into(),
            compare_inputs: true,
            concurrent: Concurrent::default(),
            long_polls: Arc::new(Semaphore::new(LONG_POLLS)),
            policy: Arc::new(OwnersOnly),
            redactor: None,
            #[cfg(feature = "webhooks")]
            callbacks: None,
            streams: Arc::new(Admission::new(StreamLimits::default())),
            stream_tokens: None,
            public_streams: HashSet::new(),
            watches: Arc::default(),
            links: Links::below(API),
            #[cfg(feature = "otel")]
            trust_incoming_trace: true,
        };
        Self { settings: Arc::new(settings) }
    }

    /// How idempotency keys become the ids of workflows: [`Scoped`], which is the default, or [`Verbatim`].
    #[must_use]
    pub fn idempotency(mut self, mapping: impl Into<KeyMapping>) -> Self {
        let mapping = mapping.into();
        if mapping.is_verbatim() {
            tracing::warn!(
                "idempotency keys are taken as workflow ids: clients are trusted not to use each other's"
            );
        }
        self.settings().mapping = mapping;
        self
    }

    /// Takes idempotency keys as workflow ids, like the other DBOS SDKs: [`Verbatim`].
    #[must_use]
    pub fn trust_client_workflow_ids(self) -> Self {
        self.idempotency(Verbatim)
    }

    /// Lets a key that comes again with another input find the first one's workflow. Unless said, that is answered
    /// with 422.
    #[must_use]
    pub fn attach_whatever_the_input(mut self) -> Self {
        self.settings().compare_inputs = false;
        self
    }

    /// What a request gets whose key is that of a request still at work; [`Concurrent::Attach`] by default.
    #[must_use]
    pub fn on_concurrent(mut self, answer: Concurrent) -> Self {
        self.settings().concurrent = answer;
        self
    }

    /// How many requests may wait for a workflow at a time; 1024 by default. One more is answered at once, as if it
    /// had not asked to wait.
    #[must_use]
    pub fn long_polls(mut self, most: usize) -> Self {
        self.settings().long_polls = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        self
    }

    /// Who may see and change which workflow; [`OwnersOnly`] by default.
    #[must_use]
    pub fn policy(mut self, policy: impl AccessPolicy) -> Self {
        self.settings().policy = Arc::new(policy);
        self
    }

    /// Looks through each payload that the routers of this crate give out about a workflow, and may change it.
    #[must_use]
    pub fn redact(mut self, redactor: impl Redactor) -> Self {
        self.settings().redactor = Some(Arc::new(redactor));
        self
    }

    /// How many event streams may be open, and how long; see [`StreamLimits`].
    #[must_use]
    pub fn streams(mut self, limits: StreamLimits) -> Self {
        self.settings().streams = Arc::new(Admission::new(limits));
        self
    }

    /// Lets browsers read a stream with a token in its address; see [`StreamTokens`].
    #[must_use]
    pub fn stream_tokens(mut self, tokens: StreamTokens) -> Self {
        self.settings().stream_tokens = Some(tokens);
        self
    }

    /// Whether what a request does belongs to the trace that its `traceparent` names, which it does by default. At a
    /// public edge, where anybody can write that header, say `false`: then a trace of its own begins, linked to the
    /// other one.
    #[cfg(feature = "otel")]
    #[must_use]
    pub fn trust_incoming_trace(mut self, trust: bool) -> Self {
        self.settings().trust_incoming_trace = trust;
        self
    }

    /// With what [`DbosCtx::callback_url`](crate::DbosCtx::callback_url) makes addresses; without it, it makes none.
    #[cfg(feature = "webhooks")]
    #[must_use]
    pub fn callbacks(mut self, callbacks: Callbacks) -> Self {
        self.settings().callbacks = Some(callbacks);
        self
    }

    /// What a router of deliveries takes from the layer.
    #[cfg(feature = "webhooks")]
    pub(crate) fn delivering(&self) -> (Dbos, Option<Callbacks>) {
        (self.settings.dbos.clone(), self.settings.callbacks.clone())
    }

    /// The path at which the [API about workflows](crate::WorkflowApi) is mounted, for the links in the answers of the
    /// application's own handlers; `/dbos` by default. The API itself finds out where it is.
    #[must_use]
    pub fn api_at(mut self, path: &str) -> Self {
        self.settings().links = Links::below(path);
        self
    }

    /// Where the API about workflows is mounted.
    #[cfg(feature = "openapi")]
    pub(crate) fn api(&self) -> &str {
        self.settings.links.path()
    }

    pub(crate) fn settings(&mut self) -> &mut Settings {
        Arc::make_mut(&mut self.settings)
    }
}

impl From<Dbos> for DbosLayer {
    fn from(dbos: Dbos) -> Self {
        Self::new(dbos)
    }
}

impl Settings {
    /// A payload as it is given out. With a redactor, what only another language reads is null: there is nothing in it that
    /// could be redacted.
    pub(crate) fn shown(&self, workflow: &str, field: Field<'_>, payload: &Payload) -> Value {
        if self.redactor.is_none() {
            return payload.value();
        }
        let mut value = payload.json().unwrap_or_default();
        self.redact(workflow, field, &mut value);
        value
    }

    /// Shows a payload to the redactor, if there is one.
    pub(crate) fn redact(&self, workflow: &str, field: Field<'_>, value: &mut Value) {
        if let Some(redactor) = &self.redactor {
            redactor.redact(workflow, field, value);
        }
    }
}

impl<S> Layer<S> for DbosLayer {
    type Service = DbosService<S>;

    fn layer(&self, inner: S) -> DbosService<S> {
        DbosService { inner, settings: Arc::clone(&self.settings) }
    }
}

/// The service that [`DbosLayer`] makes.
#[derive(Clone, Debug)]
pub struct DbosService<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S, B> Service<Request<B>> for DbosService<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let scope = Scope { settings: Arc::clone(&self.settings), used: Arc::default() };
        request.extensions_mut().insert(scope);
        self.inner.call(request)
    }
}

/// One request's share of a layer.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    pub(crate) settings: Arc<Settings>,
    used: Arc<Mutex<HashSet<String>>>,
}

impl Scope {
    /// Notes that the request's key is used for this; `false` when it was already.
    pub(crate) fn claim(&self, what: &str) -> bool {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(what.to_owned())
    }

    /// Takes a claim back, for an operation that did not happen.
    pub(crate) fn release(&self, what: &str) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).remove(what);
    }
}
