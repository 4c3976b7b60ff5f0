//! Who may run a workflow: asked at every execution, whoever wrote the row.

use std::sync::Arc;
use std::time::Duration;

use dbos_runtime::{Dbos, Error, ErrorKind, Queue, Registration, WorkflowRef, workflow};
use harness::{Fresh, on_each_backend};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::scene::{Ctx, HOUR, assert_kind, crash, id, result_of, status, until_rows};
use super::support::{row, text};

/// Says on whose behalf it runs, after a message if it is told to wait for one.
async fn whoami(ctx: Ctx, wait: bool) -> Result<Value, Error> {
    if wait {
        ctx.recv::<()>("go").timeout(HOUR).await?;
    }
    Ok(json!([ctx.authenticated_user(), ctx.authenticated_roles(), ctx.assumed_role()]))
}

#[workflow(name = "guarded", roles("clerk", "admin"))]
async fn guarded(ctx: Ctx, wait: bool) -> Result<Value, Error> {
    whoami(ctx, wait).await
}

const OPEN: WorkflowRef<bool, Value> = WorkflowRef::named("open");
const PARENT: WorkflowRef<bool, Value> = WorkflowRef::named("parent");

async fn launch(fresh: &Fresh) -> Dbos {
    harness::builder(fresh)
        .register(guarded)
        .register_fn("open", whoami)
        .register_fn("parent", async |ctx: Ctx, wait| ctx.run(guarded, wait).await)
        .launch()
        .await
        .unwrap()
}

/// A row that another program has put on the queue; `roles` is SQL.
async fn enqueue(fresh: &Fresh, id: &str, name: &str, user: &str, roles: &str) {
    fresh
        .execute(&format!(
            "INSERT INTO workflow_status (workflow_uuid, name, status, queue_name, authenticated_user,
                 authenticated_roles, application_version, serialization)
             VALUES ('{id}', '{name}', 'ENQUEUED', '_dbos_internal_queue', {user}, {roles}, 'v1', 'portable_json');
             INSERT INTO workflow_input (workflow_uuid, inputs) VALUES ('{id}', '{{\"positionalArgs\":[false]}}')"
        ))
        .await;
}

