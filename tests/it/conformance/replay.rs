//! A workflow that is taken up again is answered from its record.

use dbos_runtime::{
    Builder, Ctx as RuntimeCtx, Dbos, ErrorKind, Target, WorkflowHandle, WorkflowRef, workflow,
};
use harness::{Fresh, on_each_backend, until};
use serde_json::json;

use super::support::{Failure, Log, builder, done, row, stop, text, trail};

type Ctx = RuntimeCtx<Log, Failure>;

/// Waits for the message that lets a workflow end.
pub(super) async fn wait(ctx: &Ctx) -> Result<u32, Failure> {
    ctx.state().add("waits");
    Ok(ctx.recv::<u32>("go").await?.unwrap_or_default())
}

pub(super) async fn finish<T, E>(dbos: &Dbos, id: &str) -> Result<T, E>
where
    T: serde::de::DeserializeOwned,
    E: dbos_runtime::DurableError,
{
    dbos.send(&id.parse().unwrap(), &1).topic("go").await.unwrap();
    dbos.retrieve::<T, E>(id).await.unwrap().result().await
}

/// A process that starts the workflow under the id `w` and ends when the workflow waits.
pub(super) async fn interrupted<W: Target<Input = ()>>(log: &Log, process: Builder<Log>, workflow: W) {
    let dbos = process.launch().await.unwrap();
    dbos.start(workflow, ()).id("w").authenticated_user("ada").await.unwrap();
    done(log, "waits", 1).await;
    stop(dbos).await;
}

#[workflow]
async fn sells(ctx: Ctx) -> Result<(u32, Failure, ErrorKind), Failure> {
    let log = ctx.state();
    let sold = ctx
        .step("sell", || async {
            log.add("sell");
            Ok(7)
        })
        .await?;
    let failed = ctx
        .step("fail", || async {
            log.add("fail");
            Err::<(), _>(Failure::SoldOut { left: 2 })
        })
        .await;
    let panicked = ctx
        .step::<(), _, _>("panic", || async {
            log.add("panic");
            panic!("jam")
        })
        .await;
    wait(&ctx).await?;
    ctx.step("ship", || async {
        log.add("ship");
        Ok(())
    })
    .await?;
    Ok((sold, failed.unwrap_err(), panicked.unwrap_err().runtime().kind()))
}

const CHANGED: WorkflowRef<(), u32, Failure> = WorkflowRef::named("changed");

/// One version of the code under the name `changed`: the same but for the name of its first step.
fn version(fresh: &Fresh, log: &Log, name: &'static str) -> Builder<Log> {
    builder(fresh, log).register_fn("changed", move |ctx: Ctx, (): ()| async move {
        let log = ctx.state();
        log.add("body");
        ctx.step(name, || async {
            log.add(name);
            Ok(())
        })
        .await?;
        wait(&ctx).await
    })
}

