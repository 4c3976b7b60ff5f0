//! Workflows that start others.

use std::sync::{Arc, OnceLock};

use dbos_runtime::{
    Ctx as RuntimeCtx, Dbos, Error, ErrorKind, Queue, Target, WorkflowHandle, WorkflowRef, workflow,
};
use harness::{Backend, Fresh, on_each_backend, until};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::support::{Failure, Log, builder, done, row, stop, text, trail};

type Ctx = RuntimeCtx<Log, Failure>;
type ChildCtx = RuntimeCtx<Log, ChildFailure>;

/// A child has an error of its own, which its parent wraps in another type.
#[derive(Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
enum ChildFailure {
    #[error("no room for {0}")]
    NoRoom(u32),
    #[error(transparent)]
    Runtime(#[from] Error),
}

impl From<ChildFailure> for Failure {
    fn from(failure: ChildFailure) -> Self {
        match failure {
            ChildFailure::NoRoom(left) => Self::SoldOut { left },
            ChildFailure::Runtime(error) => Self::Runtime(error),
        }
    }
}

/// Doubles a number; there is no room for 13.
#[workflow]
async fn double(ctx: ChildCtx, n: u32) -> Result<u32, ChildFailure> {
    ctx.state().add(format!("double {n} for {:?}", ctx.authenticated_user()));
    if n == 13 { Err(ChildFailure::NoRoom(n)) } else { Ok(n * 2) }
}

#[workflow]
async fn patient(ctx: ChildCtx) -> Result<u32, ChildFailure> {
    ctx.state().add("patient");
    Ok(ctx.recv::<u32>("go").await?.unwrap_or_default())
}

/// What a parent may do, by name; each ends with waiting for a message, so that it can be interrupted.
#[workflow(name = "acting-parent")]
async fn parent(ctx: Ctx, act: String) -> Result<String, Failure> {
    let found = match act.as_str() {
        "run" => format!("{:?}", ctx.run(double, 5).await),
        "run 13" => format!("{:?}", ctx.run(double, 13).await),
        "start" => ctx.start(double, 5).await?.id().to_string(),
        "own id" => {
            let child = ctx.start(double, 5).id("mine").await?;
            format!("{} {:?}", child.id(), child.result().await)
        }
        "conflict" => format!("{:?}", kind(ctx.start(double, 5).id("taken").await.map(drop))),
        "unknown" => {
            format!("{:?}", kind(ctx.start(WorkflowRef::<(), ()>::named("nobody"), ()).await.map(drop)))
        }
        "bad id" => format!("{:?}", kind(ctx.start(double, 5).id(" ").await.map(drop))),
        "patient" => format!("{:?}", kind(ctx.run(patient, ()).await)),
        "twice" => {
            let (first, second) = (ctx.start(double, 1), ctx.start(double, 2));
            let (second, first) = (second.await?, first.await?);
            let (one, two) = (first.result(), second.result());
            let two = two.await?;
            format!("{} {} {} {two}", first.id(), second.id(), one.await?)
        }
        "from a step" => {
            let inner = &ctx;
            let refused =
                ctx.step_once("outer", |_| async move { Ok(kind(inner.start(double, 5).await.map(drop))) });
            format!("{:?}", refused.await?)
        }
        other => panic!("{other}?"),
    };
    ctx.state().add(format!("found {found}"));
    ctx.recv::<u32>("end").await?;
    Ok(found)
}

fn kind<T>(result: Result<T, Failure>) -> Option<ErrorKind> {
    result.err().map(|failure| failure.runtime().kind())
}

async fn launch(fresh: &Fresh, log: &Log) -> Dbos {
    builder(fresh, log).register(double).register(patient).register(parent).launch().await.unwrap()
}

async fn start(dbos: &Dbos, act: &str) -> WorkflowHandle<String, Failure> {
    dbos.start(parent, act.to_owned()).id("p").authenticated_user("ada").await.unwrap()
}

/// Waits until the parent has found what it was after, ends the process, and lets the next one end the parent.
async fn over_a_restart(fresh: &Fresh, log: &Log, dbos: Dbos, expected: &str) {
    let found = format!("found {expected}");
    done(log, &found, 1).await;
    stop(dbos).await;
    let (before, before_rows) = (log.entries(), fresh.scalar("SELECT count(*) FROM workflow_status").await);
    let dbos = launch(fresh, log).await;
    done(log, &found, 2).await;
    dbos.send(&"p".parse().unwrap(), &1).topic("end").await.unwrap();
    let result = dbos.retrieve::<String, Failure>("p").await.unwrap().result().await;
    assert_eq!(result.unwrap(), expected);
    assert_eq!(log.entries().len(), before.len() + 1, "the replay only found the same again");
    assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, before_rows);
    stop(dbos).await;
}

