//! The routes of the DBOS admin servers, locked.

mod body;
mod changes;
#[cfg(feature = "openapi")]
mod describe;
mod filter;
mod health;
mod hosts;
mod listing;
mod operation;
mod operator;
mod queues;
mod rows;
mod upkeep;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, FromRequestParts};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
#[cfg(feature = "metrics")]
use axum::routing::MethodFilter;
use axum::{Extension, Router};
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};
use tower_http::csrf::{CsrfLayer, ProtectionError};

use crate::layer::DbosLayer;
#[cfg(feature = "metrics")]
use crate::meter;
#[cfg(feature = "openapi")]
use crate::openapi;
use crate::principal::IntoPrincipal;
use crate::problem::Problem;
use crate::routes;

use hosts::Hosts;
use operation::ROUTES;
#[cfg(any(feature = "metrics", feature = "openapi"))]
use operator::Operator;

/// A larger body is refused with 413.
const BODY_BYTES: usize = 1024 * 1024;

/// A router with the routes of the DBOS admin servers, for operators whom `E` knows.
///
/// Paths, bodies and statuses are those of the official admin servers, so their tools work; the guide's page on the
/// admin routes tells what differs, and why. Operators see and manage the workflows of every caller.
///
/// | route | |
/// |---|---|
/// | `GET /dbos-healthz` | open: this process answers |
/// | `GET /readyz` | open: 200 when it takes work and its database answers, else 503 |
/// | `GET /conductor` | that these routes are there |
/// | `POST /deactivate`, `POST /reactivate` | [takes no more work](dbos_runtime::Dbos::deactivate), and takes it again |
/// | `GET /deactivate` | the same, with a bearer token only |
/// | `GET /dbos-workflow-queues-metadata` | the queues and their limits |
/// | `POST /dbos-workflow-recovery` | `["executor-1"]`: [recovers](dbos_runtime::Dbos::recover) the work of dead executors |
/// | `POST /dbos-garbage-collect` | deletes what ended long ago |
/// | `POST /dbos-global-timeout` | cancels what was started long ago |
/// | `POST /workflows`, `POST /queues` | lists workflows, and those that wait on queues |
/// | `GET /workflows/{id}`, `GET /workflows/{id}/steps` | one workflow, and what it has done |
/// | `POST /workflows/{id}/cancel`, `…/resume`, `…/restart`, `…/fork` | manages it |
/// | `GET /openapi.json` | feature `openapi`: these routes, described |
/// | `GET /metrics` | feature `metrics`, when [given](Self::metrics): the page for Prometheus |
///
/// It cannot be built without saying who may enter, and no order of layers leaves a route open:
///
/// ```compile_fail
/// # use dbos_axum::Admin;
/// fn app(dbos: dbos_runtime::Dbos) -> axum::Router {
///     axum::Router::new().nest("/admin", Admin::new(dbos).into_router())
/// }
/// ```
///
/// What workflows were given and have returned stays hidden unless [told](Self::show_payloads) otherwise. Requests are
/// taken for loopback hosts only unless [others](Self::hosts) are named, and not from the pages of other sites.
///
/// # Examples
///
/// ```
/// use axum::Router;
/// use dbos_axum::{Admin, BearerToken, InvalidSecret, Principal, Tokens};
/// use dbos_runtime::Dbos;
///
/// fn app(dbos: Dbos, token: &str) -> Result<Router, InvalidSecret> {
///     let operators = Tokens::new().add(Principal::new("ops").with_roles(["operator"]), token)?;
///     let admin = Admin::<BearerToken>::new(dbos).hosts(["ops.example.com"]).into_router();
///     Ok(Router::new().nest("/admin", admin).with_state(operators))
/// }
/// ```
#[must_use = "nothing is served until the router is nested"]
pub struct Admin<E> {
    layer: DbosLayer,
    settings: Settings,
    #[cfg(feature = "metrics")]
    metrics: Option<meter::Metrics>,
    #[cfg(feature = "openapi")]
    about: openapi::About,
    operator: PhantomData<fn() -> E>,
}

/// What the routes were told.
#[derive(Clone, Default)]
struct Settings {
    hosts: Hosts,
    show_payloads: bool,
    pulse: Arc<health::Pulse>,
}

impl<E> Admin<E> {
    /// The routes over a runtime, or over a layer, of which they take the [redactor](DbosLayer::redact).
    pub fn new(layer: impl Into<DbosLayer>) -> Self {
        Self {
            layer: layer.into(),
            settings: Settings::default(),
            #[cfg(feature = "metrics")]
            metrics: None,
            #[cfg(feature = "openapi")]
            about: describe::about(),
            operator: PhantomData,
        }
    }

    /// Whether operators see what workflows and steps were given, have returned and have failed with. They do not
    /// by default.
    pub fn show_payloads(mut self, show: bool) -> Self {
        self.settings.show_payloads = show;
        self
    }

    /// Answers for these hosts too, whatever the port: the names under which operators reach the routes. Unless said,
    /// it is `localhost` and the loopback addresses alone; anything else is answered with 421. So a page that has its
    /// own name lead to this machine gets nowhere.
    pub fn hosts(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.settings.hosts.add(names.into_iter().map(Into::into));
        self
    }

    /// Answers for every host, where something in front checks it.
    pub fn any_host(mut self) -> Self {
        self.settings.hosts = Hosts::Any;
        self
    }

    /// Shows operators the page of these numbers, at `GET /metrics`.
    #[cfg(feature = "metrics")]
    pub fn metrics(mut self, metrics: meter::Metrics) -> Self {
        self.metrics = Some(metrics);
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
            Some((openapi::PATH, openapi::served::<Operator<E>, S>(self.openapi()))),
            #[cfg(feature = "metrics")]
            self.metrics
                .map(|metrics| ("/metrics", meter::page::<Operator<E>, S>(MethodFilter::GET, metrics))),
            None,
        ];
        let extra = extra.into_iter().flatten().collect();
        routes::router(ROUTES, |operation, method| operation.handler::<E, S>(method), extra)
            .layer(DefaultBodyLimit::max(BODY_BYTES))
            .layer(Extension(Arc::new(self.settings)))
            .layer(self.layer)
            .layer(CsrfLayer::new().with_rejection_response(of_another_site))
            .layer(map_response(unstored))
    }
}

impl<E> fmt::Debug for Admin<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("hosts", &self.settings.hosts)
            .field("show_payloads", &self.settings.show_payloads)
            .finish_non_exhaustive()
    }
}

fn of_another_site(_: ProtectionError) -> Response {
    let problem = Problem::new(StatusCode::FORBIDDEN);
    problem.with_detail("The page of another site has sent the request.").into_response()
}

async fn unstored(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