on_each_backend! {
    // 98
    async fn recorded_results_and_errors_answer_and_only_the_rest_runs(fresh: Fresh) {
        let log = Log::default();
        interrupted(&log, builder(&fresh, &log).register(sells), sells).await;
        let dbos = builder(&fresh, &log).register(sells).launch().await.unwrap();
        let result = finish::<(u32, Failure, ErrorKind), Failure>(&dbos, "w").await;
        assert_eq!(result.unwrap(), (7, Failure::SoldOut { left: 2 }, ErrorKind::Panicked));
        assert_eq!(log.entries(), ["sell", "fail", "panic", "waits", "waits", "ship"]);
        assert_eq!(trail(&fresh, "w").await, "1 sell, 2 fail, 3 panic, 4 DBOS.recv, 5 DBOS.sleep, 6 ship");
        let found = row(&fresh, "workflow_status", "w", "status, recovery_attempts, executor_id, queue_name").await;
        let expected = json!({
            "status": "SUCCESS", "recovery_attempts": 2, "executor_id": "one", "queue_name": "_dbos_internal_queue"
        });
        assert_eq!(found, expected);
        stop(dbos).await;
    }

    // The record is what answers: a planted one is believed.
    async fn a_replay_reads_the_record_and_nothing_else(fresh: Fresh) {
        let log = Log::default();
        interrupted(&log, builder(&fresh, &log).register(sells), sells).await;
        fresh.execute("UPDATE operation_outputs SET output = '8' WHERE function_id = 1").await;
        fresh.execute("DELETE FROM operation_outputs WHERE function_id = 2").await;
        let dbos = builder(&fresh, &log).register(sells).launch().await.unwrap();
        let (sold, ..) = finish::<(u32, Failure, ErrorKind), Failure>(&dbos, "w").await.unwrap();
        assert_eq!(sold, 8);
        assert_eq!((log.count("sell"), log.count("fail"), log.count("panic")), (1, 2, 1), "a lost record runs again");
        stop(dbos).await;
    }

    // 134, K20
    async fn changed_code_ends_with_an_error_that_names_both_steps_and_does_not_loop(fresh: Fresh) {
        let log = Log::default();
        interrupted(&log, version(&fresh, &log, "charge"), CHANGED).await;

        let dbos = version(&fresh, &log, "refund").launch().await.unwrap();
        let handle: WorkflowHandle<u32, Failure> = dbos.retrieve("w").await.unwrap();
        let error = handle.result().await.unwrap_err().runtime();
        assert_eq!(error.kind(), ErrorKind::UnexpectedStep);
        assert!(error.to_string().contains("\"charge\"") && error.to_string().contains("\"refund\""), "{error}");
        stop(dbos).await;

        let dbos = version(&fresh, &log, "refund").launch().await.unwrap();
        let found = row(&fresh, "workflow_status", "w", "status, recovery_attempts").await;
        assert_eq!(found, json!({"status": "ERROR", "recovery_attempts": 2}));
        assert!(text(&fresh, "workflow_output", "w", "error").await.contains(r#""kind":"UnexpectedStep""#));
        assert_eq!(log.entries(), ["body", "charge", "waits", "body"]);
        assert_eq!(trail(&fresh, "w").await, "1 charge, 3 DBOS.sleep", "the record is left alone");
        stop(dbos).await;
    }

    // 130, K19: a record that appears at a number of ours is an error, and not a sign of another owner to wait for.
    async fn a_number_that_is_taken_by_another_record_is_an_error(fresh: Fresh) {
        let log = Log::default();
        let dbos = builder(&fresh, &log).register(sells).launch().await.unwrap();
        let handle = dbos.start(sells, ()).id("w").await.unwrap();
        done(&log, "waits", 1).await;
        fresh.execute("INSERT INTO operation_outputs (workflow_uuid, function_id, function_name, output) \
            VALUES ('w', 6, 'ship', 'null')").await;
        dbos.send(handle.id(), &1).topic("go").await.unwrap();
        let error = handle.result().await.unwrap_err().runtime();
        assert_eq!(error.kind(), ErrorKind::StepNondeterminism);
        assert_eq!(log.count("ship"), 1, "the fresh run had no reason to look");
        assert_eq!(text(&fresh, "workflow_status", "w", "status").await, "ERROR");
        stop(dbos).await;
    }

    // B74
    async fn a_record_that_cannot_be_read_is_a_typed_error(fresh: Fresh) {
        let log = Log::default();
        interrupted(&log, builder(&fresh, &log).register(sells), sells).await;
        for (planted, part) in [
            ("output = NULL", "without a result"),
            ("error = '{\"name\":\"E\",\"message\":\"\"}', output = '7'", "without a result"),
            ("error = NULL, output = '{{{'", "stored JSON"),
            ("output = '\"seven\"'", "stored JSON"),
            ("output = '7', serialization = 'py_pickle'", "py_pickle"),
        ] {
            fresh.execute(&format!("UPDATE operation_outputs SET {planted} WHERE function_id = 1")).await;
            fresh.execute("UPDATE workflow_status SET status = 'PENDING'").await;
            let dbos = builder(&fresh, &log).register(sells).launch().await.unwrap();
            let end = "SELECT count(*) FROM workflow_status WHERE status = 'ERROR'";
            until(&format!("{planted}: it ends"), async || fresh.scalar(end).await == 1).await;
            let handle = dbos.retrieve::<(u32, Failure, ErrorKind), Failure>("w").await.unwrap();
            let error = handle.result().await.unwrap_err().runtime();
            assert_eq!(error.kind(), ErrorKind::Serialization, "{planted}");
            assert!(error.to_string().contains(part), "{planted}: {error}");
            stop(dbos).await;
        }
        assert_eq!(log.count("sell"), 1);
    }
}
