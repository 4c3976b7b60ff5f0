//! Hints: what wakes a waiter, within a process and across processes, and what makes up for the hints that are lost.

use std::time::{Duration, Instant};

use dbos_runtime::{Builder, Dbos, Error};
use futures_util::future::join_all;
use harness::{Backend, Fresh, on_each_backend};
use serde_json::{Value, json};

use super::scene::{Ctx, HOUR, W, id, launch_as, result_of, start, until_rows};

/// No test waits this long: whoever wakes was woken.
const RARELY: Duration = HOUR;

/// Well under the time after which anybody would look by himself.
const PROMPTLY: Duration = harness::PATIENCE;

async fn waits(ctx: Ctx, input: Value) -> Result<Value, Error> {
    Ok(match input.as_str().unwrap() {
        "recv" => json!(ctx.recv::<Value>("t").timeout(HOUR).await?),
        "get_event" => json!(ctx.get_event::<Value>(&id("p"), "k").timeout(HOUR).await?),
        _ => {
            ctx.set_event("k", "published").await?;
            Value::Null
        }
    })
}

/// A process among several. Where hints travel between processes it looks rarely, so that nothing else wakes it.
async fn process(fresh: &Fresh, executor: &str) -> Dbos {
    let builder = harness::builder(fresh).executor_id(executor);
    let builder =
        if fresh.backend() == Backend::Postgres { builder.polling_interval(RARELY) } else { builder };
    let dbos = launch_as(builder, waits).await;
    if fresh.backend() == Backend::Postgres {
        listening(fresh, executor).await;
    }
    dbos
}

const LISTENERS: &str = "pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'";

/// Waits until as many processes listen as were launched by now.
async fn listening(fresh: &Fresh, executor: &str) {
    let number = executor.trim_start_matches(char::is_alphabetic).parse().unwrap();
    until_rows(fresh, number, LISTENERS).await;
}

/// Starts the two workflows that wait, and returns when they do.
async fn start_waiting(dbos: &Dbos, fresh: &Fresh) {
    for verb in ["recv", "get_event"] {
        dbos.start(W, json!(verb)).id(verb).await.unwrap();
    }
    until_rows(fresh, 2, "operation_outputs WHERE function_name = 'DBOS.sleep'").await;
}

async fn assert_woken(dbos: &Dbos, since: Instant) {
    for (workflow, expected) in [("recv", "sent"), ("get_event", "published")] {
        let handle = dbos.retrieve::<Value, Error>(workflow).await.unwrap();
        assert_eq!(result_of(&handle).await.unwrap(), expected);
    }
    assert!(since.elapsed() < PROMPTLY, "{:?}", since.elapsed());
}

/// What another program writes. The schema's trigger notifies of it.
async fn insert_message(fresh: &Fresh) {
    let sql = "INSERT INTO notifications (message_uuid, destination_uuid, topic, message, serialization)
        VALUES ('raw', 'recv', 't', '\"sent\"', 'portable_json')";
    fresh.execute(sql).await;
}

