//! What a listing is asked for, as the official servers and their console ask.

use dbos_runtime::{Filter, Timestamp, WorkflowStatus};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde_json::{Map, Value};

use crate::problem::{self, Problem};

/// Rows of one answer, unless fewer are asked for. More is refused: an answer has to fit into memory.
const MOST: i64 = 10_000;

/// A body. What is missing, null or empty does not narrow the listing; what is not known is not looked at.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub(super) struct Wanted {
    workflow_uuids: Option<Vec<String>>,
    workflow_name: Option<Texts>,
    authenticated_user: Option<Texts>,
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    start_time: Option<String>,
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    end_time: Option<String>,
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    completed_after: Option<String>,
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    completed_before: Option<String>,
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    dequeued_after: Option<String>,
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    dequeued_before: Option<String>,
    status: Option<Texts>,
    application_version: Option<Texts>,
    #[serde(alias = "fork_from")]
    forked_from: Option<Texts>,
    parent_workflow_id: Option<Texts>,
    queue_name: Option<Texts>,
    workflow_id_prefix: Option<Texts>,
    executor_id: Option<Texts>,
    schedule_name: Option<Texts>,
    application_name: Option<Texts>,
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    attributes: Option<Map<String, Value>>,
    was_forked_from: Option<bool>,
    has_parent: Option<bool>,
    queues_only: Option<bool>,
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 10_000))]
    limit: Option<i64>,
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 4_294_967_295i64))]
    offset: Option<i64>,
    sort_desc: Option<bool>,
    load_input: Option<bool>,
    load_output: Option<bool>,
}

/// How a filter takes a condition.
type Narrow<T> = fn(Filter, T) -> Filter;

/// One text, or several.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged, expecting = "a text or a list of texts")]
enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Texts {
    fn list(texts: Option<Self>) -> Option<Vec<String>> {
        let texts = match texts? {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        };
        Some(texts).filter(|texts| !texts.is_empty())
    }
}

impl Wanted {
    /// The same of what waits on a queue. The official servers load what that has returned unless told not to.
    pub(super) fn queued(self) -> Self {
        Self { queues_only: Some(true), load_output: Some(self.load_output != Some(false)), ..self }
    }

    /// The filter, which loads payloads if they may be `shown`.
    pub(super) fn filter(self, shown: bool) -> Result<Filter, Problem> {
        let mut filter = Filter::new().limit(page("limit", self.limit.unwrap_or(MOST), 1, MOST)?);
        filter = filter.offset(page("offset", self.offset.unwrap_or(0), 0, i64::from(u32::MAX))?.into());
        let texts: [(_, Narrow<Vec<String>>); 10] = [
            (self.workflow_uuids.map(Texts::Many), |filter, texts| filter.ids(texts)),
            (self.workflow_name, |filter, texts| filter.names(texts)),
            (self.authenticated_user, |filter, texts| filter.users(texts)),
            (self.application_version, |filter, texts| filter.versions(texts)),
            (self.forked_from, |filter, texts| filter.forked_from(texts)),
            (self.parent_workflow_id, |filter, texts| filter.parents(texts)),
            (self.queue_name, |filter, texts| filter.queues(texts)),
            (self.workflow_id_prefix, |filter, texts| filter.id_prefixes(texts)),
            (self.executor_id, |filter, texts| filter.executors(texts)),
            (self.schedule_name, |filter, texts| filter.schedules(texts)),
        ];
        for (texts, narrow) in texts {
            if let Some(texts) = Texts::list(texts) {
                filter = narrow(filter, texts);
            }
        }
        if let Some(names) = Texts::list(self.application_name) {
            filter = filter.applications(names);
        }
        if let Some(statuses) = Texts::list(self.status) {
            filter =
                filter.statuses(statuses.iter().map(|text| status(text)).collect::<Result<Vec<_>, _>>()?);
        }
        let times: [(_, Narrow<Timestamp>); 6] = [
            (self.start_time, Filter::created_after),
            (self.end_time, Filter::created_before),
            (self.completed_after, Filter::completed_after),
            (self.completed_before, Filter::completed_before),
            (self.dequeued_after, Filter::dequeued_after),
            (self.dequeued_before, Filter::dequeued_before),
        ];
        for (text, narrow) in times {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                filter = narrow(filter, text.parse()?);
            }
        }
        if let Some(attributes) = self.attributes.filter(|attributes| !attributes.is_empty()) {
            filter = filter.attributes(&attributes);
        }
        if let Some(was) = self.was_forked_from {
            filter = filter.was_forked_from(was);
        }
        if let Some(has) = self.has_parent {
            filter = filter.has_parent(has);
        }
        if self.queues_only == Some(true) {
            filter = filter.queued();
        }
        if self.sort_desc == Some(true) {
            filter = filter.newest_first();
        }
        if shown && self.load_input == Some(true) {
            filter = filter.with_input();
        }
        if shown && self.load_output == Some(true) {
            filter = filter.with_output();
        }
        Ok(filter)
    }
}

/// A number of rows.
pub(super) fn page(name: &str, rows: i64, least: i64, most: i64) -> Result<u32, Problem> {
    let rows =
        Some(rows).filter(|rows| (least..=most).contains(rows)).and_then(|rows| u32::try_from(rows).ok());
    rows.ok_or_else(|| {
        let detail = format!("`{name}` is between {least} and {most}.");
        Problem::of(problem::INVALID_ARGUMENT).with_detail(detail)
    })
}

fn status(text: &str) -> Result<WorkflowStatus, Problem> {
    let deserializer: StrDeserializer<'_, ValueError> = text.into_deserializer();
    WorkflowStatus::deserialize(deserializer).map_err(|_| {
        Problem::of(problem::INVALID_ARGUMENT).with_detail("`status` is DELAYED, ENQUEUED, PENDING, SUCCESS, ERROR, CANCELLED or MAX_RECOVERY_ATTEMPTS_EXCEEDED.")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filter(body: Value) -> Result<Filter, Problem> {
        serde_json::from_value::<Wanted>(body).unwrap().filter(true)
    }

    // B64
    #[test]
    fn pages_states_and_times_that_make_no_sense_are_refused() {
        let bad = [
            json!({"limit": 0}),
            json!({"limit": -1}),
            json!({"limit": 1_000_000_000}),
            json!({"limit": i64::MAX}),
            json!({"offset": -1}),
            json!({"offset": i64::MAX}),
            json!({"status": "success"}),
            json!({"status": ["SUCCESS", "'"]}),
            json!({"start_time": "soon"}),
            json!({"end_time": "1700000000000"}),
        ];
        for body in bad {
            let problem = filter(body.clone()).unwrap_err();
            assert!(problem.is(problem::INVALID_ARGUMENT), "{body}");
        }
        let wrong = [
            json!({"limit": "1"}),
            json!({"limit": 1.5}),
            json!({"status": 1}),
            json!({"workflow_uuids": "w"}),
        ];
        for body in wrong {
            assert!(serde_json::from_value::<Wanted>(body.clone()).is_err(), "{body}");
        }
    }

    #[test]
    fn what_is_empty_or_unknown_does_not_narrow() {
        let empty = json!({"workflow_uuids": [], "workflow_name": [], "status": [], "start_time": "", "limit": null,
            "attributes": {}, "sort_desc": false, "load_input": false, "unknown": 1});
        assert_eq!(format!("{:?}", filter(empty).unwrap()), format!("{:?}", filter(json!({})).unwrap()));
    }
}
