//! Moving the time at which a delayed workflow is due.

use std::time::Duration;

use dbos_runtime::{ErrorKind, Timestamp};
use harness::on_each_backend;
use serde_json::{Value, json};

use super::rows::{columns, insert, one_of_each};
use super::scene::{Ctx, assert_kind, launch, result_of, start, steps};

const LONG: Duration = Duration::from_secs(101 * 366 * 24 * 3600);

on_each_backend! {
    // K.298, K.299
    async fn only_a_delayed_workflow_is_moved(fresh: Fresh) {
        let dbos = launch(&fresh, |_, _| async { Ok(Value::Null) }).await;
        for workflow in one_of_each(&fresh, &[("delay_until_epoch_ms", "9000000000000000")]).await {
            let moved = dbos.workflows().set_delay(workflow.as_str(), Duration::from_secs(60)).await.unwrap();
            assert_eq!(moved, workflow == "delayed", "{workflow}");
            let row = columns(&fresh, &workflow, "status, delay_until_epoch_ms, updated_at").await;
            assert_eq!(row["status"], workflow.to_uppercase());
            let wait = row["delay_until_epoch_ms"].as_i64().unwrap() - row["updated_at"].as_i64().unwrap();
            assert_eq!(wait, if moved { 60_000 } else { 9_000_000_000_000_000 - 5 }, "{row}");
        }
        assert!(dbos.workflows().set_delay("delayed", Timestamp::from_millis(9_000_000_000_000_001)).await.unwrap());
        assert_eq!(columns(&fresh, "delayed", "delay_until_epoch_ms").await, json!({ "delay_until_epoch_ms": 9_000_000_000_000_001_i64 }));
        assert_kind(dbos.workflows().set_delay("nobody", Duration::ZERO).await, ErrorKind::NonExistentWorkflow);
        for refused in [
            dbos.workflows().set_delay("delayed", LONG).await,
            dbos.workflows().set_delay("delayed", Timestamp::from_millis(-1)).await,
            dbos.workflows().set_delay("", Duration::ZERO).await,
        ] {
            assert_kind(refused, ErrorKind::InvalidArgument);
        }
    }

    async fn a_delay_that_a_workflow_sets_is_one_of_its_steps(fresh: Fresh) {
        let dbos = launch(&fresh, |ctx: Ctx, _| async move {
            let first = ctx.workflows().set_delay("later", Timestamp::from_millis(99)).await?;
            let missing = ctx.workflows().set_delay("nobody", Duration::ZERO).await.unwrap_err();
            Ok(json!([first, format!("{:?}", missing.kind())]))
        })
        .await;
        insert(&fresh, "later", "DELAYED", &[]).await;
        assert_eq!(result_of(&start(&dbos, "w").await).await.unwrap(), json!([true, "NonExistentWorkflow"]));
        let names: Vec<_> = steps(&fresh, "w").await.into_iter().map(|mut step| step.remove(1).unwrap()).collect();
        assert_eq!(names, ["DBOS.setWorkflowDelay"; 2]);
    }
}
