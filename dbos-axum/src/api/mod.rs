//! The HTTP API about workflows: what a client may start, and how it follows, answers and cancels what it has started.

mod caller;
mod cross_site;
#[cfg(feature = "openapi")]
mod describe;
mod events;
mod exposed;
mod messages;
mod operation;
mod options;
mod params;
mod result;
mod start;
mod status;
mod streams;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts};
use http::Method;

use crate::layer::DbosLayer;
#[cfg(feature = "openapi")]
use crate::openapi;
use crate::principal::IntoPrincipal;
use crate::routes;

pub use exposed::Exposed;
pub use options::StartOption;

use exposed::Exposures;
use operation::ROUTES;

pub(crate) use status::Status;

/// Bytes of a request's body, by default.
const BODY_BYTES: usize = 1024 * 1024;

/// A router with the routes about workflows, for callers whom `E` knows.
///
/// | route | |
/// |---|---|
/// | `POST /start/{name}` | starts a workflow that is [exposed](Self::expose), or finds the one that the key has started |
/// | `GET /workflows/{id}` | where a workflow stands |
/// | `GET /workflows/{id}/result` | how it ended; `Prefer: wait=n` waits for it |
/// | `GET /workflows/{id}/events` | all that it has published |
/// | `GET /workflows/{id}/events/{key}` | one event; `Prefer: wait=n` waits for it |
/// | `POST /workflows/{id}/messages`, `/messages/{topic}` | sends it a message |
/// | `POST /workflows/{id}/cancel` | cancels it |
/// | `GET /workflows/{id}/streams/{key}` | the values of a stream: live as server-sent events, or a page of them as JSON |
/// | `GET /workflows/{id}/watch` | its status and its steps as server-sent events, to its end |
///
/// Nest it; it finds out where it is for the links in its answers. It authenticates by itself: `E` is an extractor, so
/// no order of layers leaves a route open. A caller sees their own workflows only; the answer about anything else is
/// 404. What a page of another site makes a browser send is taken as JSON only, which a browser does not send without
/// the leave of a CORS layer.
///
/// # Examples
///
/// ```
/// use axum::Router;
/// use dbos_axum::{AllowAnyone, WorkflowApi};
/// use dbos_runtime::{Ctx, Dbos, Error, workflow};
///
/// #[workflow]
/// async fn greet(_ctx: Ctx, name: String) -> Result<String, Error> {
///     Ok(format!("Hello, {name}!"))
/// }
///
/// fn app(dbos: Dbos) -> Router {
///     Router::new().nest("/dbos", WorkflowApi::<AllowAnyone>::new(dbos).expose(greet).into_router())
/// }
/// ```
///
/// ```text
/// curl localhost:3000/dbos/start/greet -H 'Prefer: wait=10' -H "Idempotency-Key: $(uuidgen)" --json '"Ada"'
/// ```
#[must_use = "nothing is served until the router is nested"]
pub struct WorkflowApi<E> {
    layer: DbosLayer,
    exposures: Exposures,
    body_limit: usize,
    #[cfg(feature = "openapi")]
    about: openapi::About,
    caller: PhantomData<fn() -> E>,
}

impl<E> WorkflowApi<E> {
    /// The API over a runtime, or over a layer: then both have the same mapping of keys, policy and limits.
    pub fn new(layer: impl Into<DbosLayer>) -> Self {
        Self {
            layer: layer.into(),
            exposures: Exposures::default(),
            body_limit: BODY_BYTES,
            #[cfg(feature = "openapi")]
            about: describe::about(),
            caller: PhantomData,
        }
    }

    /// Lets clients start a workflow. The body of the request is its input, and is refused with 422 when it has another
    /// shape. [`Exposed`] says more about it.
    pub fn expose(mut self, workflow: impl Into<Exposed>) -> Self {
        self.exposures.add(workflow.into());
        self
    }

    /// Lets clients start a workflow under another name than its own.
    pub fn expose_as(self, name: impl Into<String>, workflow: impl Into<Exposed>) -> Self {
        self.expose(workflow.into().named(name))
    }

    /// Lets clients start every workflow that is registered, but for those of the runtime itself. What was
    /// [exposed](Self::expose) stays as it is.
    ///
    /// Of the others the types are not known here: a body of another shape than the workflow takes starts a workflow that
    /// fails. A body is one argument; several are sent as `{"positionalArgs": […], "namedArgs": {…}}`.
    pub fn expose_all(mut self) -> Self {
        self.exposures.all = true;
        self
    }

    /// What clients may say about their starts in the query. Unless said, nothing.
    pub fn allow(mut self, options: impl IntoIterator<Item = StartOption>) -> Self {
        self.exposures.allowed.extend(options);
        self
    }

    /// A start without an idempotency key is answered with 400.
    pub fn require_key(mut self) -> Self {
        self.exposures.key_required = true;
        self
    }

    /// The largest body of a request, in bytes; 1 MiB by default. A larger one is answered with 413.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// Methods and paths of the routes, below where the router is nested.
    pub fn routes() -> impl Iterator<Item = (Method, &'static str)> {
        ROUTES.iter().map(|route| (route.method.name(), route.path))
    }

    /// Opens the streams of that key, of every workflow, to everybody who knows the workflow's id, without authentication.
    pub fn public_stream(mut self, key: impl Into<String>) -> Self {
        self.layer.settings().public_streams.insert(key.into());
        self
    }

    /// The router, for an application with any state that `E` can be extracted with.
    pub fn into_router<S>(self) -> Router<S>
    where
        E: FromRequestParts<S> + IntoPrincipal + Send + Sync + 'static,
        S: Clone + Send + Sync + 'static,
    {
        let extra = [
            #[cfg(feature = "openapi")]
            Some((openapi::PATH, openapi::served::<(), S>(self.openapi()))),
            None,
        ];
        let extra = extra.into_iter().flatten().collect();
        let exposures = Arc::new(self.exposures);
        let router =
            routes::router(ROUTES, |operation, method| operation.handler::<E, S>(method, &exposures), extra);
        router.layer(DefaultBodyLimit::max(self.body_limit)).layer(self.layer)
    }
}

impl<E> fmt::Debug for WorkflowApi<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkflowApi")
            .field("layer", &self.layer)
            .field("exposures", &self.exposures)
            .finish_non_exhaustive()
    }
}
