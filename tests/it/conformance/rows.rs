//! Rows as any process could have left them, written straight into the tables.

use harness::Fresh;
use serde_json::Value;

/// Every status, with one that no SDK writes.
pub(super) const STATUSES: [&str; 8] = [
    "DELAYED",
    "ENQUEUED",
    "PENDING",
    "SUCCESS",
    "ERROR",
    "CANCELLED",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED",
    "UNHEARD_OF",
];

/// A workflow of the function `w` on a queue that nobody serves. `more` sets further columns: `("priority", "3")`.
pub(super) async fn insert(fresh: &Fresh, id: &str, status: &str, more: &[(&str, &str)]) {
    let mut columns = vec![
        ("workflow_uuid", format!("'{id}'")),
        ("status", format!("'{status}'")),
        ("name", "'w'".to_owned()),
        ("queue_name", "'nobodys'".to_owned()),
        ("application_version", "'v1'".to_owned()),
        ("application_name", "'tests'".to_owned()),
        ("executor_id", "'elsewhere'".to_owned()),
        ("updated_at", "5".to_owned()),
    ];
    for (column, value) in more {
        columns.retain(|(there, _)| there != column);
        columns.push((column, (*value).to_owned()));
    }
    let (names, values): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let sql = format!("INSERT INTO workflow_status ({}) VALUES ({})", names.join(", "), values.join(", "));
    fresh.execute(&sql).await;
}

/// One workflow in each status, whose id is the status in lower case.
pub(super) async fn one_of_each(fresh: &Fresh, more: &[(&str, &str)]) -> [String; 8] {
    let ids = STATUSES.map(str::to_lowercase);
    for (id, status) in ids.iter().zip(STATUSES) {
        insert(fresh, id, status, more).await;
    }
    ids
}

/// A recorded step: number, name, output, error, child.
type Recorded<'a> = (i32, &'a str, Option<&'a str>, Option<&'a str>, Option<&'a str>);

/// Recorded steps. Texts are taken as they are.
pub(super) async fn record(fresh: &Fresh, id: &str, steps: &[Recorded<'_>]) {
    let text = |text: &Option<&str>| text.map_or("NULL".to_owned(), |text| format!("'{text}'"));
    for (number, name, output, error, child) in steps {
        let (output, error, child) = (text(output), text(error), text(child));
        let sql = format!(
            "INSERT INTO operation_outputs (workflow_uuid, function_id, function_name, output, error, child_workflow_id,
                started_at_epoch_ms, completed_at_epoch_ms, serialization)
             VALUES ('{id}', {number}, '{name}', {output}, {error}, {child}, 10, 20, 'portable_json')"
        );
        fresh.execute(&sql).await;
    }
}

/// What rows hold, one text each: the columns with a stroke between them.
pub(super) async fn table(fresh: &Fresh, sql: &str) -> Vec<String> {
    let cell = |cell: &Option<String>| cell.clone().unwrap_or_else(|| "-".to_owned());
    let line = |row: &Vec<Option<String>>| row.iter().map(cell).collect::<Vec<_>>().join("|");
    fresh.query(sql).await.iter().map(line).collect()
}

/// Columns of a workflow's row.
pub(super) async fn columns(fresh: &Fresh, id: &str, columns: &str) -> Value {
    super::support::row(fresh, "workflow_status", id, columns).await
}
