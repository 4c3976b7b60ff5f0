//! New code beside old code: which of the two does a workflow run?

use dbos_runtime::{Error, ErrorKind};
use harness::{Fresh, on_each_backend};
use serde_json::{Value, json};

use super::scene::{
    Ctx, HOUR, W, assert_kind, crash, forget_outcomes, id, launch, result_of, start, step, steps, until_rows,
};
use super::support::trail;

/// A step that says its name.
async fn say(ctx: &Ctx, name: &'static str) -> Result<Value, Error> {
    ctx.step(name, || async { Ok(json!(name)) }).await
}

async fn receive(ctx: &Ctx) -> Result<Value, Error> {
    Ok(json!(ctx.recv::<Value>("t").timeout(HOUR).await?))
}

async fn old(ctx: Ctx, _: Value) -> Result<Value, Error> {
    Ok(json!([say(&ctx, "a").await?, say(&ctx, "b").await?]))
}

async fn patched(ctx: Ctx, _: Value) -> Result<Value, Error> {
    let first = say(&ctx, "a").await?;
    let second = if ctx.patch("c-for-b").await? { "c" } else { "b" };
    Ok(json!([first, say(&ctx, second).await?, say(&ctx, "d").await?]))
}

async fn deprecated(ctx: Ctx, _: Value) -> Result<Value, Error> {
    let first = say(&ctx, "a").await?;
    ctx.deprecate_patch("c-for-b").await?;
    Ok(json!([first, say(&ctx, "c").await?, say(&ctx, "d").await?]))
}

/// Runs all ended workflows again, with this body, and gives the result of one.
async fn again<F, Fut>(fresh: &Fresh, body: F, name: &str) -> Result<Value, Error>
where
    F: Fn(Ctx, Value) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Value, Error>> + Send + 'static,
{
    forget_outcomes(fresh).await;
    let dbos = launch(fresh, body).await;
    let result = result_of(&dbos.retrieve(name).await.unwrap()).await;
    crash(&dbos).await;
    result
}