/// Does `act` in a parent, before and after a restart.
async fn finds(fresh: &Fresh, log: &Log, act: &str, expected: &str) {
    let dbos = launch(fresh, log).await;
    start(&dbos, act).await;
    over_a_restart(fresh, log, dbos, expected).await;
}

/// Asks for the result of a child that runs nowhere, and again after the next message.
#[workflow]
async fn asks_twice(ctx: Ctx, _: ()) -> Result<String, Failure> {
    let child = ctx.start(double, 5).id("child").queue("elsewhere").await?;
    ctx.recv::<u32>("ask").await?;
    let first = kind(child.result().await);
    ctx.state().add(format!("{first:?}"));
    ctx.recv::<u32>("again").await?;
    Ok(format!("{:?}", child.result().await))
}

on_each_backend! {
    // R12, K25
    async fn a_failure_to_learn_of_a_childs_end_is_not_its_result(fresh: Fresh) {
        let log = Log::default();
        let dbos = builder(&fresh, &log).register(double).register(asks_twice).launch().await.unwrap();
        let asking = dbos.start(asks_twice, ()).id("parent").await.unwrap();
        until("the child is there", async || {
            fresh.scalar("SELECT count(*) FROM workflow_status WHERE workflow_uuid = 'child'").await == 1
        })
        .await;
        let schema = if fresh.backend() == Backend::Postgres { "dbos." } else { "" };
        fresh.execute(&format!("ALTER TABLE {schema}workflow_output RENAME TO elsewhere")).await;
        dbos.send(asking.id(), &1).topic("ask").await.unwrap();
        done(&log, "Some(Database)", 1).await;
        fresh.execute(&format!("ALTER TABLE {schema}elsewhere RENAME TO workflow_output")).await;
        fresh
            .execute(
                "INSERT INTO workflow_output (workflow_uuid, output) VALUES ('child', '10');
                 UPDATE workflow_status SET status = 'SUCCESS' WHERE workflow_uuid = 'child'",
            )
            .await;
        dbos.send(asking.id(), &1).topic("again").await.unwrap();
        assert_eq!(asking.result().await.unwrap(), "Ok(10)");
        let results = "SELECT count(*) FROM operation_outputs WHERE function_name = 'DBOS.getResult'";
        assert_eq!(fresh.scalar(results).await, 1);
        stop(dbos).await;
    }

    // 151, 156, 157
    async fn running_a_child_is_two_steps_and_a_replay_reads_them(fresh: Fresh) {
        let log = Log::default();
        finds(&fresh, &log, "run", "Ok(10)").await;
        assert_eq!(log.count("double 5 for Some(\"ada\")"), 1, "the child runs for the same user");
        assert_eq!(trail(&fresh, "p").await, "1 double, 2 DBOS.getResult, 3 DBOS.recv, 4 DBOS.sleep");
        let steps = fresh.rows("SELECT output, error, child_workflow_id, serialization FROM operation_outputs \
            WHERE workflow_uuid = 'p' AND function_id <= 2 ORDER BY function_id").await;
        assert_eq!(steps, [
            json!({"output": null, "error": null, "child_workflow_id": "p-1", "serialization": null}),
            json!({"output": "10", "error": null, "child_workflow_id": "p-1", "serialization": "portable_json"}),
        ]);
        let columns = "status, parent_workflow_id, authenticated_user, recovery_attempts, queue_name, executor_id";
        assert_eq!(row(&fresh, "workflow_status", "p-1", columns).await, json!({
            "status": "SUCCESS", "parent_workflow_id": "p", "authenticated_user": "ada", "recovery_attempts": 1,
            "queue_name": null, "executor_id": "one",
        }));
        let parentless = "SELECT count(*) FROM workflow_status WHERE workflow_uuid = 'p' AND parent_workflow_id IS NULL";
        assert_eq!(fresh.scalar(parentless).await, 1, "167");
    }

    // §3.7: user and roles are inherited
    async fn a_child_inherits_the_roles_of_its_parent(fresh: Fresh) {
        let log = Log::default();
        let dbos = launch(&fresh, &log).await;
        let start = dbos.start(parent, "start".to_owned()).id("p").authenticated_user("ada");
        start.authenticated_roles(&["admin"]).await.unwrap();
        done(&log, "found p-1", 1).await;
        let columns = "authenticated_user, authenticated_roles";
        let expected = json!({"authenticated_user": "ada", "authenticated_roles": r#"["admin"]"#});
        assert_eq!(row(&fresh, "workflow_status", "p-1", columns).await, expected);
        stop(dbos).await;
    }

    // 155
    async fn a_child_that_is_never_awaited_is_recorded_and_ends_by_itself(fresh: Fresh) {
        let log = Log::default();
        let dbos = launch(&fresh, &log).await;
        start(&dbos, "start").await;
        until("the child ends", async || {
            fresh.scalar("SELECT count(*) FROM workflow_output WHERE workflow_uuid = 'p-1'").await == 1
        }).await;
        over_a_restart(&fresh, &log, dbos, "p-1").await;
        assert_eq!(trail(&fresh, "p").await, "1 double, 2 DBOS.recv, 3 DBOS.sleep");
        assert_eq!(text(&fresh, "workflow_output", "p-1", "output").await, "10");
    }

    // 136
    async fn children_are_numbered_where_they_are_called(fresh: Fresh) {
        let log = Log::default();
        finds(&fresh, &log, "twice", "p-1 p-2 2 4").await;
        let steps = "1 double, 2 double, 3 DBOS.getResult, 4 DBOS.getResult, 5 DBOS.recv, 6 DBOS.sleep";
        assert_eq!(trail(&fresh, "p").await, steps);
        let children = fresh.query("SELECT child_workflow_id FROM operation_outputs WHERE function_id <= 4 \
            AND workflow_uuid = 'p' ORDER BY function_id").await.concat();
        assert_eq!(children.iter().flatten().collect::<Vec<_>>(), ["p-1", "p-2", "p-1", "p-2"]);
    }

    // 166
    async fn a_childs_error_reaches_its_parent_typed_and_is_replayed(fresh: Fresh) {
        let log = Log::default();
        finds(&fresh, &log, "run 13", "Err(SoldOut { left: 13 })").await;
        let stored = r#"{"name":"ChildFailure","message":"no room for 13","code":null,"data":{"NoRoom":13}}"#;
        assert_eq!(text(&fresh, "workflow_output", "p-1", "error").await, stored);
        let recorded = format!("SELECT count(*) FROM operation_outputs WHERE function_id = 2 AND error = '{stored}'");
        assert_eq!(fresh.scalar(&recorded).await, 1, "in the child's own shape");
    }

    // 152
    async fn a_child_may_have_an_id_of_its_own(fresh: Fresh) {
        let log = Log::default();
        finds(&fresh, &log, "own id", "mine Ok(10)").await;
        assert_eq!(text(&fresh, "workflow_status", "mine", "parent_workflow_id").await, "p");
    }

    async fn a_child_that_is_there_already_is_found_and_recorded(fresh: Fresh) {
        let log = Log::default();
        let dbos = launch(&fresh, &log).await;
        dbos.start(double, 4).id("mine").await.unwrap().result().await.unwrap();
        start(&dbos, "own id").await;
        over_a_restart(&fresh, &log, dbos, "mine Ok(8)").await;
        assert_eq!(log.entries().iter().filter(|entry| entry.starts_with("double")).count(), 1);
        assert_eq!(trail(&fresh, "p").await, "1 double, 2 DBOS.getResult, 3 DBOS.recv, 4 DBOS.sleep");
        let found = row(&fresh, "workflow_status", "mine", "parent_workflow_id").await;
        assert_eq!(found, json!({"parent_workflow_id": null}), "it is not the parent's");
    }

    async fn a_refused_start_is_recorded_and_refused_again(fresh: Fresh) {
        let log = Log::default();
        let dbos = launch(&fresh, &log).await;
        dbos.start(patient, ()).id("taken").await.unwrap();
        start(&dbos, "conflict").await;
        done(&log, "found Some(ConflictingWorkflow)", 1).await;
        // The obstacle goes, the recorded refusal stays.
        dbos.send(&"taken".parse().unwrap(), &1).topic("go").await.unwrap();
        dbos.retrieve::<u32, ChildFailure>("taken").await.unwrap().result().await.unwrap();
        fresh.execute("UPDATE workflow_status SET name = 'double' WHERE workflow_uuid = 'taken'").await;
        over_a_restart(&fresh, &log, dbos, "Some(ConflictingWorkflow)").await;
        assert_eq!(trail(&fresh, "p").await, "1 double, 2 DBOS.recv, 3 DBOS.sleep");
        let recorded = "SELECT count(*) FROM operation_outputs WHERE workflow_uuid = 'p' AND function_id = 1 \
            AND child_workflow_id IS NULL AND error LIKE '%\"code\":9,%'";
        assert_eq!(fresh.scalar(recorded).await, 1);
    }

    async fn a_child_that_nobody_registered_is_refused(fresh: Fresh) {
        finds(&fresh, &Log::default(), "unknown", "Some(NotRegistered)").await;
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 1);
    }

    // 44
    async fn a_child_with_a_bad_id_is_refused(fresh: Fresh) {
        finds(&fresh, &Log::default(), "bad id", "Some(InvalidArgument)").await;
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 1);
    }

    // 163
    async fn a_child_cannot_be_started_inside_a_step(fresh: Fresh) {
        finds(&fresh, &Log::default(), "from a step", "Some(Misplaced)").await;
        assert_eq!(trail(&fresh, "p").await, "1 outer, 2 DBOS.recv, 3 DBOS.sleep");
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 1);
    }

    // 165
    async fn a_cancelled_child_is_an_error_that_its_parent_may_survive(fresh: Fresh) {
        let log = Log::default();
        let dbos = launch(&fresh, &log).await;
        start(&dbos, "patient").await;
        done(&log, "patient", 1).await;
        assert!(dbos.cancel(&"p-1".parse().unwrap()).await.unwrap());
        over_a_restart(&fresh, &log, dbos, "Some(AwaitedWorkflowCancelled)").await;
        assert_eq!(text(&fresh, "workflow_status", "p-1", "status").await, "CANCELLED");
        assert_eq!(text(&fresh, "workflow_status", "p", "status").await, "SUCCESS");
    }

    // 153, 159
    async fn a_parent_that_crashed_between_start_and_result_adopts_its_child(fresh: Fresh) {
        let log = Log::default();
        let dbos = launch(&fresh, &log).await;
        start(&dbos, "patient").await;
        done(&log, "patient", 1).await;
        stop(dbos).await;
        assert_eq!(trail(&fresh, "p").await, "1 patient");
        let creator = text(&fresh, "workflow_status", "p-1", "creator_xid").await;
        let dbos = launch(&fresh, &log).await;
        done(&log, "patient", 2).await;
        dbos.cancel(&"p-1".parse().unwrap()).await.unwrap();
        over_a_restart(&fresh, &log, dbos, "Some(AwaitedWorkflowCancelled)").await;
        assert_eq!(text(&fresh, "workflow_status", "p-1", "creator_xid").await, creator, "the same row");
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 2);
    }

    // 154: the second half of the commit is made to fail, and the first half is not there.
    async fn a_childs_row_and_its_parents_step_are_one_commit(fresh: Fresh) {
        let log = Log::default();
        let trigger = "TRIGGER refuse BEFORE INSERT ON operation_outputs FOR EACH ROW \
            WHEN (NEW.child_workflow_id IS NOT NULL)";
        fresh.execute(&match fresh.backend() {
            Backend::Sqlite => format!("CREATE {trigger} BEGIN SELECT RAISE(ABORT, 'planted'); END"),
            Backend::Postgres => format!("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
                $$ BEGIN RAISE EXCEPTION 'planted'; END $$; CREATE {trigger} EXECUTE FUNCTION refuse()"),
        }).await;
        let dbos = launch(&fresh, &log).await;
        let result = start(&dbos, "start").await.result().await;
        assert_eq!(result.unwrap_err().runtime().kind(), ErrorKind::Database);
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 1, "no child");
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_input").await, 1);
        assert_eq!(log.entries(), Vec::<String>::new());
        stop(dbos).await;
    }

    // 164: a step asks from outside, through a handle that is no step of its own.
    async fn awaiting_a_child_inside_a_step_is_part_of_that_step(fresh: Fresh) {
        const ASKS: WorkflowRef<(), u32, Failure> = WorkflowRef::named("asks");
        let log = Log::default();
        let process = async || {
            let here = Arc::new(OnceLock::<Dbos>::new());
            let inside = Arc::clone(&here);
            let asks = move |ctx: Ctx, (): ()| {
                let here = Arc::clone(&inside);
                async move {
                    let child = ctx.start(double, 5).await?;
                    let ask = ctx.step("ask", async || {
                        ctx.state().add("asked");
                        let child: WorkflowHandle<u32, ChildFailure> = here.wait().retrieve(child.id()).await?;
                        Ok(child.result().await?)
                    });
                    let twice = ask.await?;
                    ctx.state().add("answered");
                    ctx.recv::<u32>("end").await?;
                    Ok(twice)
                }
            };
            let dbos = builder(&fresh, &log).register(double).register_fn("asks", asks).launch().await.unwrap();
            here.set(dbos.clone()).unwrap();
            dbos
        };
        let first = process().await;
        first.start(ASKS, ()).id("p").await.unwrap();
        done(&log, "answered", 1).await;
        stop(first).await;
        let second = process().await;
        done(&log, "answered", 2).await;
        second.send(&"p".parse().unwrap(), &1).topic("end").await.unwrap();
        assert_eq!(second.retrieve::<u32, Failure>("p").await.unwrap().result().await.unwrap(), 10);
        assert_eq!((log.count("asked"), log.count("double 5 for None")), (1, 1));
        assert_eq!(trail(&fresh, "p").await, "1 double, 2 ask, 3 DBOS.recv, 4 DBOS.sleep");
        stop(second).await;
    }

    // The start was good when it was made. Neither the queue's partitions nor the registration matter to a replay.
    async fn a_recorded_start_is_answered_whatever_has_become_of_queue_and_child(fresh: Fresh) {
        const PARTS: WorkflowRef<(), String, Failure> = WorkflowRef::named("parts");
        let log = Log::default();
        let parts = async |ctx: Ctx, (): ()| {
            let child = ctx.start(patient, ()).queue("q").partition_key("k").await?;
            ctx.state().add(format!("started {}", child.id()));
            ctx.recv::<u32>("end").await?;
            Ok::<_, Failure>(child.id().to_string())
        };
        let process = || builder(&fresh, &log).register_fn("parts", parts);
        let partitioned = Queue::new("q").partition_concurrency(1);
        let first = process().register(patient).queue(partitioned).launch().await.unwrap();
        first.start(PARTS, ()).id("p").await.unwrap();
        done(&log, "started p-1", 1).await;
        stop(first).await;

        // By now the queue has no partitions, and nobody here can run the child.
        let second = process().queue(Queue::new("q")).launch().await.unwrap();
        let refused = second.start(WorkflowRef::<(), ()>::named("parts"), ()).queue("q").partition_key("k").await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument, "as a start it would be refused");
        done(&log, "started p-1", 2).await;
        second.send(&"p".parse().unwrap(), &1).topic("end").await.unwrap();
        assert_eq!(second.retrieve::<String, Failure>("p").await.unwrap().result().await.unwrap(), "p-1");
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 2);
        stop(second).await;
    }

    // 160-162
    async fn a_record_of_another_kind_at_a_childs_place_is_refused(fresh: Fresh) {
        for (act, plant, step) in [
            ("start", "UPDATE operation_outputs SET child_workflow_id = NULL, output = '1' WHERE function_id = 1", 1),
            ("twice", "UPDATE operation_outputs SET child_workflow_id = 'other' WHERE function_id = 4", 4),
            ("from a step", "UPDATE operation_outputs SET child_workflow_id = 'c', output = NULL WHERE function_id = 1", 1),
        ] {
            for table in ["workflow_status", "workflow_input", "workflow_output", "operation_outputs", "notifications"] {
                fresh.execute(&format!("DELETE FROM {table}")).await;
            }
            let log = Log::default();
            let dbos = launch(&fresh, &log).await;
            start(&dbos, act).await;
            let waits = "SELECT count(*) FROM operation_outputs WHERE workflow_uuid = 'p' AND function_name = 'DBOS.sleep'";
            until("the parent waits", async || fresh.scalar(waits).await == 1).await;
            stop(dbos).await;
            fresh.execute(&format!("{plant} AND workflow_uuid = 'p'")).await;

            let dbos = launch(&fresh, &log).await;
            let result = async || dbos.retrieve::<String, Failure>("p").await.unwrap().try_result().await;
            until(&format!("{act}: the parent ends"), async || result().await.is_err()).await;
            let error = result().await.unwrap_err().runtime();
            assert!(
                matches!(error.kind(), ErrorKind::UnexpectedStep | ErrorKind::StepNondeterminism | ErrorKind::Serialization),
                "{act}: {error:?}"
            );
            assert!(error.to_string().contains(&format!("step {step} ")), "{act}: {error}");
            stop(dbos).await;
        }
    }
}

/// The names that rows carry are those of the functions, unless the attribute says otherwise.
#[test]
fn a_workflow_is_named_after_its_function() {
    assert_eq!((double.name(), patient.name(), parent.name()), ("double", "patient", "acting-parent"));
}
