//! Of two executions of one workflow only the owner writes; the other one stops, and answers with what the owner records.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use dbos_runtime::{Client, Dbos, Error, ErrorKind};
use futures_util::future::BoxFuture;
use harness::{Backend, Fresh, on_each_backend};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use super::clients::client;
use super::ledger::{self, App, Fail, Parts, add};
use super::scene::{
    Ctx, HOUR, W, crash, id, launch, launch_as, result_of, start, status, steps, take_over, until_rows,
};

/// One durable call, whose result does not matter here.
type Verb = fn(Ctx) -> BoxFuture<'static, Result<(), Error>>;

/// Every durable call that writes.
const VERBS: &[(&str, Verb)] = &[
    ("step", |ctx| Box::pin(async move { ctx.step("s", || async { Ok(()) }).await })),
    ("step_once", |ctx| Box::pin(async move { ctx.step_once("s", |_| async { Ok(()) }).await })),
    ("set_event", |ctx| Box::pin(async move { ctx.set_event("k", &1).await })),
    ("send", |ctx| Box::pin(async move { ctx.send(&id("other"), "m").topic("t").await })),
    ("send to nobody", |ctx| Box::pin(async move { ctx.send(&id("nobody"), "m").await })),
    ("recv", |ctx| Box::pin(async move { ctx.recv::<Value>("inbox").await.map(drop) })),
    ("recv nothing", |ctx| {
        Box::pin(async move { ctx.recv::<Value>("none").timeout(Duration::ZERO).await.map(drop) })
    }),
    ("sleep", |ctx| Box::pin(async move { ctx.sleep(Duration::from_millis(1)).await })),
    ("get_event", |ctx| Box::pin(async move { ctx.get_event::<Value>(&id("other"), "k").await.map(drop) })),
    ("get_no_event", |ctx| {
        Box::pin(async move {
            ctx.get_event::<Value>(&id("other"), "none").timeout(Duration::ZERO).await.map(drop)
        })
    }),
    ("get_all_events", |ctx| Box::pin(async move { ctx.get_all_events(&id("other")).await.map(drop) })),
    ("start", |ctx| Box::pin(async move { ctx.start(W, json!("child")).await.map(drop) })),
    ("run", |ctx| Box::pin(async move { ctx.run(W, json!("child")).await.map(drop) })),
    ("attach", |ctx| Box::pin(async move { ctx.start(W, json!("child")).id("other").await.map(drop) })),
    ("write_stream", |ctx| Box::pin(async move { ctx.write_stream("k", &1).await })),
    ("close_stream", |ctx| Box::pin(async move { ctx.close_stream("k").await })),
    ("read_stream", |ctx| {
        Box::pin(async move { ctx.read_stream::<Value>(&id("other"), "k").next().await.map(drop) })
    }),
    ("read_stream_offset", |ctx| {
        Box::pin(async move { ctx.read_stream_offset::<Value>(&id("other"), "k", 0).await.map(drop) })
    }),
    ("set_event in a step", |ctx| {
        Box::pin(async move { ctx.step_once("s", |step| async move { step.set_event("k", &1).await }).await })
    }),
    ("write_stream in a step", |ctx| {
        Box::pin(
            async move { ctx.step_once("s", |step| async move { step.write_stream("k", &1).await }).await },
        )
    }),
    ("close_stream in a step", |ctx| {
        Box::pin(async move { ctx.step_once("s", |step| async move { step.close_stream("k").await }).await })
    }),
    ("send in a step", |ctx| {
        Box::pin(async move {
            ctx.step_once("s", |step| async move { step.send(&id("other"), "m").topic("t").await }).await
        })
    }),
    ("now", |ctx| Box::pin(async move { ctx.now().await.map(drop) })),
    ("uuid", |ctx| Box::pin(async move { ctx.uuid().await.map(drop) })),
    ("random", |ctx| Box::pin(async move { ctx.random().await.map(drop) })),
];

/// Counts everything that a workflow could have written, by name.
async fn written(fresh: &Fresh) -> Value {
    let sql = "SELECT (SELECT count(*) FROM operation_outputs WHERE workflow_uuid <> 'other') AS steps,
         (SELECT count(*) FROM workflow_events WHERE workflow_uuid <> 'other') AS events,
         (SELECT count(*) FROM workflow_events_history WHERE workflow_uuid <> 'other') AS history,
         (SELECT count(*) FROM streams WHERE workflow_uuid <> 'other') AS streams,
         (SELECT count(*) FROM notifications WHERE consumed OR topic <> 'inbox') AS messages,
         (SELECT count(*) FROM workflow_status WHERE parent_workflow_id IS NOT NULL) AS children,
         (SELECT count(*) FROM workflow_input) - (SELECT count(*) FROM workflow_status) AS inputs,
         (SELECT count(*) FROM workflow_output WHERE workflow_uuid <> 'other') AS outputs";
    fresh.rows(sql).await.remove(0)
}

