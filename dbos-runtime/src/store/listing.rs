//! Questions about many workflows or steps at once.
//!
//! A listing may take long, so it has a time limit of its own; what is asked for by an id has none.

use super::conditions::{Bind, Conditions, Dialect, Statement};
use super::{Answer, Store};
use crate::model::aggregate::{
    GroupBy, StepAggregate, StepAggregates, WorkflowAggregate, WorkflowAggregates,
};
use crate::model::filter::Filter;
use crate::model::info::{StepInfo, WorkflowInfo};

/// What is read of a workflow's row `w`, payloads aside.
macro_rules! columns {
    () => {
        "w.workflow_uuid, w.status, w.name, w.class_name, w.config_name, w.application_name, w.application_version, \
         w.application_id, w.executor_id, w.authenticated_user, w.assumed_role, w.authenticated_roles, \
         CAST(w.attributes AS text) AS attributes, w.queue_name, w.queue_partition_key, w.deduplication_id, \
         CAST(w.priority AS bigint) AS priority, w.recovery_attempts, w.parent_workflow_id, w.forked_from, \
         w.was_forked_from, w.schedule_name, w.workflow_timeout_ms, w.workflow_deadline_epoch_ms, \
         w.delay_until_epoch_ms, w.created_at, w.updated_at, w.started_at_epoch_ms, w.completed_at, w.serialization"
    };
}
pub(super) use columns;

impl Store {
    /// The facts of one workflow, without its payloads.
    pub(crate) async fn look(&self, id: &str) -> Answer<Option<WorkflowInfo>> {
        let mut found = ask!(self, backend => backend.look(id).await)?;
        found.iter_mut().for_each(|info| self.codec().open_info(info));
        Ok(found)
    }

    /// The facts of one workflow, with its payloads.
    pub(crate) async fn whole(&self, id: &str) -> Answer<Option<WorkflowInfo>> {
        let mut found = ask!(self, backend => backend.whole(id).await)?;
        found.iter_mut().for_each(|info| self.codec().open_info(info));
        Ok(found)
    }

    /// The workflows that the filter selects, in its order.
    pub(crate) async fn list(&self, filter: &Filter) -> Answer<Vec<WorkflowInfo>> {
        let mut found = ask!(self, backend => backend.list(filter).await)?;
        found.iter_mut().for_each(|info| self.codec().open_info(info));
        Ok(found)
    }

    /// So many steps of a workflow, in order, with or without what they returned.
    pub(crate) async fn steps(
        &self,
        id: &str,
        limit: i64,
        offset: i64,
        output: bool,
    ) -> Answer<Vec<StepInfo>> {
        let mut found = ask!(self, backend => backend.steps(id, limit, offset, output).await)?;
        found.iter_mut().for_each(|info| self.codec().open_step_info(info));
        Ok(found)
    }

    pub(crate) async fn aggregates(&self, asked: &WorkflowAggregates) -> Answer<Vec<WorkflowAggregate>> {
        ask!(self, backend => backend.aggregates(asked).await)
    }

    pub(crate) async fn step_aggregates(&self, asked: &StepAggregates) -> Answer<Vec<StepAggregate>> {
        ask!(self, backend => backend.step_aggregates(asked).await)
    }
}

/// The statement that lists workflows.
pub(super) fn workflows(filter: &Filter, application: &str, dialect: &'static Dialect) -> Statement {
    let mut conditions = Conditions::of_workflows(filter, application, dialect);
    let mut text = concat!("SELECT ", columns!()).to_owned();
    let mut joins = String::new();
    for (wanted, columns, table) in [
        (filter.input, &[("inputs", "input")][..], "workflow_input"),
        (filter.output, &[("output", "output"), ("error", "error")][..], "workflow_output"),
    ] {
        for (column, name) in columns {
            text.push_str(&match wanted {
                true => format!(", coalesce({table}.{column}, w.{column}) AS {name}"),
                false => format!(", NULL AS {name}"),
            });
        }
        if wanted {
            joins.push_str(&format!(
                " LEFT JOIN {{s}}.{table} AS {table} ON {table}.workflow_uuid = w.workflow_uuid"
            ));
        }
    }
    let order = if filter.newest_first { "DESC" } else { "ASC" };
    let limit = filter
        .limit
        .map_or_else(|| dialect.unlimited.to_owned(), |rows| conditions.bind(Bind::Int(i64::from(rows))));
    let offset = conditions.bind(Bind::Int(i64::try_from(filter.offset).unwrap_or(i64::MAX)));
    text.push_str(&format!(
        " FROM {{s}}.workflow_status w{joins} WHERE {{where}} \
         ORDER BY w.created_at {order}, w.workflow_uuid {order} LIMIT {limit} OFFSET {offset}"
    ));
    conditions.into_statement(&text)
}

