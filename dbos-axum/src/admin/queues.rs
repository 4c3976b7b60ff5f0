//! The queues with their limits, as the official servers tell them.

use dbos_runtime::{Queue, RateLimit};
use serde::Serialize;

use super::operator::Operator;
use crate::json::Json;
use crate::problem::Problem;

/// Every SDK has it, and none registers it.
const INTERNAL: &str = "_dbos_internal_queue";

/// What is not limited is left out.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker_concurrency: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<Rate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition_concurrency: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition_worker_concurrency: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition_rate_limit: Option<Rate>,
}

/// So many within so many seconds.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
struct Rate {
    limit: u32,
    period: f64,
}

impl From<RateLimit> for Rate {
    fn from(rate: RateLimit) -> Self {
        Self { limit: rate.limit, period: rate.period.as_secs_f64() }
    }
}

impl From<Queue> for Metadata {
    fn from(queue: Queue) -> Self {
        Self {
            name: queue.name,
            concurrency: queue.concurrency,
            worker_concurrency: queue.worker_concurrency,
            rate_limit: queue.rate_limit.map(Rate::from),
            partition_concurrency: queue.partition_concurrency,
            partition_worker_concurrency: queue.partition_worker_concurrency,
            partition_rate_limit: queue.partition_rate_limit.map(Rate::from),
        }
    }
}

pub(super) async fn metadata<E>(operator: Operator<E>) -> Result<Json<Vec<Metadata>>, Problem> {
    let queues = operator.dbos().queues().list().await.map_err(|error| operator.told(error))?;
    let all = std::iter::once(Queue::new(INTERNAL)).chain(queues);
    Ok(Json(all.map(Metadata::from).collect()))
}
