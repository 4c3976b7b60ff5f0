//! What these topics share: one workflow for each test, written where it is used, and what can befall it.

use std::future::Future;
use std::time::Duration;

use dbos_runtime::{Builder, Dbos, Error, ErrorKind, WorkflowHandle, WorkflowId, WorkflowRef};
use harness::Fresh;
use serde_json::Value;

pub(super) type Ctx = dbos_runtime::Ctx<(), Error>;

/// The workflow that [`launch`] registers.
pub(super) const W: WorkflowRef<Value, Value> = WorkflowRef::named("w");

pub(super) const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn id(text: &str) -> WorkflowId {
    WorkflowId::parse(text).unwrap()
}

/// A runtime whose one workflow has this body.
pub(super) async fn launch<F, Fut>(fresh: &Fresh, body: F) -> Dbos
where
    F: Fn(Ctx, Value) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Value, Error>> + Send + 'static,
{
    launch_as(harness::builder(fresh), body).await
}

/// The same with settings of the test's own.
pub(super) async fn launch_as<F, Fut>(builder: Builder<()>, body: F) -> Dbos
where
    F: Fn(Ctx, Value) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Value, Error>> + Send + 'static,
{
    builder.register_fn("w", body).launch().await.unwrap()
}

/// Starts the workflow under this id, without input.
pub(super) async fn start(dbos: &Dbos, id: &str) -> WorkflowHandle<Value> {
    let handle = dbos.start(W, Value::Null).id(id).await.unwrap();
    assert!(handle.created(), "{id} was there before");
    handle
}

/// The result, within a time in which no poll of an hour comes round.
pub(super) async fn result_of(handle: &WorkflowHandle<Value>) -> Result<Value, Error> {
    tokio::time::timeout(harness::PATIENCE, handle.result()).await.expect("the workflow ends")
}

/// Stops the runtime as a crash would leave the rows: what was running stays pending.
pub(super) async fn crash(dbos: &Dbos) {
    dbos.shutdown(Duration::ZERO).await;
}

/// Puts ended workflows back to just before their outcome was written: the next launch replays them.
pub(super) async fn forget_outcomes(fresh: &Fresh) {
    fresh
        .execute(
            "DELETE FROM workflow_output;
             UPDATE workflow_status SET status = 'PENDING', completed_at = NULL WHERE status IN ('SUCCESS', 'ERROR')",
        )
        .await;
}

/// Makes another execution, somewhere else, the owner of the workflow.
pub(super) async fn take_over(fresh: &Fresh, id: &str) {
    let sql = format!(
        "UPDATE workflow_status SET owner_xid = 'another', executor_id = 'elsewhere' WHERE workflow_uuid = '{id}'"
    );
    fresh.execute(&sql).await;
}

pub(super) async fn status(fresh: &Fresh, id: &str) -> String {
    let sql = format!("SELECT status FROM workflow_status WHERE workflow_uuid = '{id}'");
    fresh.query(&sql).await.remove(0).remove(0).unwrap()
}

/// Waits until so many rows are there.
pub(super) async fn until_rows(fresh: &Fresh, rows: i64, from: &str) {
    let sql = format!("SELECT count(*) FROM {from}");
    harness::until(&sql, async || fresh.scalar(&sql).await == rows).await;
}

/// The steps of a workflow: number, name, output, error, serialization.
pub(super) async fn steps(fresh: &Fresh, id: &str) -> Vec<Vec<Option<String>>> {
    let sql = format!(
        "SELECT function_id AS a, function_name AS b, output AS c, error AS d, serialization AS e
         FROM operation_outputs WHERE workflow_uuid = '{id}' ORDER BY function_id"
    );
    fresh.query(&sql).await
}

/// A row of [`steps`] without an error.
pub(super) fn step(
    number: i32,
    name: &str,
    output: Option<&str>,
    format: Option<&str>,
) -> Vec<Option<String>> {
    let text = |text: &str| text.to_owned();
    vec![Some(number.to_string()), Some(text(name)), output.map(text), None, format.map(text)]
}

#[track_caller]
pub(super) fn assert_kind<T: std::fmt::Debug>(result: Result<T, Error>, kind: ErrorKind) {
    let error = result.expect_err("it is refused");
    assert_eq!(error.kind(), kind, "{error}");
}
