//! Numbers over many workflows and steps, and the listings that workflows make of each other.

use std::time::Duration;

use dbos_runtime::{
    ErrorKind, Filter, GroupBy, StepAggregates, StepFilter, Timestamp, WorkflowAggregates, WorkflowStatus,
};
use harness::on_each_backend;
use serde_json::{Map, Value, json};

use super::listing::{insert, observer};
use super::scene::{Ctx, assert_kind, crash, forget_outcomes, launch, result_of, start, steps};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

on_each_backend! {
    // The aggregates of 2.8 of the admin interface.
    async fn workflows_are_counted_by_what_they_are_grouped_by(fresh: Fresh) {
        let dbos = observer(&fresh).await;
        let own = ("application_name", "'tests'");
        insert(&fresh, "a", &[own, ("status", "'SUCCESS'"), ("name", "'pay'"), ("queue_name", "'q'"),
            ("created_at", "1000"), ("started_at_epoch_ms", "1200"), ("completed_at", "1900")]).await;
        insert(&fresh, "b", &[own, ("status", "'SUCCESS'"), ("name", "'pay'"), ("created_at", "1500"),
            ("completed_at", "3000")]).await;
        insert(&fresh, "c", &[own, ("status", "'ERROR'"), ("name", "'ship'"), ("created_at", "2500"),
            ("completed_at", "2600")]).await;
        insert(&fresh, "d", &[("application_name", "'shop'"), ("status", "'ERROR'"), ("created_at", "1")]).await;
        let workflows = dbos.workflows();
        let by = async |asked: WorkflowAggregates| {
            let groups = workflows.aggregates(&asked).await.unwrap();
            groups.into_iter().map(|group| {
                let keys = [group.status, group.name, group.queue_name, group.executor_id, group.application_version,
                    group.application_name, group.time_bucket.map(|at| at.as_millis().to_string())];
                (keys.into_iter().flatten().collect::<Vec<_>>().join(" "), group.count,
                    group.min_created_at.map(Timestamp::as_millis), group.max_queue_wait_ms, group.max_latency_ms)
            }).collect::<Vec<_>>()
        };
        let key = |text: &str| text.to_owned();
        assert_eq!(by(WorkflowAggregates::default()).await, [(key(""), 3, Some(1000), Some(200), Some(1500))]);
        assert_eq!(by(WorkflowAggregates::by([GroupBy::Status])).await,
            [(key("ERROR"), 1, Some(2500), None, Some(100)), (key("SUCCESS"), 2, Some(1000), Some(200), Some(1500))]);
        assert_eq!(by(WorkflowAggregates::by([GroupBy::Name, GroupBy::Status, GroupBy::Application])).await,
            [(key("ERROR ship tests"), 1, Some(2500), None, Some(100)),
             (key("SUCCESS pay tests"), 2, Some(1000), Some(200), Some(1500))]);
        assert_eq!(by(WorkflowAggregates::default().bucket(Duration::from_secs(1))).await,
            [(key("1000"), 2, Some(1000), Some(200), Some(1500)), (key("2000"), 1, Some(2500), None, Some(100))]);
        let filter = Filter::new().statuses([WorkflowStatus::Error]).every_application().limit(1);
        assert_eq!(by(WorkflowAggregates::by([GroupBy::Application]).filter(filter)).await,
            [(key("shop"), 1, Some(1), None, None), (key("tests"), 1, Some(2500), None, Some(100))]);
        let none = Filter::new().names(["nothing"]);
        assert_eq!(by(WorkflowAggregates::default().filter(none.clone())).await, [(key(""), 0, None, None, None)]);
        assert_eq!(by(WorkflowAggregates::by([GroupBy::Queue]).filter(none)).await, []);
        let instant = WorkflowAggregates::default().bucket(Duration::ZERO);
        assert_kind(workflows.aggregates(&instant).await, ErrorKind::InvalidArgument);
    }

    // The step aggregates and the metrics of 2.8 of the admin interface.
    async fn steps_are_counted_and_metrics_leave_out_the_end_of_their_time(fresh: Fresh) {
        let dbos = observer(&fresh).await;
        insert(&fresh, "w", &[("status", "'SUCCESS'"), ("name", "'pay'"), ("created_at", "1000")]).await;
        insert(&fresh, "x", &[("status", "'SUCCESS'"), ("name", "'pay'"), ("created_at", "2000")]).await;
        fresh.execute(
            "INSERT INTO operation_outputs (workflow_uuid, function_id, function_name, error, started_at_epoch_ms,
                 completed_at_epoch_ms, application_name)
             VALUES ('w', 1, 'charge', NULL, 900, 1000, 'tests'), ('w', 2, 'charge', '{}', 1000, 1400, 'tests'),
                 ('x', 1, 'pack', NULL, 1500, 2000, NULL), ('x', 2, 'pack', NULL, 1, 1500, 'shop')",
        ).await;
        let workflows = dbos.workflows();
        let by = async |asked: StepAggregates| {
            let groups = workflows.step_aggregates(&asked).await.unwrap();
            groups.into_iter().map(|group| {
                let keys = [group.name, group.status, group.time_bucket.map(|at| at.as_millis().to_string())];
                (keys.into_iter().flatten().collect::<Vec<_>>().join(" "), group.count, group.max_duration_ms)
            }).collect::<Vec<_>>()
        };
        let (key, new) = (|text: &str| text.to_owned(), StepAggregates::new);
        assert_eq!(by(new()).await, [(key(""), 3, Some(500))]);
        assert_eq!(by(new().by_name().by_status()).await,
            [(key("charge ERROR"), 1, Some(400)), (key("charge SUCCESS"), 1, Some(100)), (key("pack SUCCESS"), 1, Some(500))]);
        assert_eq!(by(new().bucket(Duration::from_secs(1))).await,
            [(key("1000"), 2, Some(400)), (key("2000"), 1, Some(500))]);
        assert_eq!(by(new().failed(true)).await, [(key(""), 1, Some(400))]);
        assert_eq!(by(new().names(["pack"]).id_prefixes(["x"]).every_application()).await, [(key(""), 2, Some(1499))]);
        assert_eq!(by(new().completed_after(at(1001)).completed_before(at(1400))).await, [(key(""), 1, Some(400))]);

        let metrics = workflows.metrics(at(1000), at(2000)).await.unwrap();
        assert_eq!(metrics.workflows.into_iter().collect::<Vec<_>>(), [(key("pay"), 1)]);
        assert_eq!(metrics.steps.into_iter().collect::<Vec<_>>(), [(key("charge"), 2)]);
        assert_kind(workflows.metrics(at(2), at(2)).await, ErrorKind::InvalidArgument);
    }

    // L378, L379
    async fn what_a_workflow_lists_is_recorded_and_a_replay_sees_the_same(fresh: Fresh) {
        let body = async |ctx: Ctx, _| {
            let workflows = ctx.workflows();
            let attributes = Map::from_iter([("seen".to_owned(), json!(true))]);
            let all = workflows.list(Filter::new().with_input()).await?;
            let none = workflows.list(Filter::new().ids(Vec::<String>::new())).await?;
            let queued = workflows.list_queued(Filter::new()).await?;
            let steps = workflows.steps("w", StepFilter::new()).await?;
            let changed = workflows.update_attributes("w", Some(&attributes)).await?;
            let merged = workflows.merge_attributes("nobody", &attributes).await?;
            let info = workflows.info("w").await?;
            let missing = workflows.info("nobody").await.unwrap_err().kind();
            Ok(json!([
                all.len(), none.len(), queued.len(), steps.len(), changed, merged, info.attributes,
                format!("{missing:?}"), all.iter().map(|row| row.id.to_string()).collect::<Vec<_>>(),
            ]))
        };
        let dbos = launch(&fresh, body).await;
        insert(&fresh, "foreign", &[("status", "'WEIRD'"), ("queue_name", "'x'"), ("created_at", "1"),
            ("serialization", "'py_pickle'"), ("inputs", "'gASV'")]).await;
        let first = result_of(&start(&dbos, "w").await).await.unwrap();
        assert_eq!(first, json!([2, 0, 0, 3, true, false, {"seen": true}, "NonExistentWorkflow", ["foreign", "w"]]));
        let names: Vec<String> = steps(&fresh, "w").await.into_iter().map(|mut step| step[1].take().unwrap()).collect();
        assert_eq!(names, ["DBOS.listWorkflows", "DBOS.listWorkflows", "DBOS.listQueuedWorkflows",
            "DBOS.listWorkflowSteps", "DBOS.updateWorkflowAttributes", "DBOS.updateWorkflowAttributes",
            "DBOS.getStatus", "DBOS.getStatus"]);
        crash(&dbos).await;
        forget_outcomes(&fresh).await;
        fresh.execute("DELETE FROM workflow_status WHERE workflow_uuid = 'foreign'; UPDATE workflow_status SET attributes = NULL").await;
        let dbos = launch(&fresh, body).await;
        let replayed = dbos.retrieve::<Value, dbos_runtime::Error>("w").await.unwrap();
        assert_eq!(result_of(&replayed).await.unwrap(), first);
        assert_eq!(dbos.info("w").await.unwrap().attributes, Value::Null);
    }

    // B64, B65: inside a workflow a refused argument takes no number.
    async fn a_listing_that_makes_no_sense_is_refused_inside_a_workflow_too(fresh: Fresh) {
        let dbos = launch(&fresh, async |ctx, _| {
            let refused = ctx.workflows().list(Filter::new().limit(0)).await.unwrap_err().kind();
            ctx.step("after", || async { Ok(()) }).await?;
            Ok(json!(format!("{refused:?}")))
        })
        .await;
        assert_eq!(result_of(&start(&dbos, "w").await).await.unwrap(), "InvalidArgument");
        assert_eq!(steps(&fresh, "w").await.len(), 1);
    }
}
