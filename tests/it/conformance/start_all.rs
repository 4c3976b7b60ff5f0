//! Many starts as one: all of them or none.

use dbos_runtime::{Client, Error, ErrorKind, Queue, Start, StartAll, WorkflowHandle};
use harness::{Backend, Fresh, on_each_backend};
use serde_json::json;

use super::clients::{Caller, client, own_table};
use super::gauge::{Gauge, JOB};
use super::scene::{HOUR, assert_kind, crash};

type Handles = Result<Vec<WorkflowHandle<String>>, Error>;

/// Ids that sort against the order of their starts.
fn falling(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}-{:04}", 9_999 - n)).collect()
}

fn job(client: &Client, id: &str) -> Start<String, Error> {
    client.start(JOB, id.to_owned()).id(id).queue("q")
}

fn jobs(client: &Client, ids: &[String]) -> StartAll<String, Error> {
    client.start_all(ids.iter().map(|id| job(client, id)))
}

fn ids(handles: &[WorkflowHandle<String>]) -> Vec<String> {
    handles.iter().map(|handle| handle.id().to_string()).collect()
}

async fn in_order(fresh: &Fresh) -> Vec<String> {
    let rows = fresh.query("SELECT workflow_uuid FROM workflow_status ORDER BY created_at").await;
    rows.into_iter().flatten().flatten().collect()
}

async fn count(fresh: &Fresh, from: &str) -> i64 {
    fresh.scalar(&format!("SELECT count(*) FROM {from}")).await
}

impl Caller {
    async fn start_all(&mut self, starts: StartAll<String, Error>) -> Handles {
        match self {
            Self::Sqlite(connection) => starts.within(connection).await,
            Self::Postgres(connection) => starts.within(connection).await,
        }
    }
}

