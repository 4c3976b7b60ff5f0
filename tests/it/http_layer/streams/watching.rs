//! A workflow's status and steps as they change.

use std::future::IntoFuture;
use std::sync::Arc;

use dbos_runtime::{StepFilter, WorkflowRef};
use futures_util::future;
use tokio::sync::Notify;

use super::*;

/// So many steps side by side, of which the first is the last to end.
const STEPS: usize = 200;

const FAN_OUT: WorkflowRef<(), (), ShopError> = WorkflowRef::named("fan out");

async fn fan_out(ctx: Ctx, last: Arc<Notify>) -> Result<(), ShopError> {
    let steps = (0..STEPS).map(|n| {
        let last = Arc::clone(&last);
        ctx.step("one of many", move || {
            let last = Arc::clone(&last);
            async move {
                if n == 0 {
                    last.notified().await;
                }
                Ok::<_, ShopError>(())
            }
        })
    });
    future::try_join_all(steps.map(IntoFuture::into_future)).await?;
    Ok(())
}

harness::on_each_backend! {
    async fn a_step_that_ends_long_after_later_ones_is_told_too(fresh: Fresh) {
        let last = Arc::new(Notify::new());
        let body = { let last = Arc::clone(&last); move |ctx: Ctx, (): ()| fan_out(ctx, Arc::clone(&last)) };
        let dbos = harness::builder(&fresh).state(()).register_fn("fan out", body).launch().await.unwrap();
        let handle = dbos.start(FAN_OUT, ()).id("fan-1").authenticated_user("ada").await.unwrap();
        let api = WorkflowApi::<Caller>::new(dbos.clone()).into_router();
        let client = Client::new(Router::new().nest("/dbos", api));
        let watch = client.get("/dbos/workflows/fan-1/watch").header("x-user", "ada");
        let mut events = Events::of(watch.open().await);
        let told = events.take(STEPS).await;
        let mut steps: Vec<_> = told.iter().filter_map(|event| event.data.as_ref()?["step"].as_u64()).collect();
        steps.sort_unstable();
        assert_eq!(steps, (2..=STEPS as u64).collect::<Vec<_>>(), "all but the first one");
        last.notify_one();
        handle.result().await.unwrap();
        let rest = events.all().await;
        let late: Vec<_> = rest.iter().filter_map(|event| event.data.as_ref()?["step"].as_u64()).collect();
        assert_eq!(late, [1]);
        assert_eq!(rest.last().unwrap().id, Some(format!("{STEPS}.end")));
        end(&dbos).await;
    }

    async fn a_watch_tells_the_status_and_the_steps_and_ends_with_the_workflow(fresh: Fresh) {
        let desk = Desk::open(&fresh).await;
        let watch = || desk.client.get("/dbos/workflows/desk-1/watch").header("x-user", "ada");
        let mut events = Events::of(watch().open().await);
        assert_eq!(events.headers["content-type"], "text/event-stream");
        let first = events.take(1).await.remove(0);
        assert_eq!((first.name.as_deref(), &first.data.as_ref().unwrap()["status"]), (Some("status"), &json!("PENDING")));
        let status = first.data.unwrap();
        assert_eq!(status["workflow_id"], "desk-1");
        assert!(status["created_at"].as_str().unwrap().ends_with('Z'), "{status}");
        desk.write([json!("secret")]).await;
        let mut steps = Vec::new();
        while !steps.contains(&"DBOS.writeStream".to_owned()) {
            let event = events.take(1).await.remove(0);
            assert_eq!(event.name.as_deref(), Some("step"));
            let step = event.data.unwrap();
            assert!(step["completed_at"].is_string() && !step.to_string().contains("secret"), "{step}");
            steps.push(step["name"].as_str().unwrap().to_owned());
        }
        desk.finish().await;
        let rest = events.all().await;
        let count = steps.len() + rest.iter().filter(|event| event.name.as_deref() == Some("step")).count();
        let recorded = desk.dbos.workflows().steps("desk-1", &StepFilter::new()).await.unwrap();
        assert_eq!(count, recorded.len());
        let status: Vec<_> = rest.iter().filter(|event| event.name.as_deref() == Some("status")).collect();
        assert_eq!(status.len(), 1);
        assert_eq!(status[0].data.as_ref().unwrap()["status"], "SUCCESS");
        let last = rest.last().unwrap();
        let end_id = format!("{count}.end");
        assert_eq!((last.id.as_deref(), last.name.as_deref()), (Some(end_id.as_str()), Some("end")));
        assert_eq!(last.data, Some(json!({"status": "SUCCESS", "reason": "ended"})));
        // Whoever comes later is told all of it at once, and whoever has seen the end nothing.
        assert_eq!(Events::of(watch().open().await).all().await.len(), count + 2);
        assert_eq!(watch().header("last-event-id", &end_id).send().await.status, 204);
        is_problem(&watch().header("accept", "application/json").send().await, 406, None);
        end(&desk.dbos).await;
    }
}
