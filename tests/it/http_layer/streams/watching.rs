//! A workflow's status and steps as they change.

use dbos_runtime::StepFilter;

use super::*;

harness::on_each_backend! {
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