on_each_backend! {
    // E138
    async fn old_workflows_run_the_old_code_and_new_ones_the_new_and_both_keep_to_it(fresh: Fresh) {
        let dbos = launch(&fresh, old).await;
        assert_eq!(result_of(&start(&dbos, "old").await).await.unwrap(), json!(["a", "b"]));
        crash(&dbos).await;
        let dbos = launch(&fresh, patched).await;
        assert_eq!(result_of(&start(&dbos, "new").await).await.unwrap(), json!(["a", "c", "d"]));
        crash(&dbos).await;
        for _ in 0..2 {
            assert_eq!(again(&fresh, patched, "old").await.unwrap(), json!(["a", "b", "d"]));
            assert_eq!(again(&fresh, patched, "new").await.unwrap(), json!(["a", "c", "d"]));
        }
        assert_eq!(trail(&fresh, "old").await, "1 a, 2 b, 3 d");
        assert_eq!(trail(&fresh, "new").await, "1 a, 2 DBOS.patch-c-for-b, 3 c, 4 d");
        assert_eq!(steps(&fresh, "new").await[1], step(2, "DBOS.patch-c-for-b", None, None));
    }

    // E138
    async fn a_workflow_that_had_not_come_so_far_runs_the_new_code(fresh: Fresh) {
        let dbos = launch(&fresh, async |ctx: Ctx, _| {
            say(&ctx, "a").await?;
            std::future::pending().await
        })
        .await;
        start(&dbos, "w").await;
        until_rows(&fresh, 1, "operation_outputs").await;
        crash(&dbos).await;
        let dbos = launch(&fresh, patched).await;
        let handle = dbos.retrieve::<Value, Error>("w").await.unwrap();
        assert_eq!(result_of(&handle).await.unwrap(), json!(["a", "c", "d"]));
    }

    // A receive records its deadline, at the number after its own, before it has anything to record for itself.
    async fn a_call_that_was_under_way_counts_as_old_code(fresh: Fresh) {
        let dbos = launch(&fresh, async |ctx: Ctx, _| receive(&ctx).await).await;
        start(&dbos, "w").await;
        until_rows(&fresh, 1, "operation_outputs WHERE function_id = 2").await;
        crash(&dbos).await;
        let dbos = launch(&fresh, async |ctx: Ctx, _| {
            let new = ctx.patch("before").await?;
            Ok(json!([new, receive(&ctx).await?]))
        })
        .await;
        dbos.send(&id("w"), "hello").topic("t").await.unwrap();
        let handle = dbos.retrieve::<Value, Error>("w").await.unwrap();
        assert_eq!(result_of(&handle).await.unwrap(), json!([false, "hello"]));
        assert_eq!(trail(&fresh, "w").await, "1 DBOS.recv, 2 DBOS.sleep");
    }

    // E139
    async fn a_deprecated_patch_passes_over_its_marker_and_leaves_none(fresh: Fresh) {
        let dbos = launch(&fresh, patched).await;
        assert_eq!(result_of(&start(&dbos, "marked").await).await.unwrap(), json!(["a", "c", "d"]));
        crash(&dbos).await;
        let dbos = launch(&fresh, deprecated).await;
        assert_eq!(result_of(&start(&dbos, "unmarked").await).await.unwrap(), json!(["a", "c", "d"]));
        crash(&dbos).await;
        for name in ["marked", "unmarked"] {
            assert_eq!(again(&fresh, deprecated, name).await.unwrap(), json!(["a", "c", "d"]), "{name}");
        }
        assert_eq!(trail(&fresh, "marked").await, "1 a, 2 DBOS.patch-c-for-b, 3 c, 4 d");
        assert_eq!(trail(&fresh, "unmarked").await, "1 a, 2 c, 3 d");
        // And when nothing is left of it in the code, a workflow with the marker is refused.
        let plain = async |ctx: Ctx, _| Ok(json!([say(&ctx, "a").await?, say(&ctx, "c").await?, say(&ctx, "d").await?]));
        assert_eq!(again(&fresh, plain, "unmarked").await.unwrap(), json!(["a", "c", "d"]));
        assert_kind(again(&fresh, plain, "marked").await, ErrorKind::UnexpectedStep);
    }

    // E140
    async fn a_patch_beside_calls_that_take_numbers_is_refused(fresh: Fresh) {
        let dbos = launch(&fresh, async |ctx: Ctx, input: Value| {
            if input == json!("built before") {
                let patch = ctx.patch("p");
                say(&ctx, "a").await?;
                return Ok(json!(patch.await?));
            }
            let (new, _) = tokio::join!(async { ctx.patch("p").await }, say(&ctx, "a"));
            Ok(json!(new?))
        })
        .await;
        for (name, input) in [("w1", "built before"), ("w2", "decided meanwhile")] {
            let handle = dbos.start(W, json!(input)).id(name).await.unwrap();
            assert_kind(result_of(&handle).await, ErrorKind::PatchNondeterminism);
        }
    }

    // E135, E140: what was numbered before it does not disturb a patch.
    async fn a_patch_after_calls_that_are_still_under_way_is_decided(fresh: Fresh) {
        let body = async |ctx: Ctx, _: Value| {
            let (said, new) = tokio::join!(say(&ctx, "a"), async { ctx.patch("p").await });
            Ok(json!([said?, new?]))
        };
        let dbos = launch(&fresh, body).await;
        assert_eq!(result_of(&start(&dbos, "w").await).await.unwrap(), json!(["a", true]));
        crash(&dbos).await;
        assert_eq!(again(&fresh, body, "w").await.unwrap(), json!(["a", true]));
        assert_eq!(trail(&fresh, "w").await, "1 a, 2 DBOS.patch-p");
    }

    // E137
    async fn a_patch_without_a_proper_name_is_refused_and_takes_no_number(fresh: Fresh) {
        let dbos = launch(&fresh, async |ctx: Ctx, _| {
            let long = "x".repeat(250);
            for name in ["", " p", "p\n", &long] {
                assert_kind(ctx.patch(name).await, ErrorKind::InvalidArgument);
                assert_kind(ctx.deprecate_patch(name).await, ErrorKind::InvalidArgument);
            }
            say(&ctx, "a").await
        })
        .await;
        assert_eq!(result_of(&start(&dbos, "w").await).await.unwrap(), json!("a"));
        assert_eq!(trail(&fresh, "w").await, "1 a");
    }

    // E140: a cancel is seen before a marker is written.
    async fn a_patch_of_a_cancelled_workflow_writes_no_marker(fresh: Fresh) {
        let dbos = launch(&fresh, async |ctx: Ctx, _| {
            ctx.cancellation().cancelled().await;
            Ok(json!(ctx.patch("p").await?))
        })
        .await;
        let handle = start(&dbos, "w").await;
        assert!(dbos.cancel(&id("w")).await.unwrap());
        assert_kind(result_of(&handle).await, ErrorKind::AwaitedWorkflowCancelled);
        dbos.shutdown(harness::PATIENCE).await;
        assert_eq!(trail(&fresh, "w").await, "");
    }
}
