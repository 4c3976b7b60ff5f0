//! Who asks, and whether they may: before anything else of a request is looked at.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use dbos_runtime::{Dbos, WorkflowId};
use http::header::{AUTHORIZATION, COOKIE, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use serde::Deserialize;

use super::Settings;
use crate::ctx::DbosCtx;
use crate::path::Path;
use crate::principal::{IntoPrincipal, Principal};
use crate::problem::{self, Problem};
use crate::seen::Seen;

/// An operator whom `E` has let in. The first argument of every handler.
pub(super) struct Operator<E> {
    pub(super) ctx: DbosCtx,
    pub(super) settings: Arc<Settings>,
    who: Principal,
    how: PhantomData<fn() -> E>,
}

impl<E> Operator<E> {
    pub(super) fn dbos(&self) -> &Dbos {
        self.ctx.dbos()
    }

    /// Says in the log who has changed what.
    pub(super) fn note(&self, done: &'static str, id: Option<&WorkflowId>) {
        tracing::info!(
            operator = self.who.user(),
            workflow.id = id.map(WorkflowId::as_str),
            "{done} by an operator"
        );
    }

    /// An error as the official servers tell theirs, and as the other routers of this crate do.
    pub(super) fn told(&self, problem: impl Into<Problem>) -> Problem {
        problem.into().with_error_text().within(&self.ctx.seen)
    }
}

impl<E, S> FromRequestParts<S> for Operator<E>
where
    E: FromRequestParts<S> + IntoPrincipal + Send + Sync,
    S: Send + Sync,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let settings = parts.extensions.get::<Arc<Settings>>().cloned().unwrap_or_default();
        if !settings.hosts.answer_for(parts) {
            let problem = Problem::new(StatusCode::MISDIRECTED_REQUEST).within(&Seen::of(parts));
            let detail =
                "The request is for a host that these routes do not answer for: `Admin::hosts` names them.";
            return Err(problem.with_detail(detail).into_response());
        }
        let who = E::from_request_parts(parts, state).await.map_err(IntoResponse::into_response)?;
        let ctx = DbosCtx::from_request_parts(parts, state).await.map_err(IntoResponse::into_response)?;
        Ok(Self { ctx, settings, who: who.principal(), how: PhantomData })
    }
}

/// An operator who has come with a bearer token: no browser sends one by itself, whatever page it shows. For a `GET`
/// that has an effect.
pub(super) struct Explicit<E>(pub(super) Operator<E>);

impl<E, S> FromRequestParts<S> for Explicit<E>
where
    E: FromRequestParts<S> + IntoPrincipal + Send + Sync,
    S: Send + Sync,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        // A route for GET takes HEAD too.
        if parts.method != Method::GET {
            return Err(crate::fallback::method_not_allowed(parts.method.clone(), parts.clone())
                .await
                .into_response());
        }
        let authorization = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let scheme = authorization.and_then(|value| value.split_once(' ')).map(|(scheme, _)| scheme);
        if !scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer")) {
            let problem = Problem::of(problem::UNAUTHENTICATED).within(&Seen::of(parts));
            return Err(problem
                .with_header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
                .into_response());
        }
        parts.headers.remove(COOKIE);
        Operator::from_request_parts(parts, state).await.map(Self)
    }
}

/// Anybody, who may be an operator.
pub(super) struct Visitor<E> {
    pub(super) ctx: DbosCtx,
    pub(super) settings: Arc<Settings>,
    pub(super) is_operator: bool,
    how: PhantomData<fn() -> E>,
}

impl<E, S> FromRequestParts<S> for Visitor<E>
where
    E: FromRequestParts<S> + IntoPrincipal + Send + Sync,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let ctx = DbosCtx::from_request_parts(parts, state).await?;
        let operator: Result<Operator<E>, Response> = Operator::from_request_parts(parts, state).await;
        let settings = parts.extensions.get::<Arc<Settings>>().cloned().unwrap_or_default();
        Ok(Self { ctx, settings, is_operator: operator.is_ok(), how: PhantomData })
    }
}

/// A workflow's id in the path, in whatever way the programs of other languages have made it.
pub(super) struct Id(pub(super) Result<WorkflowId, Problem>);

/// By name: a router around this one may have parameters of its own.
#[derive(Deserialize)]
struct ById {
    id: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let path = Path::<ById>::from_request_parts(parts, state).await;
        Ok(Self(path.and_then(|Path(by)| Ok(WorkflowId::parse(by.id)?))))
    }
}
