//! The numbers of the engine as text.

use dbos_runtime::{Dbos, WorkflowAggregate};
use metrics::{Label, counter, gauge};
use metrics_exporter_prometheus::PrometheusBuilder;

use super::look::{Minute, Moment, WINDOW};
use super::names;

/// All numbers, each scrape in a recorder of its own: what is no more there is not told any more.
pub(super) fn text(dbos: &Dbos, looked: Option<(&Moment, &Minute)>) -> String {
    let recorder = PrometheusBuilder::new().add_global_label("application", dbos.name()).build_recorder();
    metrics::with_local_recorder(&recorder, || {
        names::describe_engine();
        gauge!("dbos_database_up").set(if looked.is_some() { 1.0 } else { 0.0 });
        process(dbos);
        if let Some((moment, minute)) = looked {
            now(dbos, moment);
            rates(minute);
        }
    });
    recorder.handle().render()
}

/// What this process knows by itself.
fn process(dbos: &Dbos) {
    let metrics = dbos.runtime_metrics();
    let who = [
        Label::new("executor_id", dbos.executor_id().to_owned()),
        Label::new("application_version", dbos.application_version().to_owned()),
    ];
    gauge!("dbos_executor_info", who.iter()).set(1.0);
    gauge!("dbos_executor_announced").set(truth(metrics.announced));
    gauge!("dbos_executor_running_workflows").set(count(metrics.running as u64));
    gauge!("dbos_journal_waiting_writes").set(count(metrics.journal_waiting as u64));
    counter!("dbos_journal_commits_total").absolute(metrics.journal_commits);
    counter!("dbos_journal_writes_total").absolute(metrics.journal_writes);
    counter!("dbos_journal_wait_microseconds_total").absolute(micros(metrics.journal_wait));
    counter!("dbos_journal_commit_microseconds_total").absolute(micros(metrics.journal_time));
    let idle = metrics.connections_idle as u64;
    gauge!("dbos_pool_connections", "state" => "idle").set(count(idle));
    gauge!("dbos_pool_connections", "state" => "busy")
        .set(count(u64::from(metrics.connections).saturating_sub(idle)));
}

fn now(dbos: &Dbos, moment: &Moment) {
    let latest = moment.latest_version.as_deref().is_none_or(|latest| latest == dbos.application_version());
    gauge!("dbos_executor_latest_version").set(truth(latest));
    for group in &moment.in_flight {
        let (number, oldest) = match status(group) {
            "ENQUEUED" => ("dbos_workflow_enqueued_count", "dbos_workflow_oldest_enqueued_timestamp_seconds"),
            _ => ("dbos_workflow_pending_count", "dbos_workflow_oldest_pending_timestamp_seconds"),
        };
        gauge!(number, labels(group).iter()).set(count(group.count));
        if let Some(since) = group.min_created_at {
            gauge!(oldest, labels(group).iter()).set(seconds(since.as_millis()));
        }
    }
    for group in &moment.delayed {
        gauge!("dbos_workflow_delayed_count", labels(group).iter()).set(count(group.count));
    }
}

fn rates(minute: &Minute) {
    for group in &minute.started {
        gauge!("dbos_workflow_started_rate", labels(group).iter()).set(rate(group.count));
    }
    for group in &minute.dequeued {
        gauge!("dbos_workflow_dequeued_rate", labels(group).iter()).set(rate(group.count));
    }
    for group in &minute.ended {
        let name = match status(group) {
            "SUCCESS" => "dbos_workflow_success_rate",
            "CANCELLED" => "dbos_workflow_cancelled_rate",
            _ => "dbos_workflow_failed_rate",
        };
        // Two ways to fail are one rate.
        gauge!(name, labels(group).iter()).increment(rate(group.count));
        if status(group) == "SUCCESS" {
            longest("dbos_workflow_max_queue_wait_seconds", &labels(group), group.max_queue_wait_ms);
            longest("dbos_workflow_max_total_latency_seconds", &labels(group), group.max_latency_ms);
        }
    }
    for group in &minute.steps {
        let label = [Label::new("step_name", group.name.clone().unwrap_or_default())];
        if group.status.as_deref() == Some("ERROR") {
            gauge!("dbos_step_failed_rate", label.iter()).set(rate(group.count));
        } else {
            gauge!("dbos_step_success_rate", label.iter()).set(rate(group.count));
            longest("dbos_step_max_duration_seconds", &label, group.max_duration_ms);
        }
    }
}

fn longest(name: &'static str, labels: &[Label], millis: Option<i64>) {
    if let Some(millis) = millis {
        gauge!(name, labels.iter()).set(seconds(millis));
    }
}

fn labels(group: &WorkflowAggregate) -> [Label; 2] {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    [Label::new("workflow_name", text(&group.name)), Label::new("queue_name", text(&group.queue_name))]
}

fn status(group: &WorkflowAggregate) -> &str {
    group.status.as_deref().unwrap_or_default()
}

fn truth(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

fn rate(number: u64) -> f64 {
    count(number) / WINDOW.as_secs_f64()
}

fn seconds(millis: i64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "an instant in milliseconds is exact until the year 287396"
    )]
    let millis = millis as f64;
    millis / 1000.0
}

fn count(number: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "past 2^53 nobody counts one by one")]
    let number = number as f64;
    number
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
