//! The names of all numbers, with what they mean.

use metrics::{SharedString, Unit};

pub(super) const STARTS: &str = "dbos_http_starts_total";
pub(super) const PROBLEMS: &str = "dbos_http_problems_total";
pub(super) const DELIVERIES: &str = "dbos_webhook_deliveries_total";
pub(super) const STREAMS_OPEN: &str = "dbos_http_sse_open";
pub(super) const LONG_POLLS_OPEN: &str = "dbos_http_long_polls_open";
pub(super) const REQUEST_SECONDS: &str = "dbos_http_request_duration_seconds";

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

type Named = (&'static str, Kind, Unit, &'static str);

/// What is counted as requests come.
const HTTP: &[Named] = &[
    (STARTS, Kind::Counter, Unit::Count, "Workflows that requests have started, or found under their key."),
    (
        PROBLEMS,
        Kind::Counter,
        Unit::Count,
        "Problems answered, by the heading of their type, or their status.",
    ),
    (DELIVERIES, Kind::Counter, Unit::Count, "Webhook deliveries, by source and by what became of them."),
    (STREAMS_OPEN, Kind::Gauge, Unit::Count, "Event streams that are open."),
    (LONG_POLLS_OPEN, Kind::Gauge, Unit::Count, "Requests that wait for a workflow."),
    (
        REQUEST_SECONDS,
        Kind::Histogram,
        Unit::Seconds,
        "Time from a request to the head of its answer, by route.",
    ),
];

/// What is looked up when the page is asked for.
const ENGINE: &[Named] = &[
    (
        "dbos_workflow_started_rate",
        Kind::Gauge,
        Unit::CountPerSecond,
        "Workflows created, in the last whole minute.",
    ),
    (
        "dbos_workflow_dequeued_rate",
        Kind::Gauge,
        Unit::CountPerSecond,
        "Workflows taken from queues, in the last whole minute.",
    ),
    (
        "dbos_workflow_success_rate",
        Kind::Gauge,
        Unit::CountPerSecond,
        "Workflows that ended well, in the last whole minute.",
    ),
    (
        "dbos_workflow_failed_rate",
        Kind::Gauge,
        Unit::CountPerSecond,
        "Workflows that failed or were parked, in the last whole minute.",
    ),
    (
        "dbos_workflow_cancelled_rate",
        Kind::Gauge,
        Unit::CountPerSecond,
        "Workflows that were cancelled, in the last whole minute.",
    ),
    ("dbos_workflow_enqueued_count", Kind::Gauge, Unit::Count, "Workflows that wait on a queue."),
    ("dbos_workflow_delayed_count", Kind::Gauge, Unit::Count, "Workflows that are not due yet."),
    ("dbos_workflow_pending_count", Kind::Gauge, Unit::Count, "Workflows that run, in any process."),
    (
        "dbos_workflow_oldest_enqueued_timestamp_seconds",
        Kind::Gauge,
        Unit::Seconds,
        "When the oldest waiting workflow was created.",
    ),
    (
        "dbos_workflow_oldest_pending_timestamp_seconds",
        Kind::Gauge,
        Unit::Seconds,
        "When the oldest running workflow was created.",
    ),
    (
        "dbos_workflow_max_queue_wait_seconds",
        Kind::Gauge,
        Unit::Seconds,
        "The longest wait on a queue of those that ended well in the last whole minute.",
    ),
    (
        "dbos_workflow_max_total_latency_seconds",
        Kind::Gauge,
        Unit::Seconds,
        "The longest time from creation to the end of those that ended well in the last whole minute.",
    ),
    (
        "dbos_step_success_rate",
        Kind::Gauge,
        Unit::CountPerSecond,
        "Steps that went well, in the last whole minute.",
    ),
    (
        "dbos_step_failed_rate",
        Kind::Gauge,
        Unit::CountPerSecond,
        "Steps that failed, in the last whole minute.",
    ),
    (
        "dbos_step_max_duration_seconds",
        Kind::Gauge,
        Unit::Seconds,
        "The longest step of those that went well in the last whole minute.",
    ),
    ("dbos_database_up", Kind::Gauge, Unit::Count, "Whether the database answered this look."),
    ("dbos_executor_info", Kind::Gauge, Unit::Count, "This process: always 1."),
    (
        "dbos_executor_announced",
        Kind::Gauge,
        Unit::Count,
        "Whether this process is known to live and takes work.",
    ),
    (
        "dbos_executor_latest_version",
        Kind::Gauge,
        Unit::Count,
        "Whether this process runs the latest version.",
    ),
    ("dbos_executor_running_workflows", Kind::Gauge, Unit::Count, "Workflows that run in this process."),
    (
        "dbos_journal_waiting_writes",
        Kind::Gauge,
        Unit::Count,
        "Writes of this process that wait for a commit.",
    ),
    ("dbos_journal_commits_total", Kind::Counter, Unit::Count, "Commits of this process's journal."),
    ("dbos_journal_writes_total", Kind::Counter, Unit::Count, "Writes in those commits."),
    (
        "dbos_journal_wait_microseconds_total",
        Kind::Counter,
        Unit::Microseconds,
        "How long the oldest write of each commit had waited for it.",
    ),
    (
        "dbos_journal_commit_microseconds_total",
        Kind::Counter,
        Unit::Microseconds,
        "How long the commits took.",
    ),
    ("dbos_pool_connections", Kind::Gauge, Unit::Count, "Open connections of this process's pool, by state."),
];

/// Tells the recorder in force what is counted as requests come.
pub(super) fn describe_http() {
    describe(HTTP);
}

/// Tells the recorder in force what is looked up.
pub(super) fn describe_engine() {
    describe(ENGINE);
}

fn describe(names: &[Named]) {
    for (name, kind, unit, text) in names {
        metrics::with_recorder(|recorder| {
            let (name, unit, text) = ((*name).into(), Some(*unit), SharedString::const_str(text));
            match kind {
                Kind::Counter => recorder.describe_counter(name, unit, text),
                Kind::Gauge => recorder.describe_gauge(name, unit, text),
                Kind::Histogram => recorder.describe_histogram(name, unit, text),
            }
        });
    }
}
