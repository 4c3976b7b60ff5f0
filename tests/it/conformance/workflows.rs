//! Starting a workflow, finding it again, and what is stored of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use dbos_runtime::{Ctx as RuntimeCtx, Dbos, Error, ErrorKind, WorkflowId, WorkflowRef, workflow};
use harness::{Fresh, on_each_backend};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use super::support::{Failure, Log, builder, row, stop, text};

type Ctx = RuntimeCtx<Log, Failure>;

#[workflow]
pub(super) async fn double(ctx: Ctx, n: u32) -> Result<u32, Failure> {
    ctx.state().add("double");
    Ok(n * 2)
}

/// Ends with the number that it is sent.
#[workflow]
pub(super) async fn wait(ctx: Ctx, _input: u32) -> Result<u32, Failure> {
    ctx.state().add("wait");
    Ok(ctx.recv::<u32>("go").await?.unwrap_or_default())
}

#[derive(Clone, Serialize, Deserialize)]
struct Cart {
    sku: String,
    count: u32,
}

#[workflow]
async fn buy(_ctx: Ctx, cart: Cart) -> Result<String, Failure> {
    Ok(cart.sku)
}

async fn launch_as(executor: &str, fresh: &Fresh, log: &Log) -> Dbos {
    builder(fresh, log)
        .executor_id(executor)
        .register(double)
        .register(wait)
        .register(buy)
        .launch()
        .await
        .unwrap()
}

async fn launch(fresh: &Fresh) -> (Dbos, Log) {
    let log = Log::default();
    (launch_as("one", fresh, &log).await, log)
}

pub(super) async fn send_go(dbos: &Dbos, id: &str, value: u32) {
    assert!(dbos.send(&id.parse().unwrap(), &value).topic("go").await.unwrap());
}

