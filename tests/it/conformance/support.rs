//! What these suites share: an application's own error, a log of what its code did, and restarts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dbos_runtime::{Builder, Dbos, Error};
use harness::{Fresh, until};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An error as an application defines it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub(super) enum Failure {
    #[error("only {left} left")]
    SoldOut { left: u32 },
    #[error(transparent)]
    Runtime(#[from] Error),
}

impl Failure {
    /// The runtime's own error in it.
    #[track_caller]
    pub(super) fn runtime(self) -> Error {
        match self {
            Self::Runtime(error) => error,
            own @ Self::SoldOut { .. } => panic!("an error of the application: {own}"),
        }
    }
}

/// What bodies did, in order, over all executions and processes of a test. Their application's state.
#[derive(Clone, Debug, Default)]
pub(super) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(super) fn add(&self, entry: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry.into());
    }

    pub(super) fn entries(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often exactly this was done.
    pub(super) fn count(&self, entry: &str) -> usize {
        self.entries().iter().filter(|done| *done == entry).count()
    }
}

/// A builder whose workflows write into the log.
pub(super) fn builder(fresh: &Fresh, log: &Log) -> Builder<Log> {
    harness::builder(fresh).executor_id("one").state(log.clone())
}

/// Ends a process that has unfinished work, which the next one of the same executor takes up.
pub(super) async fn stop(dbos: Dbos) {
    dbos.shutdown(Duration::ZERO).await;
}

/// Waits until something has been done that often.
pub(super) async fn done(log: &Log, entry: &str, times: usize) {
    until(&format!("{entry:?} {times} times"), async || log.count(entry) >= times).await;
    assert_eq!(log.count(entry), times, "{entry:?}");
}

/// A workflow's recorded steps with their numbers: `1 charge, 2 DBOS.sleep`.
pub(super) async fn trail(fresh: &Fresh, id: &str) -> String {
    let sql = format!(
        "SELECT function_id, function_name FROM operation_outputs WHERE workflow_uuid = '{id}' ORDER BY function_id"
    );
    let step = |row: Vec<Option<String>>| row.into_iter().flatten().collect::<Vec<_>>().join(" ");
    fresh.query(&sql).await.into_iter().map(step).collect::<Vec<_>>().join(", ")
}

/// One row of a workflow's columns.
pub(super) async fn row(fresh: &Fresh, table: &str, id: &str, columns: &str) -> Value {
    let rows = fresh.rows(&format!("SELECT {columns} FROM {table} WHERE workflow_uuid = '{id}'")).await;
    assert_eq!(rows.len(), 1, "rows of {id} in {table}");
    rows.into_iter().next().unwrap()
}

/// One text of such a row.
pub(super) async fn text(fresh: &Fresh, table: &str, id: &str, column: &str) -> String {
    let value = row(fresh, table, id, column).await[column].take();
    value.as_str().unwrap_or_else(|| panic!("{column} of {id} is {value}")).to_owned()
}
