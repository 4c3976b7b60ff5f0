//! Durable sleep: never early, once across restarts, and what is recorded of it.

use std::time::{Duration, Instant};

use dbos_runtime::{Dbos, Error, ErrorKind};
use harness::on_each_backend;
use serde_json::{Value, json};

use super::scene::{Ctx, HOUR, crash, launch, launch_as, result_of, start, status, step, steps, until_rows};

async fn found(dbos: &Dbos) -> Result<Value, Error> {
    result_of(&dbos.retrieve("w").await.unwrap()).await
}

on_each_backend! {
    // G170, G172, G173
    async fn a_sleep_is_never_early_and_is_recorded_with_its_wake_time(fresh: Fresh) {
        const ASKED: Duration = Duration::from_millis(120);
        // A process that does not look keeps the clock that it has.
        let rare = harness::builder(&fresh).polling_interval(HOUR);
        let dbos = launch_as(rare, |ctx, _| async move {
            let began = Instant::now();
            ctx.sleep(ASKED).await?;
            Ok(json!(began.elapsed() >= ASKED))
        })
        .await;
        assert_eq!(result_of(&start(&dbos, "w").await).await.unwrap(), true);
        let row = fresh.rows("SELECT function_id AS n, function_name AS name, output, serialization AS format,
             started_at_epoch_ms AS began, completed_at_epoch_ms AS woke FROM operation_outputs").await.remove(0);
        assert_eq!((&row["n"], &row["name"], &row["format"]), (&json!(1), &json!("DBOS.sleep"), &json!("portable_json")));
        let woke = row["woke"].as_i64().unwrap();
        assert_eq!(woke, row["began"].as_i64().unwrap() + 120, "a sleep's time in a listing is the sleep's own");
        assert_eq!(row["output"], format!("{}.{:03}", woke / 1000, woke % 1000));
    }

    // G171
    async fn a_sleep_that_has_passed_while_no_process_ran_is_over_at_once(fresh: Fresh) {
        let body = async |ctx: Ctx, _| {
            ctx.sleep(HOUR).await?;
            Ok(json!("awake"))
        };
        let dbos = launch(&fresh, body).await;
        start(&dbos, "w").await;
        until_rows(&fresh, 1, "operation_outputs").await;
        crash(&dbos).await;
        fresh.execute("UPDATE operation_outputs SET output = '1700000000.5'").await;
        let dbos = launch(&fresh, body).await;
        assert_eq!(found(&dbos).await.unwrap(), "awake");
        assert_eq!(steps(&fresh, "w").await, [step(1, "DBOS.sleep", Some("1700000000.5"), Some("portable_json"))]);
    }

    // G170: neither shortened by a restart nor begun anew.
    async fn a_restart_neither_shortens_nor_prolongs_a_sleep(fresh: Fresh) {
        const ASKED: Duration = Duration::from_millis(700);
        let body = async |ctx: Ctx, _| {
            ctx.sleep(ASKED).await?;
            ctx.step("after", || async { Ok(()) }).await?;
            Ok(Value::Null)
        };
        let dbos = launch(&fresh, body).await;
        start(&dbos, "w").await;
        until_rows(&fresh, 1, "operation_outputs").await;
        let recorded = steps(&fresh, "w").await.remove(0);
        for _ in 0..2 {
            crash(&dbos).await;
            let dbos = launch(&fresh, body).await;
            until_rows(&fresh, 1, "workflow_status WHERE status = 'PENDING' OR completed_at IS NOT NULL").await;
            crash(&dbos).await;
        }
        let dbos = launch(&fresh, body).await;
        found(&dbos).await.unwrap();
        assert_eq!(steps(&fresh, "w").await.remove(0), recorded);
        let late = "SELECT b.started_at_epoch_ms - a.completed_at_epoch_ms FROM operation_outputs a, operation_outputs b
             WHERE a.function_id = 1 AND b.function_id = 2";
        assert!(fresh.scalar(late).await >= 0, "{} ms", fresh.scalar(late).await);
    }

    async fn a_zero_sleep_is_no_step(fresh: Fresh) {
        let dbos = launch(&fresh, |ctx, _| async move {
            ctx.sleep(Duration::ZERO).await?;
            ctx.step("first", || async { Ok(()) }).await?;
            ctx.sleep(Duration::ZERO).await?;
            Ok(Value::Null)
        })
        .await;
        result_of(&start(&dbos, "w").await).await.unwrap();
        assert_eq!(steps(&fresh, "w").await, [step(1, "first", Some("null"), Some("portable_json"))]);
    }

    // B49
    async fn a_wait_of_more_than_a_hundred_years_is_refused_and_a_hundred_years_are_not(fresh: Fresh) {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
        let dbos = launch(&fresh, |ctx, _| async move {
            let absurd = [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_secs(9_000_000_000_000), 101 * YEAR];
            for duration in absurd {
                let kinds = [
                    ctx.sleep(duration).await.unwrap_err().kind(),
                    ctx.recv::<Value>(None).timeout(duration).await.unwrap_err().kind(),
                    ctx.get_event::<Value>(ctx.workflow_id(), "k").timeout(duration).await.unwrap_err().kind(),
                ];
                assert_eq!(kinds, [ErrorKind::InvalidArgument; 3], "{duration:?}");
            }
            ctx.set_event("k", "refused").await?;
            ctx.sleep(100 * YEAR).await?;
            Ok(Value::Null)
        })
        .await;
        let handle = start(&dbos, "w").await;
        let id = handle.id();
        let refused = dbos.get_event::<Value>(id, "k", harness::PATIENCE).await.unwrap();
        assert_eq!(refused, Some(json!("refused")));
        let outside = dbos.get_event::<Value>(id, "missing", Duration::MAX).await.unwrap_err();
        assert_eq!(outside.kind(), ErrorKind::InvalidArgument);
        until_rows(&fresh, 1, "operation_outputs WHERE function_name = 'DBOS.sleep'").await;
        assert!(dbos.cancel(id).await.unwrap());
    }

    // Nothing is held meanwhile: many sleep at once in the time of one.
    async fn sleeps_of_one_workflow_run_side_by_side(fresh: Fresh) {
        let body = async |ctx: Ctx, _| {
            let (a, b, c) = tokio::join!(ctx.sleep(HOUR), ctx.sleep(HOUR), ctx.sleep(HOUR));
            a.and(b).and(c)?;
            Ok(Value::Null)
        };
        let dbos = launch(&fresh, body).await;
        start(&dbos, "w").await;
        // All three are recorded before the first has ended.
        until_rows(&fresh, 3, "operation_outputs").await;
        assert_eq!(status(&fresh, "w").await, "PENDING");
        crash(&dbos).await;
        fresh.execute("UPDATE operation_outputs SET output = '1700000000.5'").await;
        let dbos = launch(&fresh, body).await;
        found(&dbos).await.unwrap();
        assert_eq!(steps(&fresh, "w").await.len(), 3);
    }
}