/// The statement that counts workflows.
pub(super) fn workflow_groups(
    asked: &WorkflowAggregates,
    application: &str,
    dialect: &'static Dialect,
) -> Statement {
    let filter = Filter { after: None, ..asked.filter.clone() };
    let mut conditions = Conditions::of_workflows(&filter, application, dialect);
    let mut groups = Groups::default();
    for (group, column, name) in [
        (GroupBy::Status, "w.status", "status"),
        (GroupBy::Name, "w.name", "name"),
        (GroupBy::Queue, "w.queue_name", "queue_name"),
        (GroupBy::Executor, "w.executor_id", "executor_id"),
        (GroupBy::Version, "w.application_version", "application_version"),
        (GroupBy::Application, "w.application_name", "application_name"),
    ] {
        groups.add(asked.groups.contains(&group).then(|| column.to_owned()), "text", name);
    }
    groups.add(bucket(asked.bucket, "w.created_at", &mut conditions), "bigint", "time_bucket");
    // Of what was enqueued in a burst `created_at` lies ahead of the clock.
    let text = groups.select(
        "min(w.created_at) AS min_created_at, \
         max(CASE WHEN w.started_at_epoch_ms < w.created_at THEN 0 ELSE w.started_at_epoch_ms - w.created_at END) \
         AS max_queue_wait, \
         max(CASE WHEN w.completed_at < w.created_at THEN 0 ELSE w.completed_at - w.created_at END) AS max_latency \
         FROM {s}.workflow_status w",
    );
    conditions.into_statement(&text)
}

/// The statement that counts steps.
pub(super) fn step_groups(asked: &StepAggregates, application: &str, dialect: &'static Dialect) -> Statement {
    let mut conditions = Conditions::of_steps(asked, application, dialect);
    let mut groups = Groups::default();
    let status = "CASE WHEN o.error IS NULL THEN 'SUCCESS' ELSE 'ERROR' END";
    groups.add(asked.by_name.then(|| "o.function_name".to_owned()), "text", "name");
    groups.add(asked.by_status.then(|| status.to_owned()), "text", "status");
    groups.add(bucket(asked.bucket, "o.completed_at_epoch_ms", &mut conditions), "bigint", "time_bucket");
    let text = groups.select(
        "max(o.completed_at_epoch_ms - o.started_at_epoch_ms) AS max_duration FROM {s}.operation_outputs o",
    );
    conditions.into_statement(&text)
}

fn bucket(span: Option<std::time::Duration>, column: &str, conditions: &mut Conditions) -> Option<String> {
    let millis = i64::try_from(span?.as_millis()).unwrap_or(i64::MAX);
    let value = conditions.bind(Bind::Int(millis));
    Some(format!("({column} / {value}) * {value}"))
}

/// Columns to group by, by their place in the SELECT; the others are NULL.
#[derive(Default)]
struct Groups {
    selected: Vec<String>,
    grouped: Vec<String>,
}

impl Groups {
    fn add(&mut self, expression: Option<String>, kind: &str, name: &str) {
        let place = self.selected.len() + 1;
        self.grouped.extend(expression.is_some().then(|| place.to_string()));
        let expression = expression.unwrap_or_else(|| "NULL".to_owned());
        self.selected.push(format!("CAST({expression} AS {kind}) AS {name}"));
    }

    fn select(&self, rest: &str) -> String {
        let mut text =
            format!("SELECT {}, count(*) AS count, {rest} WHERE {{where}}", self.selected.join(", "));
        if !self.grouped.is_empty() {
            let places = self.grouped.join(", ");
            text.push_str(&format!(" GROUP BY {places} ORDER BY {places}"));
        }
        text
    }
}
