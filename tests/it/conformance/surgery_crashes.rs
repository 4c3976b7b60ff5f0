//! A process dies at every boundary of a change that a workflow of it makes to another one; the next one finishes it.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use dbos_runtime::{Error, Fork, Rewind};
use harness::{Fresh, on_each_backend};
use serde_json::{Value, json};
use tokio::process::Command;

use super::rows::{insert, record, table};
use super::scene::{Ctx, W, launch_as};

/// The workflow: makes the change that its input names.
async fn operate(ctx: Ctx, verb: Value) -> Result<Value, Error> {
    let workflows = ctx.workflows();
    match verb.as_str().unwrap() {
        "fork" => {
            let fork = workflows.fork(Fork::of("target", 2).queue("elsewhere")).await?;
            return Ok(json!(fork.id()));
        }
        "rewind" => drop(workflows.rewind(Rewind::of("target", 2).queue("elsewhere")).await?),
        "cancel" => drop(workflows.cancel(["target"]).await?),
        "resume" => drop(workflows.resume(["target"]).queue("elsewhere").await?),
        "delay" => drop(workflows.set_delay("target", Duration::from_secs(60)).await?),
        _ => drop(workflows.delete(["target"]).await?),
    }
    Ok(Value::Null)
}

/// The process. It has no test of its own: the one below runs it.
#[ignore = "run by another test"]
#[tokio::test]
async fn operates() {
    let (Ok(url), Ok(verb)) = (std::env::var("SURGERY_URL"), std::env::var("SURGERY_VERB")) else { return };
    let builder = dbos_runtime::Dbos::builder("tests").database_url(url).application_version("v1");
    let dbos = launch_as(builder.polling_interval(Duration::from_millis(20)), operate).await;
    let result = dbos.start(W, json!(verb)).id("w").await.unwrap().result().await.unwrap();
    println!("I made {result}.");
    dbos.shutdown(Duration::from_secs(5)).await;
}

/// Runs the process. What it said, or nothing when it died.
async fn run(fresh: &Fresh, verb: &str, failpoint: Option<&str>) -> Option<String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "--ignored", "--nocapture", "conformance::surgery_crashes::operates"])
        .env_remove("DBOS_FAILPOINT")
        .envs(failpoint.map(|failpoint| ("DBOS_FAILPOINT", failpoint)))
        .envs([("SURGERY_URL", fresh.url()), ("SURGERY_VERB", verb)])
        .stdin(Stdio::null());
    let output = command.output().await.unwrap();
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A target in the state that the verb needs, with two steps.
async fn prepare(fresh: &Fresh, verb: &str) {
    fresh
        .execute("DELETE FROM operation_outputs; DELETE FROM workflow_output; DELETE FROM workflow_status")
        .await;
    fresh.execute("DELETE FROM workflow_input").await;
    let state = match verb {
        "rewind" => "SUCCESS",
        "resume" => "CANCELLED",
        "delay" => "DELAYED",
        _ => "ENQUEUED",
    };
    insert(fresh, "target", state, &[("delay_until_epoch_ms", "9000000000000000")]).await;
    record(fresh, "target", &[(1, "s", Some("1"), None, None), (2, "s", Some("2"), None, None)]).await;
}

/// What the change has left, without times.
async fn left(fresh: &Fresh) -> BTreeSet<String> {
    let workflows = "SELECT workflow_uuid AS a, status AS b, forked_from AS c FROM workflow_status";
    let steps =
        "SELECT workflow_uuid AS a, function_id AS b, function_name AS c, error AS d FROM operation_outputs";
    let mut left = table(fresh, workflows).await;
    left.extend(table(fresh, steps).await);
    left.into_iter().collect()
}

on_each_backend! {
    // L.348, L.359, F01
    async fn a_change_is_made_once_wherever_its_process_dies(fresh: Fresh) {
        for verb in ["fork", "rewind", "cancel", "resume", "delay", "delete"] {
            prepare(&fresh, verb).await;
            let said = run(&fresh, verb, None).await.unwrap();
            let expected = left(&fresh).await;
            let steps = if verb == "fork" { 2 } else { 1 };
            let own = expected.iter().filter(|row| row.starts_with("w|") && row.contains("|DBOS.")).count();
            assert_eq!(own, steps, "{expected:?}");
            assert!(said.contains(if verb == "fork" { "I made \"w-1\"." } else { "I made null." }), "{said}");
            for side in ["before", "after"] {
                prepare(&fresh, verb).await;
                let failpoint = format!("{verb}:{side}");
                assert_eq!(run(&fresh, verb, Some(&failpoint)).await, None, "{failpoint} killed nobody");
                assert!(run(&fresh, verb, None).await.is_some(), "{failpoint}");
                assert_eq!(left(&fresh).await, expected, "killed at {failpoint}");
            }
        }
    }
}