/// A runtime whose workflow makes a call of [`VERBS`] after the gate opens, one more after that, reports both, and
/// returns as if nothing had happened. It looks for lost ownership by itself only twice a minute.
async fn launch_verbs(
    fresh: &Fresh,
) -> (Dbos, Arc<Semaphore>, mpsc::UnboundedReceiver<[Option<ErrorKind>; 2]>) {
    let gate = Arc::new(Semaphore::new(0));
    let (tell, told) = mpsc::unbounded_channel();
    let gate_too = Arc::clone(&gate);
    let rare = harness::builder(fresh).polling_interval(Duration::from_secs(3600));
    let dbos = launch_as(rare, move |ctx, input| {
        let (gate, tell) = (Arc::clone(&gate_too), tell.clone());
        async move {
            match input.as_u64().and_then(|n| VERBS.get(usize::try_from(n).unwrap())) {
                None if input == "other" => {
                    ctx.set_event("k", &1).await?;
                    ctx.write_stream("k", &1).await?;
                }
                None => {}
                Some((_, verb)) => {
                    gate.acquire().await.unwrap().forget();
                    let first = verb(ctx.clone()).await.err().map(|error| error.kind());
                    let second =
                        ctx.step("second", || async { Ok(()) }).await.err().map(|error| error.kind());
                    tell.send([first, second]).unwrap();
                }
            }
            Ok(json!("swallowed"))
        }
    })
    .await;
    dbos.start(W, json!("other")).id("other").await.unwrap().result().await.unwrap();
    (dbos, gate, told)
}