on_each_backend! {
    // P471
    async fn the_first_required_role_that_the_user_has_is_assumed(fresh: Fresh) {
        let dbos = launch(&fresh).await;
        for (name, roles, assumed) in [("w1", vec!["admin", "clerk"], "clerk"), ("w2", vec!["guest", "admin"], "admin")] {
            let start = dbos.start(guarded, false).id(name).authenticated_user("ada").authenticated_roles(&roles);
            assert_eq!(result_of(&start.await.unwrap()).await.unwrap(), json!(["ada", roles, assumed]));
            assert_eq!(text(&fresh, "workflow_status", name, "assumed_role").await, assumed);
        }
        let open = dbos.start(OPEN, false).authenticated_user("ada").authenticated_roles(&["guest"]);
        assert_eq!(result_of(&open.await.unwrap()).await.unwrap(), json!(["ada", ["guest"], null]));
        let nobody = dbos.start(OPEN, false).await.unwrap();
        assert_eq!(result_of(&nobody).await.unwrap(), json!([null, [], null]));
    }

    // P471, K18
    async fn a_queued_start_and_a_queued_child_are_asked_too(fresh: Fresh) {
        let dbos = harness::builder(&fresh)
            .queue(Queue::new("q"))
            .register(guarded)
            .register_fn("parent", async |ctx: Ctx, wait| ctx.run(guarded, wait).queue("q").await)
            .launch()
            .await
            .unwrap();
        for (name, role, queue) in [("w1", "clerk", true), ("w2", "guest", true), ("p1", "clerk", false), ("p2", "guest", false)] {
            let target = if queue { WorkflowRef::named("guarded") } else { PARENT };
            let start = dbos.start(target, false).id(name).authenticated_user("ada").authenticated_roles(&[role]);
            let start = if queue { start.queue("q") } else { start };
            let result = result_of(&start.await.unwrap()).await;
            if role == "clerk" {
                assert_eq!(result.unwrap(), json!(["ada", ["clerk"], "clerk"]), "{name}");
            } else {
                assert_kind(result, ErrorKind::NotAuthorized);
            }
        }
        let columns = "SELECT workflow_uuid AS id, status, assumed_role AS role FROM workflow_status WHERE name = 'guarded' ORDER BY 1";
        let rows = json!(fresh.rows(columns).await);
        let expected = json!([
            { "id": "p1-1", "status": "SUCCESS", "role": "clerk" },
            { "id": "p2-1", "status": "ERROR", "role": null },
            { "id": "w1", "status": "SUCCESS", "role": "clerk" },
            { "id": "w2", "status": "ERROR", "role": null },
        ]);
        assert_eq!(rows, expected);
    }

    // P471: a start of this process's own.
    async fn a_start_without_the_role_ends_as_not_authorized_for_good(fresh: Fresh) {
        let dbos = launch(&fresh).await;
        let anonymous = dbos.start(guarded, false).id("w1").await.unwrap();
        let guest = dbos.start(guarded, false).id("w2").authenticated_user("eve").authenticated_roles(&["guest"]);
        for handle in [anonymous, guest.await.unwrap()] {
            assert_kind(result_of(&handle).await, ErrorKind::NotAuthorized);
            assert_eq!(status(&fresh, handle.id().as_str()).await, "ERROR");
            let error = text(&fresh, "workflow_output", handle.id().as_str(), "error").await;
            let error: Value = serde_json::from_str(&error).unwrap();
            assert_eq!((&error["name"], &error["code"]), (&json!("DBOSNotAuthorizedError"), &json!(8)));
        }
        assert_eq!(fresh.scalar("SELECT count(*) FROM operation_outputs").await, 0);
    }

    // P471, K18, B82
    async fn s26_a_row_of_another_program_is_asked_too_and_does_not_stay_pending(fresh: Fresh) {
        let dbos = launch(&fresh).await;
        for (id, name, user, roles) in [
            ("none", "guarded", "NULL", "NULL"),
            ("wrong", "guarded", "'eve'", "'[\"guest\"]'"),
            ("malformed", "guarded", "'eve'", "'admin'"),
            ("no-texts", "guarded", "'eve'", "'[1]'"),
            ("no-list", "guarded", "'eve'", "'{\"role\":\"admin\"}'"),
            ("malformed-open", "open", "'eve'", "'admin'"),
        ] {
            enqueue(&fresh, id, name, user, roles).await;
            let handle = dbos.retrieve::<Value, Error>(id).await.unwrap();
            assert_kind(result_of(&handle).await, ErrorKind::NotAuthorized);
            assert_eq!(status(&fresh, id).await, "ERROR", "{id}");
        }
        enqueue(&fresh, "right", "guarded", "'ada'", "'[ \"admin\" ]'").await;
        let handle = dbos.retrieve::<Value, Error>("right").await.unwrap();
        assert_eq!(result_of(&handle).await.unwrap(), json!(["ada", ["admin"], "admin"]));
    }

    // P472, K17
    async fn user_roles_and_the_assumed_one_survive_a_recovery(fresh: Fresh) {
        let dbos = launch(&fresh).await;
        let start = dbos.start(guarded, true).id("w").authenticated_user("ada").authenticated_roles(&["x", "clerk"]);
        start.await.unwrap();
        until_rows(&fresh, 1, "operation_outputs").await;
        crash(&dbos).await;
        let dbos = launch(&fresh).await;
        dbos.send(&id("w"), &()).topic("go").await.unwrap();
        let handle = dbos.retrieve::<Value, Error>("w").await.unwrap();
        assert_eq!(result_of(&handle).await.unwrap(), json!(["ada", ["x", "clerk"], "clerk"]));
        assert_eq!(row(&fresh, "workflow_status", "w", "recovery_attempts").await, json!({ "recovery_attempts": 2 }));
    }

    // P472: and what is inherited is asked for again.
    async fn a_child_runs_on_behalf_of_its_parents_user(fresh: Fresh) {
        let dbos = launch(&fresh).await;
        let clerk = dbos.start(PARENT, false).id("p1").authenticated_user("ada").authenticated_roles(&["clerk"]);
        assert_eq!(result_of(&clerk.await.unwrap()).await.unwrap(), json!(["ada", ["clerk"], "clerk"]));
        let guest = dbos.start(PARENT, false).id("p2").authenticated_user("eve").authenticated_roles(&["guest"]);
        assert_kind(result_of(&guest.await.unwrap()).await, ErrorKind::NotAuthorized);
        assert_eq!(status(&fresh, "p2-1").await, "ERROR");
    }

    // E149
    async fn users_of_workflows_that_run_side_by_side_are_not_mixed_up(fresh: Fresh) {
        let (ready, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (told, waits) = (Arc::clone(&ready), Arc::clone(&go));
        let dbos = harness::builder(&fresh)
            .register_fn(Registration::named("guarded").roles(["even", "odd"]), move |ctx: Ctx, _: bool| {
                let (ready, go) = (Arc::clone(&told), Arc::clone(&waits));
                async move {
                    ready.add_permits(1);
                    go.acquire().await.unwrap().forget();
                    whoami(ctx, false).await
                }
            })
            .launch()
            .await
            .unwrap();
        let mut started = Vec::new();
        for number in 0..20 {
            let (user, role) = (format!("user-{number}"), if number % 2 == 0 { "even" } else { "odd" });
            let start = dbos.start(guarded, false).authenticated_user(&user).authenticated_roles(&[role]);
            started.push((start.await.unwrap(), json!([user, [role], role])));
        }
        ready.acquire_many(20).await.unwrap().forget();
        go.add_permits(20);
        for (handle, expected) in &started {
            assert_eq!(result_of(handle).await.unwrap(), *expected);
        }
    }

    async fn a_role_that_is_no_text_is_refused_at_launch(fresh: Fresh) {
        for role in ["", " admin", "a\nb"] {
            let restricted = Registration::named("w").roles([role]);
            let launched = harness::builder(&fresh).register_fn(restricted, whoami).launch().await;
            assert_kind(launched, ErrorKind::InvalidArgument);
        }
        harness::builder(&fresh).launch().await.unwrap().shutdown(Duration::ZERO).await;
    }
}
