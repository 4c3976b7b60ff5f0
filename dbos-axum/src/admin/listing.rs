//! Workflows are listed and looked into.

use axum::extract::{FromRequestParts, Query};
use dbos_runtime::StepFilter;
use http::request::Parts;
use serde::Deserialize;

use super::body::{Object, OrDefault};
use super::filter::{Wanted, page};
use super::operator::{Id, Operator};
use super::rows::{Step, Workflow};
use crate::json::Json;
use crate::problem::{self, Problem};

/// Steps of one answer.
const MOST_STEPS: i64 = 10_000;

type Wish = Result<OrDefault<Object<Wanted>>, Problem>;

pub(super) async fn list<E>(operator: Operator<E>, wish: Wish) -> Result<Json<Vec<Workflow>>, Problem> {
    found(&operator, wish).await
}

pub(super) async fn list_queued<E>(
    operator: Operator<E>,
    wish: Wish,
) -> Result<Json<Vec<Workflow>>, Problem> {
    found(&operator, wish.map(|OrDefault(Object(wanted))| OrDefault(Object(wanted.queued())))).await
}

async fn found<E>(operator: &Operator<E>, wish: Wish) -> Result<Json<Vec<Workflow>>, Problem> {
    let listed = async {
        let OrDefault(Object(wanted)) = wish?;
        let filter = wanted.filter(operator.settings.show_payloads)?;
        Ok(operator.dbos().workflows().list(&filter).await?)
    };
    let workflows = listed.await.map_err(|problem: Problem| operator.told(problem))?;
    let settings = &operator.ctx.scope.settings;
    Ok(Json(workflows.into_iter().map(|info| Workflow::of(info, settings)).collect()))
}

pub(super) async fn show<E>(operator: Operator<E>, Id(id): Id) -> Result<Json<Workflow>, Problem> {
    let looked = async {
        let id = id?;
        Ok(match operator.settings.show_payloads {
            true => operator.dbos().workflows().info(&id).await?,
            false => operator.dbos().info(&id).await?,
        })
    };
    let info = looked.await.map_err(|problem: Problem| operator.told(problem))?;
    Ok(Json(Workflow::of(info, &operator.ctx.scope.settings)))
}

/// Which steps; all of them, as far as they fit into an answer.
#[derive(Debug, Deserialize)]
struct Pages {
    limit: Option<i64>,
    offset: Option<i64>,
}

pub(super) struct Page(Result<StepFilter, Problem>);

impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let filter = || {
            let Query(pages) = Query::<Pages>::try_from_uri(&parts.uri).map_err(|_| {
                Problem::of(problem::INVALID_ARGUMENT).with_detail("`limit` and `offset` are numbers.")
            })?;
            let limit = page("limit", pages.limit.unwrap_or(MOST_STEPS), 1, MOST_STEPS)?;
            let offset = page("offset", pages.offset.unwrap_or(0), 0, i64::from(u32::MAX))?;
            Ok(StepFilter::new().limit(limit).offset(offset.into()))
        };
        Ok(Self(filter()))
    }
}

pub(super) async fn steps<E>(
    operator: Operator<E>,
    Id(id): Id,
    Page(filter): Page,
) -> Result<Json<Vec<Step>>, Problem> {
    let show = operator.settings.show_payloads;
    let looked = async {
        let (id, filter) = (id?, filter?);
        let filter = if show { filter } else { filter.without_output() };
        let workflows = operator.dbos().workflows();
        let steps = workflows.steps(&id, &filter).await?;
        // A redactor wants to know whose steps they are.
        let name = match (show && !steps.is_empty(), &operator.ctx.scope.settings.redactor) {
            (true, Some(_)) => operator.dbos().info(&id).await?.name,
            _ => None,
        };
        Ok((name.unwrap_or_default(), steps))
    };
    let (name, steps) = looked.await.map_err(|problem: Problem| operator.told(problem))?;
    let settings = &operator.ctx.scope.settings;
    Ok(Json(steps.into_iter().map(|info| Step::of(info, &name, settings)).collect()))
}