on_each_backend! {
    // 28-30
    async fn a_second_start_under_an_id_finds_the_first_ones_workflow(fresh: Fresh) {
        let (dbos, log) = launch(&fresh).await;
        let first = dbos.start(double, 5).id("w").await.unwrap();
        assert!(first.created());
        assert_eq!((first.id().as_str(), first.stored_input()), ("w", None));
        assert_eq!(first.result().await.unwrap(), 10);

        let second = dbos.start(double, 6).id("w").await.unwrap();
        assert!(!second.created());
        assert_eq!(second.stored_input(), Some(r#"{"positionalArgs":[5],"namedArgs":{}}"#));
        assert_eq!(second.result().await.unwrap(), 10, "B39: the first input stands");
        // A handle that comes from no start knows of no input.
        let found = dbos.retrieve::<u32, Error>("w").await.unwrap();
        let listed = dbos.handle::<u32, Error>(&dbos.info("w").await.unwrap());
        assert_eq!((found.stored_input(), listed.stored_input()), (None, None));
        assert!(!found.created() && !listed.created());
        assert_eq!(log.count("double"), 1);
        assert_eq!(fresh.scalar("SELECT recovery_attempts FROM workflow_status").await, 1);
        stop(dbos).await;
    }

    async fn a_start_attaches_to_a_workflow_that_still_runs(fresh: Fresh) {
        let (dbos, log) = launch(&fresh).await;
        let first = dbos.start(wait, 1).id("w").await.unwrap();
        let second = dbos.start(wait, 1).id("w").await.unwrap();
        assert_eq!((first.created(), second.created()), (true, false));
        send_go(&dbos, "w", 7).await;
        assert_eq!((first.result().await.unwrap(), second.result().await.unwrap()), (7, 7));
        assert_eq!(log.entries(), ["wait"]);
        stop(dbos).await;
    }

    // K10
    async fn fifty_starts_of_one_id_from_three_processes_run_the_body_once(fresh: Fresh) {
        let log = Log::default();
        let mut processes = Vec::new();
        for executor in ["one", "two", "three"] {
            processes.push(launch_as(executor, &fresh, &log).await);
        }
        let mut starts = JoinSet::new();
        for index in 0..50 {
            let start = processes[index % 3].start(wait, 1).id("w");
            starts.spawn(async move {
                let handle = start.await.unwrap();
                (handle.created(), handle)
            });
        }
        let (created, handles): (Vec<_>, Vec<_>) = starts.join_all().await.into_iter().unzip();
        assert_eq!(created.iter().filter(|created| **created).count(), 1);
        send_go(&processes[0], "w", 7).await;
        for handle in handles {
            assert_eq!(handle.result().await.unwrap(), 7);
        }
        assert_eq!(log.entries(), ["wait"]);
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 1);
        for process in processes {
            stop(process).await;
        }
    }

    // §2.3: only its queue hands it out
    async fn a_start_does_not_take_over_a_workflow_that_is_queued(fresh: Fresh) {
        let (dbos, log) = launch(&fresh).await;
        fresh.execute("INSERT INTO workflow_status (workflow_uuid, status, name, queue_name, serialization, inputs) \
            VALUES ('w', 'ENQUEUED', 'wait', 'elsewhere', 'portable_json', '{\"positionalArgs\":[3]}')").await;
        let handle = dbos.start(wait, 3).id("w").same_input().await.unwrap();
        assert!(!handle.created());
        assert_eq!(handle.stored_input(), Some(r#"{"positionalArgs":[3]}"#), "from the legacy column");
        assert_eq!(handle.try_result().await.unwrap(), None);
        assert_eq!(text(&fresh, "workflow_status", "w", "status").await, "ENQUEUED");
        assert!(log.entries().is_empty());
        stop(dbos).await;
    }

    // 43, B38, K11
    async fn an_id_of_another_workflow_is_refused_and_that_workflow_is_unharmed(fresh: Fresh) {
        let (dbos, log) = launch(&fresh).await;
        let handle = dbos.start(wait, 1).id("w").await.unwrap();
        let error = dbos.start(double, 2).id("w").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConflictingWorkflow);
        assert_eq!(error.workflow_id().map(WorkflowId::as_str), Some("w"));
        assert!(error.to_string().contains("\"wait\"") && error.to_string().contains("\"double\""), "{error}");
        assert_eq!(text(&fresh, "workflow_input", "w", "inputs").await, r#"{"positionalArgs":[1],"namedArgs":{}}"#);

        send_go(&dbos, "w", 7).await;
        assert_eq!(handle.result().await.unwrap(), 7);
        assert_eq!(log.entries(), ["wait"]);

        fresh.execute("UPDATE workflow_status SET class_name = 'Shop'").await;
        let error = dbos.start(wait, 1).id("w").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConflictingWorkflow, "a method is not a function of the same name");
        stop(dbos).await;
    }

    // B39
    async fn another_input_is_refused_where_asked_and_another_spelling_is_not(fresh: Fresh) {
        let (dbos, _log) = launch(&fresh).await;
        let cart = |count| Cart { sku: "w".to_owned(), count };
        dbos.start(buy, cart(1)).id("w").await.unwrap().result().await.unwrap();
        assert!(!dbos.start(buy, cart(1)).id("w").same_input().await.unwrap().created());
        let error = dbos.start(buy, cart(2)).id("w").same_input().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InputMismatch);
        assert_eq!(error.workflow_id().map(WorkflowId::as_str), Some("w"));

        for (stored, same) in [
            (r#"{ "namedArgs": {}, "positionalArgs": [ { "count": 1, "sku": "w" } ] }"#, true),
            (r#"{"positionalArgs":[{"sku":"w","count":1}]}"#, true),
            (r#"{"positionalArgs":[{"sku":"w","count":1}],"namedArgs":null}"#, true),
            (r#"{"positionalArgs":[{"sku":"w","count":1},1]}"#, false),
            (r#"{"positionalArgs":[{"sku":"w","count":1}],"namedArgs":{"gift":true}}"#, false),
            ("not json {{{", false),
        ] {
            fresh.execute(&format!("UPDATE workflow_input SET inputs = '{stored}'")).await;
            let started = dbos.start(buy, cart(1)).id("w").same_input().await;
            let kind = started.err().map(|error| error.kind());
            assert_eq!(kind, (!same).then_some(ErrorKind::InputMismatch), "{stored}");
        }
        stop(dbos).await;
    }

    // Appendix A
    async fn a_direct_start_stores_exactly_the_shared_columns(fresh: Fresh) {
        let (dbos, _log) = launch(&fresh).await;
        let handle = dbos.start(wait, 1).id("w").await.unwrap();
        let columns = "status, name, recovery_attempts, executor_id, application_version, application_name, \
            application_id, serialization, priority, attributes, authenticated_user, assumed_role, \
            authenticated_roles, request, class_name, config_name, queue_name, workflow_timeout_ms, \
            workflow_deadline_epoch_ms, inputs, output, error, started_at_epoch_ms, deduplication_id, \
            queue_partition_key, forked_from, parent_workflow_id, delay_until_epoch_ms, schedule_name, \
            debounce_deadline_epoch_ms, completed_at IS NULL AS open, owner_xid = creator_xid AS owned";
        let mut expected = json!({
            "status": "PENDING", "name": "wait", "recovery_attempts": 1, "executor_id": "one",
            "application_version": "v1", "application_name": "tests", "application_id": "",
            "serialization": "portable_json", "priority": 0, "open": true, "owned": true,
        });
        let compare = |found: Value, expected: &Value| {
            for (column, value) in found.as_object().unwrap() {
                // SQLite's booleans are numbers.
                let value = if value.is_i64() && expected[column].is_boolean() { &json!(*value == 1) } else { value };
                assert_eq!(*value, expected[column], "{column}");
            }
            assert_eq!(found.as_object().unwrap().len(), 32);
        };
        compare(row(&fresh, "workflow_status", "w", columns).await, &expected);
        let input = r#"{"positionalArgs":[1],"namedArgs":{}}"#;
        assert_eq!(text(&fresh, "workflow_input", "w", "inputs").await, input);
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_output").await, 0);
        let creator = text(&fresh, "workflow_status", "w", "creator_xid").await;

        send_go(&dbos, "w", 7).await;
        handle.result().await.unwrap();
        expected["status"] = json!("SUCCESS");
        expected["open"] = json!(false);
        expected["owned"] = Value::Null;
        compare(row(&fresh, "workflow_status", "w", columns).await, &expected);
        assert_eq!(text(&fresh, "workflow_status", "w", "creator_xid").await, creator, "it never changes");
        assert_eq!(row(&fresh, "workflow_output", "w", "output, error").await, json!({"output": "7", "error": null}));
        assert_eq!(text(&fresh, "workflow_input", "w", "inputs").await, input);
        let times = "SELECT count(*) FROM workflow_status WHERE created_at <= completed_at AND updated_at = completed_at";
        assert_eq!(fresh.scalar(times).await, 1);
        stop(dbos).await;
    }

    // 37
    async fn the_row_is_committed_before_the_body_begins(fresh: Fresh) {
        let fresh = Arc::new(fresh);
        let look = Arc::clone(&fresh);
        let body = move |_ctx: RuntimeCtx, (): ()| {
            let look = Arc::clone(&look);
            async move { Ok::<_, Error>(look.scalar("SELECT count(*) FROM workflow_input JOIN workflow_status USING (workflow_uuid)").await) }
        };
        let dbos = harness::builder(&fresh).register_fn("look", body).launch().await.unwrap();
        let look = WorkflowRef::<(), i64>::named("look");
        assert_eq!(dbos.start(look, ()).await.unwrap().result().await.unwrap(), 1);
        stop(dbos).await;
    }

    // 44, B37, B40
    async fn a_start_that_breaks_a_rule_is_refused_and_stores_nothing(fresh: Fresh) {
        let (dbos, log) = launch(&fresh).await;
        for (name, kind) in [
            ("nobody", ErrorKind::NotRegistered),
            ("DOUBLE", ErrorKind::NotRegistered),
            ("", ErrorKind::InvalidArgument),
        ] {
            let error = dbos.start(WorkflowRef::<u32, u32>::named(name), 1).id("w").await.unwrap_err();
            assert_eq!(error.kind(), kind, "{name:?}: {error}");
        }
        let long = "x".repeat(513);
        for id in ["", " ", " w", "w\n", "w\0", long.as_str()] {
            let error = dbos.start(double, 1).id(id).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{id:?}");
            assert_eq!(dbos.retrieve::<u32, Error>(id).await.unwrap_err().kind(), ErrorKind::InvalidArgument, "{id:?}");
        }
        let nul = json!({"a": "\0"}).as_object().unwrap().clone();
        assert_eq!(dbos.start(double, 1).attributes(&nul).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 0);
        assert!(log.entries().is_empty());

        let longest = "é".repeat(256);
        assert_eq!(dbos.start(double, 1).id(longest.as_str()).await.unwrap().result().await.unwrap(), 2);
        stop(dbos).await;
    }

    // 41
    async fn two_functions_under_one_name_are_refused(fresh: Fresh) {
        let launched = builder(&fresh, &Log::default()).register(double).register(double).launch().await;
        assert_eq!(launched.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }

    async fn ids_that_are_not_given_are_made_and_distinct(fresh: Fresh) {
        let (dbos, _log) = launch(&fresh).await;
        let mut ids = BTreeSet::new();
        for n in 0..20 {
            let handle = dbos.start(double, n).await.unwrap();
            let id: uuid::Uuid = handle.id().as_str().parse().unwrap();
            assert_eq!(id.get_version_num(), 7, "ordered by time, which keeps the index hot");
            ids.insert(id);
        }
        assert_eq!(ids.len(), 20);
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 20);
        stop(dbos).await;
    }

    async fn user_roles_and_attributes_are_stored_and_read_back(fresh: Fresh) {
        let (dbos, _log) = launch(&fresh).await;
        let attributes: Map<String, Value> = json!({"tier": "gold", "n": 1}).as_object().unwrap().clone();
        let start = dbos.start(double, 1).id("w").authenticated_user("ada").authenticated_roles(&["admin", "ops"]);
        start.attributes(&attributes).await.unwrap().result().await.unwrap();
        dbos.start(double, 1).id("x").authenticated_roles::<&str>(&[]).await.unwrap().result().await.unwrap();

        let stored = row(&fresh, "workflow_status", "w", "authenticated_user, authenticated_roles").await;
        assert_eq!(stored, json!({"authenticated_user": "ada", "authenticated_roles": r#"["admin","ops"]"#}));
        let none = row(&fresh, "workflow_status", "x", "authenticated_user, authenticated_roles, attributes").await;
        assert_eq!(none, json!({"authenticated_user": null, "authenticated_roles": null, "attributes": null}));
        let info = dbos.info("w").await.unwrap();
        assert_eq!(info.authenticated_user.as_deref(), Some("ada"));
        assert_eq!(info.authenticated_roles, ["admin", "ops"]);
        assert_eq!(info.attributes, Value::Object(attributes));
        stop(dbos).await;
    }
}
