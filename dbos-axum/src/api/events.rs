//! What a workflow has published.

use axum::response::IntoResponse;
use dbos_runtime::Payload;
use http::HeaderMap;
use serde_json::{Map, Value, json};

use super::caller::Caller;
use super::params::{ById, ByKey};
use crate::access::Action;
use crate::event::EventReply;
use crate::json::Json;
use crate::path::Path;
use crate::prefer::PreferWait;
use crate::problem::Problem;
use crate::redact::Field;
use crate::reply;

pub(super) async fn all<E>(
    Caller { ctx, .. }: Caller<E>,
    Path(ById { id }): Path<ById>,
) -> Result<impl IntoResponse, Problem> {
    let read = async {
        let info = ctx.look(&id, Action::Read).await?;
        let workflow = info.name.as_deref().unwrap_or_default();
        let settings = &ctx.scope.settings;
        let shown = |(key, payload): (String, Payload)| {
            let value = settings.shown(workflow, Field::Event(&key), &payload);
            (key, value)
        };
        Ok(ctx.dbos().event_payloads(&id).await?.into_iter().map(shown).collect::<Map<_, _>>())
    };
    let events = read.await.map_err(|problem: Problem| problem.within(&ctx.seen))?;
    let mut headers = HeaderMap::new();
    reply::name(&mut headers, &id);
    Ok((headers, Json(json!({"events": events}))))
}

pub(super) async fn one<E>(
    Caller { ctx, .. }: Caller<E>,
    Path(ByKey { id, key }): Path<ByKey>,
    wait: PreferWait,
) -> Result<EventReply<Value>, Problem> {
    let read = async {
        let info = ctx.look(&id, Action::Read).await?;
        ctx.event_of(&info, &key, wait).await
    };
    read.await.map_err(|problem: Problem| problem.within(&ctx.seen))
}