on_each_backend! {
    async fn a_message_and_an_event_wake_their_waiters_in_the_same_process(fresh: Fresh) {
        let rare: Builder<()> = harness::builder(&fresh).polling_interval(RARELY).listen_notify(false);
        let dbos = launch_as(rare, waits).await;
        start_waiting(&dbos, &fresh).await;
        let since = Instant::now();
        dbos.send(&id("recv"), "sent").topic("t").await.unwrap();
        dbos.start(W, json!("publish")).id("p").await.unwrap();
        assert_woken(&dbos, since).await;
    }

    // I223, H208
    async fn a_message_and_an_event_wake_their_waiters_in_another_process(fresh: Fresh) {
        let waiting = process(&fresh, "e1").await;
        let acting = process(&fresh, "e2").await;
        start_waiting(&waiting, &fresh).await;
        let since = Instant::now();
        let p = id("p");
        let outside = waiting.get_event::<Value>(&p, "k", HOUR);
        let act = async {
            acting.send(&id("recv"), "sent").topic("t").await.unwrap();
            acting.start(W, json!("publish")).id("p").await.unwrap();
        };
        let (outside, ()) = tokio::join!(outside, act);
        assert_eq!(outside.unwrap(), Some(json!("published")));
        assert_woken(&waiting, since).await;
    }

    // H209: without hints, by looking.
    async fn processes_that_do_not_listen_find_it_by_polling(fresh: Fresh) {
        let quiet = |executor: &str| harness::builder(&fresh).executor_id(executor).listen_notify(false);
        let waiting = launch_as(quiet("e1"), waits).await;
        let acting = launch_as(quiet("e2"), waits).await;
        if fresh.backend() == Backend::Postgres {
            assert_eq!(fresh.scalar(&format!("SELECT count(*) FROM {LISTENERS}")).await, 0);
        }
        start_waiting(&waiting, &fresh).await;
        let since = Instant::now();
        acting.send(&id("recv"), "sent").topic("t").await.unwrap();
        acting.start(W, json!("publish")).id("p").await.unwrap();
        assert_woken(&waiting, since).await;
        let result = waiting.retrieve::<Value, Error>("p").await.unwrap();
        assert_eq!(result_of(&result).await.unwrap(), Value::Null);
    }

    // H208: by the trigger on Postgres, by polling on SQLite.
    async fn a_message_that_another_program_inserts_wakes_its_receiver(fresh: Fresh) {
        let dbos = process(&fresh, "e1").await;
        let handle = dbos.start(W, json!("recv")).id("recv").await.unwrap();
        until_rows(&fresh, 1, "operation_outputs").await;
        let since = Instant::now();
        insert_message(&fresh).await;
        assert_eq!(result_of(&handle).await.unwrap(), "sent");
        assert!(since.elapsed() < PROMPTLY, "{:?}", since.elapsed());
    }

    // K46, H210, H211: rows that came without any hint are found when the listener comes back. SQLite has no listener.
    async fn what_came_while_the_listener_was_cut_is_made_up_for(fresh: Fresh) {
        if fresh.backend() == Backend::Sqlite {
            return;
        }
        let dbos = process(&fresh, "e1").await;
        let mute = launch_as(harness::builder(&fresh).executor_id("mute").listen_notify(false), waits).await;
        start_waiting(&dbos, &fresh).await;
        fresh.execute("ALTER TABLE notifications DISABLE TRIGGER USER").await;
        insert_message(&fresh).await;
        mute.start(W, json!("publish")).id("p").await.unwrap().result().await.unwrap();
        fresh.execute("ALTER TABLE notifications ENABLE TRIGGER USER").await;
        // A hint that does come wakes only whom it is for, so the two are still waiting.
        let marker = dbos.start(W, json!("recv")).id("marker").await.unwrap();
        until_rows(&fresh, 3, "operation_outputs WHERE function_name = 'DBOS.sleep'").await;
        fresh.execute("INSERT INTO notifications (message_uuid, destination_uuid, topic, message, serialization)
            VALUES ('marker', 'marker', 't', '0', 'portable_json')").await;
        assert_eq!(result_of(&marker).await.unwrap(), 0);
        until_rows(&fresh, 2, "workflow_status WHERE status = 'PENDING'").await;

        let since = Instant::now();
        let cut = fresh.scalar(&format!("SELECT count(pg_terminate_backend(pid)) FROM {LISTENERS}")).await;
        assert_eq!(cut, 1);
        assert_woken(&dbos, since).await;
        // And it listens again.
        until_rows(&fresh, 1, LISTENERS).await;
        let again = dbos.start(W, json!("recv")).id("again").await.unwrap();
        until_rows(&fresh, 1, "operation_outputs WHERE workflow_uuid = 'again'").await;
        fresh.execute("INSERT INTO notifications (message_uuid, destination_uuid, topic, message, serialization)
            VALUES ('again', 'again', 't', '1', 'portable_json')").await;
        assert_eq!(result_of(&again).await.unwrap(), 1);
    }

    // K47, H206, I224: a topic and a key of one text, and readers that leave.
    async fn waiters_do_not_disturb_one_another(fresh: Fresh) {
        let rare = harness::builder(&fresh).polling_interval(RARELY);
        let dbos = launch_as(rare, |ctx, input| async move {
            if input == "publish" {
                ctx.set_event("x", "event").await?;
            }
            Ok(json!(ctx.recv::<Value>("x").timeout(HOUR).await?))
        })
        .await;
        let handle = start(&dbos, "w").await;
        let w = id("w");
        // Readers of the same workflow and text, half of whom give up.
        let read = || dbos.get_event::<Value>(&w, "x", HOUR);
        let leaving = join_all((0..20).map(|_| tokio::time::timeout(Duration::from_millis(20), read()))).await;
        assert!(leaving.iter().all(Result::is_err));
        dbos.send(&w, "message").topic("x").await.unwrap();
        assert_eq!(result_of(&handle).await.unwrap(), "message", "no reader's leaving has taken the receiver's place");
        let staying = dbos.get_event::<Value>(&w, "x", Duration::from_millis(50)).await.unwrap();
        assert_eq!(staying, None, "a message is no event");

        let p = id("p");
        let readers = join_all((0..20).map(|_| dbos.get_event::<Value>(&p, "x", HOUR)));
        let publish = dbos.start(W, json!("publish")).id("p").into_future();
        let (readers, handle) = tokio::join!(readers, publish);
        assert!(readers.into_iter().all(|read| read.unwrap() == Some(json!("event"))));
        until_rows(&fresh, 1, "workflow_status WHERE workflow_uuid = 'p' AND status = 'PENDING'").await;
        dbos.send(&p, "message").topic("x").await.unwrap();
        assert_eq!(result_of(&handle.unwrap()).await.unwrap(), "message");
    }
}
