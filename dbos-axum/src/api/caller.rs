//! Authentication, before anything else of a request is looked at.

use std::marker::PhantomData;

use axum::extract::{FromRequestParts, OriginalUri};
use axum::response::{IntoResponse, Response};
use http::request::Parts;

use super::cross_site;
use crate::ctx::DbosCtx;
use crate::principal::IntoPrincipal;
use crate::problem::{self, Problem};

/// The context of a request on behalf of the caller that `E` finds. The first argument of every handler.
pub(super) struct Caller<E> {
    pub(super) ctx: DbosCtx,
    how: PhantomData<fn() -> E>,
}

impl<E, S> FromRequestParts<S> for Caller<E>
where
    E: FromRequestParts<S> + IntoPrincipal + Send + Sync,
    S: Send + Sync,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let who = E::from_request_parts(parts, state).await.map_err(IntoResponse::into_response)?;
        let ctx = DbosCtx::from_request_parts(parts, state).await.map_err(IntoResponse::into_response)?;
        if cross_site::is_forged(parts) {
            return Err(Problem::of(problem::CROSS_SITE).within(&ctx.seen).into_response());
        }
        let ctx = match mounted_at(parts) {
            Some(path) => ctx.api_at(path),
            None => ctx,
        };
        Ok(Self { ctx: ctx.on_behalf_of(&who), how: PhantomData })
    }
}

/// The path at which the router is nested: what outer routers have taken away from the request's.
fn mounted_at(parts: &Parts) -> Option<&str> {
    let OriginalUri(original) = parts.extensions.get()?;
    original.path().strip_suffix(parts.uri.path())
}
