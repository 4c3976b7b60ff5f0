//! Each language lists the rows of the others, also those whose values it cannot read.

use dbos_runtime::{Filter, StepFilter, WorkflowInfo};
use harness::with_each_peer;
use serde_json::{Value, json};

use super::scene::{ECHO, HOUR, QUEUE, launch, result_of};

/// Ids in the order of the listing.
fn ids(found: &[WorkflowInfo]) -> Vec<&str> {
    found.iter().map(|info| info.id.as_str()).collect()
}

with_each_peer! {
    // O440, P464
    async fn we_list_their_rows(fresh: Fresh, peer: Peer) {
        let dbos = launch(&fresh).await;
        for (name, args) in [("echo", json!([{"a": 1}])), ("sold_out", json!([3])), ("native", json!([]))] {
            peer.tell("start", json!({"name": name, "args": args, "id": name})).await;
            let _ = result_of(&dbos, name).await;
        }
        let own = dbos.workflows().list(&Filter::new()).await.unwrap();
        assert_eq!(ids(&own), Vec::<&str>::new());
        let theirs = Filter::new().applications([peer.application()]).with_input().with_output();
        let theirs = dbos.workflows().list(&theirs).await.unwrap();
        assert_eq!(ids(&theirs), ["echo", "sold_out", "native"]);
        let [echo, sold_out, native] = theirs.as_slice() else { panic!("{theirs:?}") };
        assert_eq!(echo.input.as_ref().unwrap().json().unwrap()["positionalArgs"], json!([{"a": 1}]));
        assert_eq!(echo.output.as_ref().unwrap().json(), Some(json!({"a": 1})));
        assert_eq!((echo.executor_id.as_deref(), echo.application_version.as_deref()), (Some(peer.executor()), Some(&*peer.version())));
        assert_eq!(sold_out.error.as_ref().unwrap().json().unwrap()["name"], "SoldOut");
        let format = if peer.language() == Language::Python { "py_pickle" } else { "js_superjson" };
        let output = native.output.as_ref().unwrap();
        assert_eq!((output.format(), output.json()), (Some(format), None));
        let steps = dbos.workflows().steps("native", &StepFilter::new()).await.unwrap();
        assert_eq!((steps.len(), steps[0].output.as_ref().unwrap().format()), (1, Some(format)));
    }

    // P464
    async fn they_list_our_rows(fresh: Fresh, peer: Peer) {
        let dbos = launch(&fresh).await;
        dbos.start(ECHO, json!("done")).id("done").await.unwrap().result().await.unwrap();
        let queued = dbos.start(ECHO, json!("later")).id("queued").queue(QUEUE).delay(HOUR);
        let queued = queued.priority(3).deduplication_id("d").authenticated_user("ada").authenticated_roles(&["admin"]);
        let attributes = json!({"tenant": 7});
        queued.attributes(attributes.as_object().unwrap()).await.unwrap();
        assert_eq!(peer.tell("list", json!({})).await, json!([]));
        let mut ours = peer.tell("list", json!({"application": ["rust-app"]})).await;
        // The times of both may be within a millisecond.
        ours.as_array_mut().unwrap().sort_by_key(|row| row["id"].as_str().map(ToOwned::to_owned));
        let facts = |row: &Value| -> Vec<Value> {
            let members = ["id", "status", "name", "application", "queue", "priority", "deduplication", "user", "roles",
                "attributes", "input", "output"];
            members.iter().map(|member| row[member].clone()).collect()
        };
        let none = Value::Null;
        assert_eq!(json!(facts(&ours[0])), json!(["done", "SUCCESS", "echo", "rust-app", none, 0, none, none, none, none, ["done"], "done"]));
        assert_eq!(json!(facts(&ours[1])), json!(["queued", "DELAYED", "echo", "rust-app", QUEUE, 3, "d", "ada", ["admin"],
            {"tenant": 7}, ["later"], none]));
        assert_eq!(ours.as_array().unwrap().len(), 2);
    }
}
