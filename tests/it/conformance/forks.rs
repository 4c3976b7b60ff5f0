//! Forking: a new workflow from another's first steps.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dbos_runtime::{Dbos, ErrorKind, Fork, ForkPoint};
use harness::{Fresh, on_each_backend};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::rows::{columns, insert, one_of_each, record, table};
use super::scene::{Ctx, W, assert_kind, crash, forget_outcomes, id, launch, result_of, start, steps};

/// A source with five steps, of which the third and fourth failed, two events, two streams, a message and an input.
async fn source(fresh: &Fresh, id: &str) {
    let more = [
        ("class_name", "'C'"),
        ("config_name", "'i'"),
        ("application_id", "'app'"),
        ("application_name", "'another'"),
        ("authenticated_user", "'ada'"),
        ("authenticated_roles", "'[\"r\"]'"),
        ("assumed_role", "'r'"),
        ("serialization", "'portable_json'"),
        ("attributes", "'{\"a\":1}'"),
        ("priority", "7"),
        ("parent_workflow_id", "'above'"),
        ("schedule_name", "'s'"),
        ("recovery_attempts", "3"),
        ("workflow_timeout_ms", "9"),
        ("workflow_deadline_epoch_ms", "9"),
        ("owner_xid", "'t'"),
        ("creator_xid", "'t'"),
    ];
    insert(fresh, id, "PENDING", &more).await;
    let steps = [
        (1, "one", Some("1"), None, None),
        (2, "child", None, None, Some("kid")),
        (3, "one", None, Some("{}"), None),
        (4, "four", None, Some("{}"), None),
        (5, "five", Some("5"), None, None),
    ];
    record(fresh, id, &steps).await;
    let close = "\"__DBOS_STREAM_CLOSED__\"";
    fresh
        .execute(&format!(
            "INSERT INTO workflow_input (workflow_uuid, inputs) VALUES ('{id}', '{{\"positionalArgs\":[7]}}');
             INSERT INTO workflow_events (workflow_uuid, key, value) VALUES ('{id}', 'k', '3'), ('{id}', 'late', '4');
             INSERT INTO workflow_events_history (workflow_uuid, function_id, key, value, serialization) VALUES
                ('{id}', 1, 'k', '1', 'f'), ('{id}', 2, 'k', '2', 'g'), ('{id}', 3, 'k', '3', 'h'), ('{id}', 4, 'late', '4', 'f');
             INSERT INTO streams (workflow_uuid, key, value, \"offset\", function_id, serialization) VALUES
                ('{id}', 'a', '1', 0, 1, 'f'), ('{id}', 'a', '{close}', 1, 2, 'portable_json'), ('{id}', 'b', '2', 0, 3, 'f');
             INSERT INTO notifications (destination_uuid, topic, message) VALUES ('{id}', 't', '1')"
        ))
        .await;
}

async fn count(fresh: &Fresh) -> i64 {
    fresh.scalar("SELECT count(*) FROM workflow_status").await
}

async fn start_of(fresh: &Fresh, id: &str) -> i64 {
    fresh.scalar(&format!("SELECT count(*) + 1 FROM operation_outputs WHERE workflow_uuid = '{id}'")).await
}

on_each_backend! {
    // L.338, L.341, L.342, L.343, L.344, L.347, L.367, I.230, J.256
    async fn a_fork_copies_what_lies_before_its_step_and_nothing_else(fresh: Fresh) {
        let dbos = launch(&fresh, |_, _| async { Ok(Value::Null) }).await;
        source(&fresh, "source").await;
        let fork = Fork::of("source", 3).id("fork").queue("elsewhere").partition_key("p").application_version("v7");
        let fork = fork.timeout(Duration::from_secs(2)).replace_child("kid", "kid-2").replace_child("nobody", "x");
        let handle = dbos.workflows().fork(fork).await.unwrap();
        assert_eq!((handle.id(), handle.created()), (&id("fork"), true));
        let row = columns(&fresh, "fork", "status, name, class_name, config_name, application_id, application_name,
            authenticated_user, authenticated_roles, assumed_role, serialization, forked_from, queue_name,
            queue_partition_key, application_version, workflow_timeout_ms, priority, recovery_attempts").await;
        assert_eq!(row, json!({ "status": "ENQUEUED", "name": "w", "class_name": "C", "config_name": "i",
            "application_id": "app", "application_name": "another", "authenticated_user": "ada",
            "authenticated_roles": "[\"r\"]", "assumed_role": "r", "serialization": "portable_json",
            "forked_from": "source", "queue_name": "elsewhere", "queue_partition_key": "p", "application_version": "v7",
            "workflow_timeout_ms": 2000, "priority": 0, "recovery_attempts": 0 }));
        let unset = "parent_workflow_id, schedule_name, workflow_deadline_epoch_ms, owner_xid, creator_xid, executor_id,
            started_at_epoch_ms, completed_at, deduplication_id";
        let unset = columns(&fresh, "fork", unset).await;
        assert!(unset.as_object().unwrap().values().all(Value::is_null), "{unset}");
        assert_eq!(dbos.info("fork").await.unwrap().attributes, json!({ "a": 1 }));
        let copied = |what: &str| format!("SELECT {what} WHERE workflow_uuid = 'fork' ORDER BY 1, 2");
        let steps = table(&fresh, &copied(
            "function_id AS a, function_name AS b, output AS c, error AS d, child_workflow_id AS e, started_at_epoch_ms AS f,
             completed_at_epoch_ms AS g, serialization AS h, application_name AS i FROM operation_outputs")).await;
        assert_eq!(steps, ["1|one|1|-|-|10|20|portable_json|another", "2|child|-|-|kid-2|10|20|portable_json|another"]);
        let events = table(&fresh, &copied("key AS a, value AS b, serialization AS c FROM workflow_events")).await;
        assert_eq!(events, ["k|2|g"]);
        let history = copied("function_id AS a, key AS b, value AS c FROM workflow_events_history");
        assert_eq!(table(&fresh, &history).await, ["1|k|1", "2|k|2"]);
        let streams = copied("key AS a, \"offset\" AS b, value AS c, function_id AS d FROM streams");
        assert_eq!(table(&fresh, &streams).await, ["a|0|1|1", "a|1|\"__DBOS_STREAM_CLOSED__\"|2"]);
        let input = copied("inputs AS a, 1 AS b FROM workflow_input");
        assert_eq!(table(&fresh, &input).await, ["{\"positionalArgs\":[7]}|1"]);
        assert_eq!(fresh.scalar("SELECT count(*) FROM notifications").await, 1, "messages stay with the source");
        let source = columns(&fresh, "source", "status, owner_xid, updated_at, recovery_attempts").await;
        assert_eq!(source, json!({ "status": "PENDING", "owner_xid": "t", "updated_at": 5, "recovery_attempts": 3 }));
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE was_forked_from AND workflow_uuid = 'source'").await, 1);
        // From the beginning: the input alone. Without a version, a queue or a timeout: the latest, everybody's, none.
        dbos.shutdown(Duration::ZERO).await;
        let idle = harness::builder(&fresh).launch().await.unwrap();
        idle.workflows().fork(Fork::of("source", 1).id("again")).await.unwrap();
        let row = columns(&fresh, "again", "application_version, queue_name, workflow_timeout_ms").await;
        assert_eq!(row, json!({ "application_version": null, "queue_name": "_dbos_internal_queue", "workflow_timeout_ms": null }));
        assert_eq!(start_of(&fresh, "again").await, 1);
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_events WHERE workflow_uuid = 'again'").await, 0);
    }

    // L.340, L.341: copied steps answer, the rest runs; a payload in the row's own columns is an input too (L.373).
    async fn a_fork_runs_from_its_step_on(fresh: Fresh) {
        let (tell, mut told) = mpsc::unbounded_channel();
        let dbos = launch(&fresh, move |ctx, input: Value| {
            let tell = tell.clone();
            async move {
                let mut sum = input.as_i64().unwrap();
                for number in 1..=3 {
                    sum += ctx.step("s", || async { tell.send(number).unwrap(); Ok(number) }).await?;
                }
                Ok(json!(sum))
            }
        })
        .await;
        let handle = dbos.start(W, json!(10)).id("w").await.unwrap();
        assert_eq!(result_of(&handle).await.unwrap(), 16);
        let fork = dbos.workflows().fork(Fork::of("w", 3)).await.unwrap();
        assert_eq!(result_of(&fork).await.unwrap(), 16);
        fresh.execute("UPDATE workflow_status SET inputs = (SELECT inputs FROM workflow_input WHERE workflow_uuid = 'w')
            WHERE workflow_uuid = 'w'").await;
        fresh.execute("DELETE FROM workflow_input WHERE workflow_uuid = 'w'").await;
        let again = dbos.workflows().fork(Fork::of("w", 0)).await.unwrap();
        assert_eq!(result_of(&again).await.unwrap(), 16);
        let beyond = dbos.workflows().fork(Fork::of("w", 4)).await.unwrap();
        assert_eq!(result_of(&beyond).await.unwrap(), 16);
        let mut ran = Vec::new();
        while let Ok(number) = told.try_recv() {
            ran.push(number);
        }
        assert_eq!(ran, [1, 2, 3, 3, 1, 2, 3]);
    }

    // L.350
    async fn a_point_is_found_by_the_last_failure_the_last_step_or_a_name(fresh: Fresh) {
        let dbos = launch(&fresh, |_, _| async { Ok(Value::Null) }).await;
        source(&fresh, "source").await;
        insert(&fresh, "empty", "ERROR", &[]).await;
        let points = [
            ("source", ForkPoint::LastFailure, 4),
            ("source", ForkPoint::LastStep, 5),
            ("source", ForkPoint::Named("one".to_owned()), 3),
            ("source", ForkPoint::Step(2), 2),
            ("source", ForkPoint::Step(6), 6),
            ("empty", ForkPoint::LastFailure, 1),
            ("empty", ForkPoint::LastStep, 1),
        ];
        for (source, point, start) in points {
            let fork = Fork::of(source, point.clone()).queue("elsewhere");
            let fork = dbos.workflows().fork(fork).await.unwrap();
            assert_eq!(start_of(&fresh, fork.id().as_str()).await, start, "{source} {point:?}");
        }
    }

    // B62, L.349, L.345
    async fn what_cannot_be_forked_is_refused_and_nothing_is_written(fresh: Fresh) {
        let dbos = launch(&fresh, |_, _| async { Ok(Value::Null) }).await;
        source(&fresh, "source").await;
        insert(&fresh, "taken", "SUCCESS", &[]).await;
        let cases = [
            (Fork::of("source", -1), ErrorKind::InvalidArgument),
            (Fork::of("source", 7), ErrorKind::InvalidArgument),
            (Fork::of("source", i32::MAX), ErrorKind::InvalidArgument),
            (Fork::of("source", ForkPoint::Named("nothing".to_owned())), ErrorKind::InvalidArgument),
            (Fork::of("source", ForkPoint::Named(String::new())), ErrorKind::InvalidArgument),
            (Fork::of("source", 1).id(" "), ErrorKind::InvalidArgument),
            (Fork::of("source", 1).queue(""), ErrorKind::InvalidArgument),
            (Fork::of("source", 1).partition_key("p"), ErrorKind::InvalidArgument),
            (Fork::of("source", 1).application_version(""), ErrorKind::InvalidArgument),
            (Fork::of("source", 1).timeout(Duration::ZERO), ErrorKind::InvalidArgument),
            (Fork::of("source", 1).replace_child("a", "b").replace_child("a", "c"), ErrorKind::InvalidArgument),
            (Fork::of("nobody", 1), ErrorKind::NonExistentWorkflow),
            (Fork::of("source", 1).id("taken"), ErrorKind::WorkflowIdInUse),
            (Fork::of("source", 1).id("source"), ErrorKind::WorkflowIdInUse),
        ];
        for (fork, kind) in cases {
            assert_kind(dbos.workflows().fork(fork).await, kind);
        }
        let both = [Fork::of("source", 1).id("x"), Fork::of("source", 2).id("x")];
        assert_kind(dbos.workflows().fork_all(both).await, ErrorKind::InvalidArgument);
        let error = dbos.workflows().fork_all([Fork::of("a", 1), Fork::of("source", 1), Fork::of("b", 1)]).await.unwrap_err();
        assert_eq!(error.to_string(), "workflows a, b do not exist");
        assert_kind(
            dbos.workflows().fork_all([Fork::of("source", 1).id("y"), Fork::of("source", 1).id("taken")]).await,
            ErrorKind::WorkflowIdInUse,
        );
        assert_eq!(count(&fresh).await, 2);
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE was_forked_from").await, 0);
        assert!(dbos.workflows().fork_all([]).await.unwrap().is_empty());
    }

    // L.346, L.349
    async fn many_forks_are_made_at_once_also_of_one_source(fresh: Fresh) {
        let dbos = launch(&fresh, |_, _| async { Ok(Value::Null) }).await;
        source(&fresh, "source").await;
        let ids = one_of_each(&fresh, &[]).await;
        let mut forks = vec![Fork::of("source", 4).id("a"), Fork::of("source", 3).id("b").replace_child("kid", "kid-b")];
        forks.extend(ids.iter().map(|source| Fork::of(source.as_str(), 1)));
        let forks = forks.into_iter().map(|fork| fork.queue("elsewhere"));
        let handles = dbos.workflows().fork_all(forks).await.unwrap();
        assert_eq!((handles.len(), count(&fresh).await), (10, 19));
        let events = "SELECT workflow_uuid AS a, value AS b FROM workflow_events WHERE workflow_uuid <> 'source' ORDER BY 1";
        assert_eq!(table(&fresh, events).await, ["a|3", "b|2"]);
        let kids = "SELECT workflow_uuid AS a, child_workflow_id AS b FROM operation_outputs WHERE function_id = 2 ORDER BY 1";
        assert_eq!(table(&fresh, kids).await, ["a|kid", "b|kid-b", "source|kid"]);
    }

    // Lost answers: the same fork again is the fork that is there.
    async fn the_same_fork_again_finds_the_first_one(fresh: Fresh) {
        let dbos = launch(&fresh, |_, _| async { Ok(Value::Null) }).await;
        source(&fresh, "source").await;
        for _ in 0..2 {
            let fork = Fork::of("source", 3).id("fork").queue("elsewhere");
            dbos.workflows().fork(fork).await.unwrap();
        }
        assert_eq!((count(&fresh).await, start_of(&fresh, "fork").await), (2, 3));
    }

    // L.345, L.348, 3.1: two steps; a replay neither forks again nor finds what was missing.
    async fn a_fork_by_a_workflow_is_recorded(fresh: Fresh) {
        let body = |ctx: Ctx, _| async move {
            let missing = ctx.workflows().fork(Fork::of("nobody", 1)).await.unwrap_err();
            let fork = ctx.workflows().fork(Fork::of("source", 3).queue("elsewhere")).await?;
            Ok(json!([format!("{:?}", missing.kind()), fork.id()]))
        };
        source(&fresh, "source").await;
        let dbos = launch(&fresh, body).await;
        let expected = json!(["NonExistentWorkflow", "w-3"]);
        assert_eq!(result_of(&start(&dbos, "w").await).await.unwrap(), expected);
        let names = "SELECT function_id AS a, function_name AS b FROM operation_outputs WHERE workflow_uuid = 'w' ORDER BY 1";
        assert_eq!(table(&fresh, names).await, ["1|DBOS.forkWorkflow", "3|DBOS.forkWorkflow", "4|DBOS.getStatus"]);
        crash(&dbos).await;
        forget_outcomes(&fresh).await;
        insert(&fresh, "nobody", "SUCCESS", &[]).await;
        let dbos = launch(&fresh, body).await;
        assert_eq!(result_of(&dbos.retrieve("w").await.unwrap()).await.unwrap(), expected);
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE forked_from IS NOT NULL").await, 1);
    }

    // F.169: a fork that a step makes takes nothing of its workflow's: no number, no child's id.
    async fn a_fork_made_in_a_step_takes_no_number(fresh: Fresh) {
        let runtime: Arc<OnceLock<Dbos>> = Arc::default();
        let runtime_too = Arc::clone(&runtime);
        source(&fresh, "source").await;
        let dbos = launch(&fresh, move |ctx, input: Value| {
            let runtime = Arc::clone(&runtime_too);
            async move {
                if input == "child" {
                    return Ok(json!("child's"));
                }
                let fork = ctx.step("s", || async {
                    let fork = Fork::of("source", 2).queue("elsewhere");
                    Ok(runtime.get().unwrap().workflows().fork(fork).await?.id().clone())
                });
                assert_ne!(fork.await?.as_str(), "w-1");
                let child = ctx.start(W, json!("child")).await?;
                Ok(json!(child.id()))
            }
        })
        .await;
        runtime.set(dbos.clone()).unwrap();
        assert_eq!(result_of(&start(&dbos, "w").await).await.unwrap(), "w-2");
        assert_eq!(steps(&fresh, "w").await.len(), 2);
    }
}
