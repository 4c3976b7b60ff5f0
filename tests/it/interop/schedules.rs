//! Schedules are rows that all languages read and pause; each fires its own.

use dbos_runtime::{ErrorKind, Schedule, ScheduleFilter, ScheduleStatus};
use harness::with_each_peer;
use serde_json::json;

use super::scene::{QUEUE, assert_kind, launch, result_of};

/// Not in the lifetime of a test.
const YEARLY: &str = "0 0 1 1 *";

with_each_peer! {
    // P466, M381
    async fn our_schedule_is_theirs_to_see_and_pause(fresh: Fresh, peer: Peer) {
        let dbos = launch(&fresh).await;
        let schedules = dbos.schedules();
        let context = json!({"region": "emea"});
        let schedule = Schedule::new("ours", YEARLY).workflow_named("nightly").context(&context);
        schedules.create(schedule.time_zone("Europe/Berlin").queue(QUEUE)).await.unwrap();
        assert_eq!(peer.tell("schedules", json!({"application": null})).await, json!([]));
        let seen = peer.ask("schedules", json!({"application": ["rust-app"]})).await;
        if peer.language() == Language::Node {
            // A context has no format of its own, and this SDK lists none that it has not written.
            assert!(seen.unwrap_err()["message"].as_str().unwrap().contains("superjson"));
        } else {
            // Python shows as text what is not of its own.
            let expected = json!([{"name": "ours", "workflow": "nightly", "cron": YEARLY, "status": "ACTIVE",
                "context": context.to_string(), "timezone": "Europe/Berlin", "queue": QUEUE}]);
            assert_eq!(seen.unwrap(), expected);
        }
        peer.tell("pause_schedule", json!({"name": "ours"})).await;
        assert_eq!(schedules.get("ours").await.unwrap().unwrap().status, ScheduleStatus::Paused);

        // A run of ours is a workflow like any other.
        let run = schedules.trigger("ours").await.unwrap();
        let result = peer.tell("result", json!({"id": run})).await;
        assert_eq!(result["context"], context);
        assert_eq!(peer.tell("status", json!({"id": run})).await["schedule"], "ours");
        peer.tell("delete_schedule", json!({"name": "ours"})).await;
        assert_eq!(schedules.get("ours").await.unwrap(), None);
    }

    // P466, M381
    async fn their_schedule_is_ours_to_see_and_pause(fresh: Fresh, peer: Peer) {
        let dbos = launch(&fresh).await;
        let schedules = dbos.schedules();
        let create = json!({"name": "theirs", "workflow": "nightly", "cron": YEARLY, "context": {"region": "emea"}, "queue": peer.queue()});
        peer.tell("create_schedule", create).await;
        let found = schedules.get("theirs").await.unwrap().unwrap();
        assert_eq!((&*found.workflow_name, &*found.cron, found.queue_name.as_deref()), ("nightly", YEARLY, Some(&*peer.queue())));
        assert_eq!(found.application_name, Some(peer.application()));
        assert_eq!(schedules.list(&ScheduleFilter::new()).await.unwrap(), []);
        let error = schedules.create(Schedule::new("theirs", YEARLY).workflow_named("echo")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NameInUse, "{error}");
        schedules.pause("theirs").await.unwrap();
        let seen = peer.tell("schedules", json!({"application": null})).await;
        assert_eq!((&seen[0]["status"], &seen[0]["context"]), (&json!("PAUSED"), &json!({"region": "emea"})));

        // Their runs keep their values in a format of their own.
        let run = peer.tell("trigger_schedule", json!({"name": "theirs"})).await;
        let run = run.as_str().unwrap();
        peer.tell("result", json!({"id": run})).await;
        assert_kind(result_of(&dbos, run).await, ErrorKind::Serialization);
        assert!(schedules.delete("theirs").await.unwrap());
        assert_eq!(peer.tell("schedules", json!({"application": null})).await, json!([]));
    }
}
