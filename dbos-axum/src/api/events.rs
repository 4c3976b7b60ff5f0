//! What a workflow has published.

use axum::response::IntoResponse;
use http::HeaderMap;
use serde_json::{Value, json};

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
        let mut events = ctx.dbos().get_all_events(&id).await?;
        for (key, value) in &mut events {
            let workflow = info.name.as_deref().unwrap_or_default();
            ctx.scope.settings.redact(workflow, Field::Event(key), value);
        }
        Ok(events)
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
        let mut reply = ctx.event_of(&info, &key, wait).await?;
        if let Some(value) = reply.value_mut() {
            let workflow = info.name.as_deref().unwrap_or_default();
            ctx.scope.settings.redact(workflow, Field::Event(&key), value);
        }
        Ok(reply)
    };
    read.await.map_err(|problem: Problem| problem.within(&ctx.seen))
}
