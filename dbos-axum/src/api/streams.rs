//! A workflow's streams, and the workflow itself as one.

use std::marker::PhantomData;

use axum::extract::{FromRequestParts, Query};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use serde::Deserialize;

use super::caller::Caller;
use super::params::{ById, ByKey};
use crate::ctx::DbosCtx;
use crate::ids::{Label, LastEventId, WorkflowId};
use crate::path::Path;
use crate::prefer::PreferWait;
use crate::principal::{IntoPrincipal, Principal};
use crate::problem::{self, Problem};
use crate::seen::Seen;
use crate::sse::{Format, StreamSse};

/// Who may read a stream: the caller that `E` finds, the holder of a token for it, or everybody, if it is public.
pub(super) struct Reader<E> {
    ctx: DbosCtx,
    id: WorkflowId,
    key: Label,
    how: PhantomData<fn() -> E>,
}

impl<E, S> FromRequestParts<S> for Reader<E>
where
    E: FromRequestParts<S> + IntoPrincipal + Send + Sync,
    S: Send + Sync,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let path = Path::<ByKey>::from_request_parts(parts, state).await;
        let ctx = DbosCtx::from_request_parts(parts, state).await.map_err(IntoResponse::into_response)?;
        let settings = &ctx.scope.settings;
        let ctx = match (Token::of(parts), &path) {
            (Token::Given(token), path) => {
                let who = settings.stream_tokens.as_ref().zip(path.as_ref().ok());
                let who = who.and_then(|(tokens, Path(at))| tokens.check(&token, &at.id, &at.key));
                let unknown = || Problem::of(problem::UNAUTHENTICATED).within(&ctx.seen).into_response();
                let who: Principal = who.ok_or_else(unknown)?;
                ctx.on_behalf_of(&who)
            }
            (Token::None, Ok(Path(at))) if settings.public_streams.contains(&*at.key) => ctx.as_system(),
            (Token::None, _) => Caller::<E>::from_request_parts(parts, state).await?.ctx,
        };
        let Path(ByKey { id, key }) = path.map_err(IntoResponse::into_response)?;
        Ok(Self { ctx, id, key, how: PhantomData })
    }
}

/// The query's `access_token`.
enum Token {
    None,
    Given(String),
}

impl Token {
    fn of(parts: &Parts) -> Self {
        #[derive(Deserialize)]
        struct Asked {
            access_token: Option<String>,
        }
        match Query::<Asked>::try_from_uri(&parts.uri) {
            Ok(Query(Asked { access_token: None })) => Self::None,
            Ok(Query(Asked { access_token: Some(token) })) => Self::Given(token),
            // Twice, or not to be read: that is no token, and it is not the same as none either.
            Err(_) => Self::Given(String::new()),
        }
    }
}

/// The query's `from`: where a client begins that has nothing yet.
pub(super) enum Begin {
    Start,
    Tail,
}

impl<S: Send + Sync> FromRequestParts<S> for Begin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Asked {
            from: Option<String>,
        }
        match Query::<Asked>::try_from_uri(&parts.uri) {
            Ok(Query(Asked { from: None })) => Ok(Self::Start),
            Ok(Query(Asked { from: Some(from) })) if from == "tail" => Ok(Self::Tail),
            _ => {
                let detail = "The query's `from` is `tail`, or is left out.";
                Err(Problem::of(problem::INVALID_ARGUMENT).with_detail(detail).within(&Seen::of(parts)))
            }
        }
    }
}

pub(super) async fn read<E>(
    Reader { ctx, id, key, .. }: Reader<E>,
    format: Format,
    at: LastEventId,
    begin: Begin,
    wait: PreferWait,
) -> Result<Response, Problem> {
    let read = ctx.public_read(&id, &key).resume(at);
    let read = match begin {
        Begin::Start => read,
        Begin::Tail => read.live(),
    };
    Ok(match format {
        Format::Events => read.sse().await?.into_response(),
        Format::Json => read.page(wait).await?.into_response(),
    })
}

pub(super) async fn watch<E>(
    Caller { ctx, .. }: Caller<E>,
    Path(ById { id }): Path<ById>,
    format: Format,
    at: LastEventId,
) -> Result<StreamSse, Problem> {
    match format {
        Format::Events => ctx.watch(&id, at).await,
        Format::Json => {
            let detail = "A watch is `text/event-stream`; the workflow's own address has its status.";
            let problem = Problem::new(http::StatusCode::NOT_ACCEPTABLE).with_detail(detail);
            Err(problem.within(&ctx.seen))
        }
    }
}
