//! The HTTP API about workflows: what a client may start, and how it follows, answers and cancels what it has started.

mod caller;
mod operation;
mod status;
mod streams;

use std::fmt;
use std::marker::PhantomData;

use axum::Router;
use axum::extract::FromRequestParts;

use crate::layer::DbosLayer;
use crate::principal::IntoPrincipal;
use crate::routes;

use operation::ROUTES;

pub(crate) use status::Status;

/// A router with the routes about workflows, for callers whom `E` knows.
///
/// | route | |
/// |---|---|
/// | `GET /workflows/{id}` | where a workflow stands |
/// | `POST /workflows/{id}/cancel` | cancels it |
/// | `GET /workflows/{id}/streams/{key}` | the values of a stream: live as server-sent events, or a page of them as JSON |
/// | `GET /workflows/{id}/watch` | its status and its steps as server-sent events, to its end |
///
/// Nest it where the layer's [`api_at`](DbosLayer::api_at) says, `/dbos` unless changed. It authenticates by itself:
/// `E` is an extractor, so no order of layers leaves a route open. A caller sees their own workflows only; the answer
/// about anything else is 404.
///
/// # Examples
///
/// ```
/// use axum::Router;
/// use dbos_axum::{AllowAnyone, WorkflowApi};
/// use dbos_runtime::Dbos;
///
/// fn app(dbos: Dbos) -> Router {
///     Router::new().nest("/dbos", WorkflowApi::<AllowAnyone>::new(dbos).into_router())
/// }
/// ```
#[must_use = "nothing is served until the router is nested"]
pub struct WorkflowApi<E> {
    layer: DbosLayer,
    caller: PhantomData<fn() -> E>,
}

impl<E> WorkflowApi<E> {
    /// The API over a runtime, or over a layer: then both have the same mapping of keys, policy and limits.
    pub fn new(layer: impl Into<DbosLayer>) -> Self {
        Self { layer: layer.into(), caller: PhantomData }
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
        routes::router(ROUTES, |operation, method| operation.handler::<E, S>(method)).layer(self.layer)
    }
}

impl<E> fmt::Debug for WorkflowApi<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkflowApi").field("layer", &self.layer).finish_non_exhaustive()
    }
}