on_each_backend! {
    // C83, C84, C85, C87, C88
    async fn a_stale_execution_writes_nothing_whatever_it_calls_and_whatever_it_returns(fresh: Fresh) {
        let (dbos, gate, mut told) = launch_verbs(&fresh).await;
        for (n, (name, _)) in VERBS.iter().enumerate() {
            let workflow = format!("w{n}");
            dbos.start(W, json!(n)).id(workflow.as_str()).await.unwrap();
            dbos.send(&id(&workflow), "for the owner").topic("inbox").await.unwrap();
            take_over(&fresh, &workflow).await;
            let before = written(&fresh).await;
            assert_eq!(before, json!({"steps": 0, "events": 0, "history": 0, "streams": 0, "messages": 0, "children": 0, "inputs": 0, "outputs": 0}));
            gate.add_permits(1);
            let lost = Some(ErrorKind::LostOwnership);
            assert_eq!(told.recv().await.unwrap(), [lost, lost], "{name}");
            assert_eq!(written(&fresh).await, before, "{name}");
        }
        crash(&dbos).await;
        assert_eq!(written(&fresh).await["outputs"], 0, "no outcome either");
        let theirs = "workflow_status WHERE status = 'PENDING' AND owner_xid = 'another' AND executor_id = 'elsewhere'";
        until_rows(&fresh, i64::try_from(VERBS.len()).unwrap(), theirs).await;
    }

    // The same calls by an owner do write: nothing above was empty for another reason.
    async fn an_owner_writes_all_of_that(fresh: Fresh) {
        let (dbos, gate, mut told) = launch_verbs(&fresh).await;
        gate.add_permits(VERBS.len());
        for (n, (name, _)) in VERBS.iter().enumerate() {
            let handle = dbos.start(W, json!(n)).id(format!("w{n}")).await.unwrap();
            dbos.send(handle.id(), "for the owner").topic("inbox").await.unwrap();
            let expected = (*name == "send to nobody").then_some(ErrorKind::NonExistentWorkflow);
            assert_eq!(told.recv().await.unwrap(), [expected, None], "{name}");
            assert_eq!(result_of(&handle).await.unwrap(), "swallowed");
            let recorded = steps(&fresh, &format!("w{n}")).await.len();
            assert!(recorded >= 2, "{name}: {recorded} steps");
        }
        let all = written(&fresh).await;
        assert_eq!((&all["events"], &all["messages"], &all["children"]), (&json!(2), &json!(3), &json!(2)));
    }

    // C87: ownership that goes after the last step takes the outcome with it.
    async fn a_stale_executions_outcome_is_refused_and_the_handle_answers_with_the_owners(fresh: Fresh) {
        let gate = Arc::new(Semaphore::new(0));
        let gate_too = Arc::clone(&gate);
        let dbos = launch(&fresh, move |ctx, _| {
            let gate = Arc::clone(&gate_too);
            async move {
                ctx.step("s", || async { Ok(()) }).await?;
                gate.acquire().await.unwrap().forget();
                Ok(json!("stale"))
            }
        })
        .await;
        let handle = start(&dbos, "w").await;
        until_rows(&fresh, 1, "operation_outputs").await;
        take_over(&fresh, "w").await;
        gate.add_permits(1);
        let answer = async {
            let result = result_of(&handle).await;
            result.unwrap()
        };
        let owner = async {
            // The stale one has had its say when a later workflow of its process has ended.
            gate.add_permits(1);
            result_of(&start(&dbos, "later").await).await.unwrap();
            assert_eq!(status(&fresh, "w").await, "PENDING");
            fresh.execute("INSERT INTO workflow_output (workflow_uuid, output) VALUES ('w', '\"owner\"');
                 UPDATE workflow_status SET status = 'SUCCESS', owner_xid = NULL WHERE workflow_uuid = 'w'").await;
        };
        let (answer, ()) = tokio::join!(answer, owner);
        assert_eq!(answer, "owner");
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_output WHERE output = '\"owner\"'").await, 1);
    }

    // C82, C85: it does not have to wake up to learn of it.
    async fn a_stale_execution_that_sleeps_or_waits_is_told(fresh: Fresh) {
        let (tell, mut told) = mpsc::unbounded_channel();
        let dbos = launch(&fresh, move |ctx, input| {
            let tell = tell.clone();
            async move {
                let stopped = match input.as_str().unwrap() {
                    "sleep" => ctx.sleep(HOUR).await,
                    "recv" => ctx.recv::<Value>("t").timeout(HOUR).await.map(drop),
                    "get_event" => ctx.get_event::<Value>(&id("nobody"), "k").timeout(HOUR).await.map(drop),
                    _ => ctx.run(W, json!("sleep")).await.map(drop),
                };
                if ctx.workflow_id().as_str() != "run-21-1" {
                    tell.send(stopped.unwrap_err().kind()).unwrap();
                }
                Ok(Value::Null)
            }
        })
        .await;
        // Also when the owner has ended it before anybody looked.
        let (owned, ended) = ("owner_xid = 'another'", "owner_xid = NULL, status = 'SUCCESS'");
        for (verb, now) in [("sleep", owned), ("recv", owned), ("get_event", owned), ("run", owned), ("sleep", ended), ("recv", ended)] {
            let workflow = format!("{verb}-{}", now.len());
            dbos.start(W, json!(verb)).id(workflow.as_str()).await.unwrap();
            until_rows(&fresh, 1, &format!("operation_outputs WHERE workflow_uuid = '{workflow}'")).await;
            fresh.execute(&format!("UPDATE workflow_status SET {now} WHERE workflow_uuid = '{workflow}'")).await;
            let told = tokio::time::timeout(harness::PATIENCE, told.recv()).await;
            assert_eq!(told.expect("it is told"), Some(ErrorKind::LostOwnership), "{workflow}");
        }
        assert_eq!(fresh.scalar("SELECT count(*) FROM operation_outputs WHERE function_name = 'DBOS.recv'").await, 0);
    }

    // C85, K12: the message goes to the owner, and both handles see one result.
    async fn of_two_processes_that_wait_in_one_receive_the_owner_gets_the_message(fresh: Fresh) {
        let errors = Arc::new(std::sync::Mutex::new(Vec::new()));
        let body = |errors: &Arc<std::sync::Mutex<Vec<ErrorKind>>>| {
            let errors = Arc::clone(errors);
            move |ctx: Ctx, _: Value| {
                let errors = Arc::clone(&errors);
                async move {
                    let got = ctx.recv::<Value>("t").timeout(HOUR).await;
                    if let Err(error) = &got {
                        errors.lock().unwrap().push(error.kind());
                    }
                    Ok(json!(got?))
                }
            }
        };
        // The stale one does not find out by itself.
        let rare = harness::builder(&fresh).polling_interval(Duration::from_secs(3600));
        let stale = launch_as(rare, body(&errors)).await;
        start(&stale, "w").await;
        until_rows(&fresh, 1, "operation_outputs").await;
        let owner = launch(&fresh, body(&errors)).await;
        until_rows(&fresh, 1, "workflow_status WHERE status = 'PENDING' AND recovery_attempts = 2").await;
        // Sent by the stale process, whose own waiter hears of it first.
        stale.send(&id("w"), "m").topic("t").await.unwrap();
        assert_eq!(result_of(&owner.retrieve("w").await.unwrap()).await.unwrap(), "m");
        harness::until("the stale one stopped", async || *errors.lock().unwrap() == [ErrorKind::LostOwnership]).await;
        let taken = fresh.query("SELECT message_uuid FROM notifications WHERE consumed_by_function_id = 1").await;
        assert_eq!((taken.len(), steps(&fresh, "w").await.len()), (1, 2));
    }

    // C70, C81: recovered from outside, and claimed by the very process that still runs it.
    async fn an_execution_that_its_own_process_replaces_is_told_and_its_handle_answers(fresh: Fresh) {
        let (tell, mut told) = mpsc::unbounded_channel();
        let dbos = launch(&fresh, move |ctx, _| {
            let tell = tell.clone();
            async move {
                let got = ctx.recv::<Value>("t").timeout(HOUR).await;
                if let Err(error) = &got {
                    tell.send(error.kind()).unwrap();
                }
                Ok(json!(got?))
            }
        })
        .await;
        let handle = start(&dbos, "w").await;
        until_rows(&fresh, 1, "operation_outputs").await;
        fresh.execute("UPDATE workflow_status SET status = 'ENQUEUED', queue_name = '_dbos_internal_queue', owner_xid = NULL").await;
        let stopped = tokio::time::timeout(harness::PATIENCE, told.recv()).await;
        assert_eq!(stopped.expect("it is told"), Some(ErrorKind::LostOwnership));
        until_rows(&fresh, 1, "workflow_status WHERE status = 'PENDING' AND recovery_attempts = 2").await;
        dbos.send(&id("w"), "m").topic("t").await.unwrap();
        assert_eq!(result_of(&handle).await.unwrap(), "m");
        assert_eq!(steps(&fresh, "w").await.len(), 2);
    }

    // F30: declared dead by mistake. What may be doubled is one step body, and nothing that is recorded.
    async fn a_process_wrongly_declared_dead_doubles_one_step_body_at_most(fresh: Fresh) {
        let calls: Arc<[AtomicU32; 3]> = Arc::default();
        let gate = Arc::new(Semaphore::new(0));
        let body = |stuck: bool| {
            let (calls, gate) = (Arc::clone(&calls), Arc::clone(&gate));
            move |ctx: Ctx, _: Value| {
                let (calls, gate) = (Arc::clone(&calls), Arc::clone(&gate));
                async move {
                    for (n, name) in ["a", "b", "c"].into_iter().enumerate() {
                        ctx.step(name, || async {
                            calls[n].fetch_add(1, SeqCst);
                            if stuck && n == 1 {
                                gate.acquire().await.unwrap().forget();
                            }
                            Ok(())
                        })
                        .await?;
                    }
                    Ok(json!(if stuck { "stale" } else { "owner" }))
                }
            }
        };
        let rare = harness::builder(&fresh).polling_interval(Duration::from_secs(1));
        let stale = launch_as(rare, body(true)).await;
        let handle = start(&stale, "w").await;
        harness::until("b runs", async || calls[1].load(SeqCst) == 1).await;
        let owner = launch(&fresh, body(false)).await;
        assert_eq!(result_of(&owner.retrieve("w").await.unwrap()).await.unwrap(), "owner");
        gate.add_permits(1);
        assert_eq!(result_of(&handle).await.unwrap(), "owner");
        let counts: Vec<u32> = calls.iter().map(|calls| calls.load(SeqCst)).collect();
        assert_eq!(counts, [1, 2, 1]);
        assert_eq!(steps(&fresh, "w").await.len(), 3);
        crash(&stale).await;
        assert_eq!(fresh.scalar("SELECT recovery_attempts FROM workflow_status").await, 2);
    }

    // C96: a second start of a live id finds it, and runs nothing.
    async fn a_start_under_a_live_id_elsewhere_does_not_run_it_twice(fresh: Fresh) {
        let calls = Arc::new(AtomicU32::new(0));
        let body = |calls: &Arc<AtomicU32>| {
            let calls = Arc::clone(calls);
            move |ctx: Ctx, _: Value| {
                calls.fetch_add(1, SeqCst);
                async move { Ok(json!(ctx.recv::<Value>("t").timeout(HOUR).await?)) }
            }
        };
        let one = launch_as(harness::builder(&fresh).executor_id("one"), body(&calls)).await;
        let two = launch_as(harness::builder(&fresh).executor_id("two"), body(&calls)).await;
        start(&one, "w").await;
        let found = two.start(W, Value::Null).id("w").await.unwrap();
        assert!(!found.created());
        one.send(&id("w"), "m").topic("t").await.unwrap();
        assert_eq!(result_of(&found).await.unwrap(), "m");
        assert_eq!(calls.load(SeqCst), 1);
        assert_eq!(found.try_result().await.unwrap(), Some(json!("m")));
    }
}

/// Its transaction stops at the door, and it waits there once more at its end.
async fn sells_slowly(ctx: dbos_runtime::Ctx<App, Fail>) -> Result<String, Fail> {
    let app = ctx.state().clone();
    ctx.transaction(&ctx.state().db, "sell", async move |tx| {
        app.run();
        add(tx, "ink").await?;
        app.door.pass().await;
        Ok(())
    })
    .await?;
    ctx.state().door.pass().await;
    Ok(String::new())
}

/// Cancels the workflow from another program; the checkpoint has to be let go before that is possible.
async fn cancelled_after(
    fresh: &Fresh,
    app: &App,
    (dbos, client): (Dbos, Client),
    released: &AtomicBool,
    let_go: impl Future<Output = ()>,
) {
    let cancel = async {
        let cancelled = client.cancel(&id("w")).await.unwrap();
        assert!(released.load(SeqCst), "the cancel waited for the checkpoint");
        cancelled
    };
    let ((), cancelled) = tokio::join!(let_go, cancel);
    assert!(cancelled);
    assert_eq!((steps(fresh, "w").await.len(), app.runs()), (1, 1), "the checkpoint was there first");
    assert_eq!(ledger::entries(fresh).await, ["ink"]);
    assert_eq!(status(fresh, "w").await, "CANCELLED");
    client.close().await;
    crash(&dbos).await;
}

// C86: to look who owns a workflow and to commit its checkpoint is one thing, and whoever takes it over waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handover_waits_for_a_checkpoint_that_is_being_committed_on_postgres() {
    let fresh = harness::fresh(Backend::Postgres).await;
    let app = Parts::on(&fresh).await;
    // The commit of a new row waits for a lock.
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(86); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON ledger DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()";
    fresh.execute(slow).await;
    let mut held = <sqlx::PgConnection as sqlx::Connection>::connect(fresh.url()).await.unwrap();
    sqlx::query("SELECT pg_advisory_lock(86)").execute(&mut held).await.unwrap();
    let dbos = ledger::launch(harness::builder(&fresh).executor_id("one"), app.clone(), sells_slowly).await;
    let client = client(&fresh).await;
    dbos.start(ledger::W, ()).id("w").await.unwrap();
    app.door.let_in(1);
    let waiting = |query: &str| {
        let waits = "datname = current_database() AND wait_event_type = 'Lock'";
        format!("pg_stat_activity WHERE {waits} AND query LIKE '{query}'")
    };
    until_rows(&fresh, 1, &waiting("COMMIT%")).await;
    let released = AtomicBool::new(false);
    let release = async {
        until_rows(&fresh, 1, &waiting("%CANCELLED%")).await;
        assert!(steps(&fresh, "w").await.is_empty(), "nothing is committed yet");
        released.store(true, SeqCst);
        sqlx::query("SELECT pg_advisory_unlock(86)").execute(&mut held).await.unwrap();
    };
    cancelled_after(&fresh, &app, (dbos, client), &released, release).await;
}

// C86: where there is one writer, the checkpoint that is open is the one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handover_waits_for_a_checkpoint_that_is_being_committed_on_sqlite() {
    let fresh = harness::fresh(Backend::Sqlite).await;
    let app = Parts::on(&fresh).await;
    let dbos = ledger::launch(harness::builder(&fresh).executor_id("one"), app.clone(), sells_slowly).await;
    let client = client(&fresh).await;
    dbos.start(ledger::W, ()).id("w").await.unwrap();
    app.door.knock().await;
    let released = AtomicBool::new(false);
    let release = async {
        // There is nothing to see of one who waits for its turn.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(status(&fresh, "w").await, "PENDING");
        released.store(true, SeqCst);
        app.door.let_in(1);
    };
    cancelled_after(&fresh, &app, (dbos, client), &released, release).await;
}