on_each_backend! {
    // K.329: what is there stays as it is, and the handles are those of the others, in their order.
    async fn many_starts_skip_what_is_there_and_run(fresh: Fresh) {
        let client = client(&fresh).await;
        let all = falling("j", 150);
        client.start(JOB, "first".to_owned()).id(all[70].as_str()).queue("elsewhere").await.unwrap();
        let started = jobs(&client, &all).await.unwrap();
        let new: Vec<String> = all.iter().filter(|id| **id != all[70]).cloned().collect();
        assert_eq!(ids(&started), new);
        assert!(started.iter().all(WorkflowHandle::created));
        assert_eq!((count(&fresh, "workflow_status").await, count(&fresh, "workflow_input").await), (150, 150));
        let there = format!("workflow_status WHERE workflow_uuid = '{}' AND queue_name = 'elsewhere'", all[70]);
        assert_eq!(count(&fresh, &there).await, 1);
        assert_eq!(ids(&jobs(&client, &all).await.unwrap()), Vec::<String>::new(), "again, it finds them all");

        let gauge = Gauge::open();
        let dbos = gauge.register(harness::builder(&fresh)).queue(Queue::new("q")).launch().await.unwrap();
        for handle in [&started[0], &started[148]] {
            assert_eq!(handle.result().await.unwrap(), handle.id().as_str());
        }
        // A runtime does it just as well, by name too, each with options of its own.
        let named = [dbos.enqueue("q", "job", "x").id("x").priority(3), dbos.enqueue("q", "job", "y").id("y").delay(HOUR)];
        let started = dbos.start_all(named).await.unwrap();
        assert_eq!(started[0].result().await.unwrap(), "x");
        let facts = "SELECT status AS s, priority AS p FROM workflow_status WHERE workflow_uuid IN ('x', 'y') ORDER BY workflow_uuid";
        assert_eq!(fresh.rows(facts).await, [json!({"s": "SUCCESS", "p": 3}), json!({"s": "DELAYED", "p": 0})]);
        assert_eq!(ids(&dbos.start_all(Vec::<Start<String, Error>>::new()).await.unwrap()), Vec::<String>::new());
        crash(&dbos).await;
        client.close().await;
    }

    // K.330, K.331: also behind rows that an earlier process put ahead of the clock, and that run by now.
    async fn the_order_of_many_starts_is_kept_over_restarts(fresh: Fresh) {
        let now = match fresh.backend() {
            Backend::Sqlite => "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
            Backend::Postgres => "(EXTRACT(epoch FROM now()) * 1000)::int8",
        };
        let first = client(&fresh).await;
        let mut all = falling("a", 200);
        jobs(&first, &all).await.unwrap();
        first.close().await;
        assert_eq!(in_order(&fresh).await, all);
        fresh.execute("UPDATE workflow_status SET status = 'PENDING'").await;
        // On a slow machine the clock may have passed the rows before the next ones come: then once more.
        for round in 0..20 {
            let ahead = format!("UPDATE workflow_status SET created_at = created_at + {now} + 900 - (SELECT max(created_at) FROM workflow_status)");
            let second = client(&fresh).await;
            fresh.execute(&ahead).await;
            let last = fresh.scalar("SELECT max(created_at) FROM workflow_status").await;
            let next = falling(&format!("b{round:02}"), 50);
            jobs(&second, &next).await.unwrap();
            second.close().await;
            let begins = format!("SELECT min(created_at) FROM workflow_status WHERE workflow_uuid LIKE 'b{round:02}-%'");
            let begins = fresh.scalar(&begins).await;
            all.extend(next);
            assert_eq!(in_order(&fresh).await, all);
            assert!(begins > last);
            if begins == last + 1 {
                return;
            }
        }
        panic!("no call came while the rows before were ahead of the clock");
    }

    // K.329, P.456: with the caller's own rows, or not at all.
    async fn many_starts_within_a_transaction_go_with_it(fresh: Fresh) {
        own_table(&fresh).await;
        let client = client(&fresh).await;
        let all = falling("j", 40);
        job(&client, &all[20]).await.unwrap();
        let mut caller = Caller::begin(&fresh).await;
        assert_eq!(caller.start_all(jobs(&client, &all)).await.unwrap().len(), 39);
        assert_eq!(count(&fresh, "workflow_status").await, 1);
        caller.run("ROLLBACK").await;
        assert_eq!((count(&fresh, "own").await, count(&fresh, "workflow_status").await), (0, 1));

        let mut caller = Caller::begin(&fresh).await;
        assert_eq!(caller.start_all(jobs(&client, &all[..30])).await.unwrap().len(), 29);
        assert_eq!(caller.start_all(jobs(&client, &all)).await.unwrap().len(), 10, "it sees its own");
        // A refusal leaves the transaction fit to go on.
        assert_kind(caller.start_all(client.start_all([client.start(JOB, String::new())])).await, ErrorKind::InvalidArgument);
        caller.run("COMMIT").await;
        assert_eq!((count(&fresh, "own").await, count(&fresh, "workflow_status").await), (1, 40));
        assert_eq!(count(&fresh, "workflow_input").await, 40);
        client.close().await;
    }

    async fn of_many_starts_all_or_none_are_there(fresh: Fresh) {
        let client = client(&fresh).await;
        let all = falling("j", 100);
        let when = format!("BEFORE INSERT ON workflow_status FOR EACH ROW WHEN (NEW.workflow_uuid = '{}')", all[90]);
        let (plant, remove) = match fresh.backend() {
            Backend::Sqlite => (
                format!("CREATE TRIGGER refuse {when} BEGIN SELECT RAISE(ABORT, 'planted'); END"),
                "DROP TRIGGER refuse",
            ),
            Backend::Postgres => (
                format!(
                    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'planted'; END $$;
                     CREATE TRIGGER refuse {when} EXECUTE FUNCTION refuse()"
                ),
                "DROP TRIGGER refuse ON workflow_status",
            ),
        };
        fresh.execute(&plant).await;
        assert_kind(jobs(&client, &all).await, ErrorKind::Database);
        assert_eq!((count(&fresh, "workflow_status").await, count(&fresh, "workflow_input").await), (0, 0));
        fresh.execute(remove).await;
        assert_eq!(jobs(&client, &all).await.unwrap().len(), 100);
        client.close().await;
    }

    async fn starts_that_cannot_be_one_of_many_are_refused(fresh: Fresh) {
        let client = client(&fresh).await;
        let fit = || job(&client, "fit");
        let unfit = || client.start(JOB, String::new()).id("unfit").queue("q");
        for refused in [
            client.start(JOB, String::new()),
            unfit().deduplication_id("d"),
            unfit().debounce("k", HOUR),
            unfit().refuse_existing(),
            unfit().same_input(),
            unfit().priority(0),
            fit(),
        ] {
            let described = format!("{refused:?}");
            let error = client.start_all([fit(), refused]).await.expect_err(&described);
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{described}: {error}");
        }
        let too_many = (0..5_001).map(|_| client.start(JOB, String::new()).queue("q"));
        assert_kind(client.start_all(too_many).await, ErrorKind::InvalidArgument);
        assert_eq!(count(&fresh, "workflow_status").await, 0);
        client.close().await;
    }
}
