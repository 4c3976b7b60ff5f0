//! The page at an address, for those who may see it.

use std::fmt;
use std::marker::PhantomData;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::response::IntoResponse;
use axum::routing::{MethodFilter, MethodRouter, on};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use super::page::Metrics;
use crate::principal::IntoPrincipal;
use crate::routes::{self, Route, Verb};

/// The content type of Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A router with `GET /metrics`, for callers whom `E` knows.
///
/// `E` is an extractor, so the page cannot be served to everybody by mistake: names of workflows, queues and routes are
/// on it. Nest the router where Prometheus shall find it.
///
/// # Examples
///
/// ```
/// use axum::Router;
/// use dbos_axum::{Metrics, MetricsPage, Principal};
///
/// fn app(metrics: Metrics) -> Router {
///     Router::new().nest("/ops", MetricsPage::<Principal>::new(metrics).into_router())
/// }
/// ```
#[must_use = "nothing is served until the router is nested"]
pub struct MetricsPage<E> {
    metrics: Metrics,
    caller: PhantomData<fn() -> E>,
}

#[derive(Clone, Copy)]
enum Operation {
    Page,
}

const ROUTES: &[Route<Operation>] =
    &[Route { method: Verb::Get, path: "/metrics", operation: Operation::Page }];

impl<E> MetricsPage<E> {
    /// The page of these numbers.
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics, caller: PhantomData }
    }

    /// The router, for an application with any state that `E` can be extracted with.
    pub fn into_router<S>(self) -> Router<S>
    where
        E: FromRequestParts<S> + IntoPrincipal + Send + Sync + 'static,
        S: Clone + Send + Sync + 'static,
    {
        let metrics = self.metrics;
        routes::router(
            ROUTES,
            |operation, method| match operation {
                Operation::Page => page::<E, S>(method, metrics.clone()),
            },
            Vec::new(),
        )
    }
}

/// What answers with the page, for a router that has it among its routes.
pub(crate) fn page<E, S>(method: MethodFilter, metrics: Metrics) -> MethodRouter<S>
where
    E: FromRequestParts<S> + Send + 'static,
    S: Clone + Send + Sync + 'static,
{
    on(method, async move |_: E| {
        let headers = [(CONTENT_TYPE, TEXT), (CACHE_CONTROL, "no-store")];
        (headers, metrics.render().await).into_response()
    })
}

impl<E> fmt::Debug for MetricsPage<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsPage").field("metrics", &self.metrics).finish_non_exhaustive()
    }
}
