//! Every future of the public API, dropped after each of its polls (F09, K52): what a timeout, a `select!` or a client
//! that hangs up does to it. Nothing acknowledged is lost, nothing is left open, nothing is orphaned.

use std::time::Duration;

use dbos_runtime::{Begun, Ctx as RuntimeCtx, Datasource, Dbos, Error, WorkflowId, workflow};
use harness::drops::drop_after;
use harness::{Backend, Fresh, on_each_backend};
use serde_json::json;
use sqlx::{Any, Connection as _, SqliteConnection};

type Ctx = RuntimeCtx<Datasource<Any>, Error>;

/// More awaits than any call has.
const TOO_MANY: usize = 60;

struct World {
    fresh: Fresh,
    dbos: Dbos,
}

impl World {
    async fn new(fresh: Fresh) -> Self {
        let orders = match fresh.backend() {
            Backend::Sqlite => "CREATE TABLE orders (id TEXT NOT NULL)",
            Backend::Postgres => "CREATE TABLE public.orders (id TEXT NOT NULL)",
        };
        fresh.execute(orders).await;
        let db = Datasource::connect(fresh.url()).await.unwrap();
        let builder = harness::builder(&fresh)
            .state(db)
            .register(add)
            .register(parked)
            .register(dropped);
        // A small pool, so that a connection which is not given back is missed.
        let dbos = builder.pool_size(2).launch().await.unwrap();
        dbos.start(parked, ()).id("parked").await.unwrap();
        Self { fresh, dbos }
    }

    /// Drops the call after 0, 1, 2… polls until it ends by itself; `call` says whether it did. Returns how often it was
    /// dropped.
    async fn sweep(&self, name: &str, call: impl AsyncFn(usize) -> bool) -> usize {
        for polls in 0..TOO_MANY {
            let ended = tokio::time::timeout(Duration::from_secs(10), call(polls)).await;
            let ended = ended.unwrap_or_else(|_| panic!("{name} hangs after {polls} polls"));
            self.check_connections(name, polls).await;
            if ended {
                return polls;
            }
        }
        panic!("{name} never ends");
    }

    /// No session is in a transaction that nobody will end, and the others can write.
    async fn check_connections(&self, name: &str, polls: usize) {
        let what = format!("free of open transactions: {name} after {polls} polls");
        match self.fresh.backend() {
            Backend::Postgres => {
                let open = "SELECT count(*) FROM pg_stat_activity \
                     WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
                harness::until(&what, async || self.fresh.scalar(open).await == 0).await;
            }
            Backend::Sqlite => {
                let mut other = SqliteConnection::connect(self.fresh.url()).await.unwrap();
                sqlx::query("PRAGMA busy_timeout = 2000")
                    .execute(&mut other)
                    .await
                    .unwrap();
                other
                    .begin_with("BEGIN IMMEDIATE")
                    .await
                    .expect(&what)
                    .rollback()
                    .await
                    .unwrap();
            }
        }
    }

    /// The pool still has its connections, and whatever was started has ended.
    async fn check_liveness(&self, name: &str) {
        let still = async {
            for _ in 0..4 {
                self.dbos.ping().await.unwrap();
            }
            let sum = self
                .dbos
                .start(add, (1, 2))
                .await
                .unwrap()
                .result()
                .await
                .unwrap();
            assert_eq!(sum, 3);
        };
        tokio::time::timeout(Duration::from_secs(5), still)
            .await
            .unwrap_or_else(|_| panic!("stuck after {name}"));
        let orphans =
            "SELECT count(*) FROM workflow_status WHERE status = 'PENDING' AND workflow_uuid <> 'parked'";
        harness::until(&format!("without orphans: {name}"), async || {
            self.fresh.scalar(orphans).await == 0
        })
        .await;
    }
}

#[workflow]
async fn add(ctx: Ctx, numbers: (i64, i64)) -> Result<i64, Error> {
    ctx.step("add", || async { Ok(numbers.0 + numbers.1) }).await
}

#[workflow]
async fn parked(ctx: Ctx, _: ()) -> Result<(), Error> {
    ctx.set_event("there", &1).await?;
    ctx.recv::<u32>("never")
        .timeout(Duration::from_secs(3600))
        .await
        .map(drop)
}

on_each_backend! {
    async fn a_start_or_a_send_that_was_dropped_is_there_whole_or_not_at_all(fresh: Fresh) {
        let world = World::new(fresh).await;
        let (dbos, fresh) = (&world.dbos, &world.fresh);
        let drops = world.sweep("start", async |polls| {
            let start = dbos.start(add, (1, 2)).id(format!("start-{polls}")).into_future();
            let Some(handle) = drop_after(start, polls).await else { return false };
            assert_eq!(handle.unwrap().result().await.unwrap(), 3);
            true
        }).await;
        assert!(drops >= 2, "an await was visited: {drops}");
        world.check_liveness("start").await;
        let acknowledged = format!("SELECT count(*) FROM workflow_status WHERE workflow_uuid = 'start-{drops}' AND status = 'SUCCESS'");
        assert_eq!(fresh.scalar(&acknowledged).await, 1);
        // The first poll hands it over, so only what was never polled is missing.
        let started = "SELECT count(*) FROM workflow_status WHERE workflow_uuid LIKE 'start-%'";
        harness::until("all that was handed over is there", async || fresh.scalar(started).await == i64::try_from(drops).unwrap()).await;

        let to: WorkflowId = "parked".parse().unwrap();
        let drops = world.sweep("send", async |polls| {
            let send = dbos.send(&to, &polls).topic("other").idempotency_key(&format!("key-{polls}")).into_future();
            let Some(new) = drop_after(send, polls).await else { return false };
            assert!(new.unwrap());
            true
        }).await;
        assert!(drops >= 2, "an await was visited: {drops}");
        world.check_liveness("send").await;
        let last = format!("SELECT count(*) FROM notifications WHERE message = '{drops}'");
        assert_eq!(fresh.scalar(&last).await, 1, "the acknowledged one");
        for polls in 0..drops {
            // Said again, each arrives once.
            dbos.send(&to, &polls).topic("other").idempotency_key(&format!("key-{polls}")).await.unwrap();
        }
        let messages = "SELECT count(*) FROM notifications";
        assert_eq!(usize::try_from(fresh.scalar(messages).await).unwrap(), drops + 1);
    }

    async fn a_question_that_was_dropped_leaves_its_connection_usable(fresh: Fresh) {
        let world = World::new(fresh).await;
        let dbos = &world.dbos;
        let handle = dbos.retrieve::<(), Error>("parked").await.unwrap();
        let ended = dbos.start(add, (1, 2)).id("ended").await.unwrap();
        assert_eq!(ended.result().await.unwrap(), 3);
        harness::until("the event is there", async || {
            dbos.get_event::<u32>(handle.id(), "there", Duration::ZERO).await.unwrap() == Some(1)
        }).await;
        let mut counts = Vec::new();
        macro_rules! sweep {
            ($($name:literal: $call:expr, $expected:pat,)*) => { $(
                let drops = world.sweep($name, async |polls| match drop_after($call, polls).await {
                    None => false,
                    Some($expected) => true,
                    #[allow(unreachable_patterns, reason = "some patterns take everything")]
                    Some(other) => panic!("{}: {other:?}", $name),
                }).await;
                world.check_liveness($name).await;
                counts.push(($name, drops));
            )* };
        }
        sweep! {
            "status": handle.status(), Ok(_),
            "try_result": handle.try_result(), Ok(None),
            "try_result of one that has ended": ended.try_result(), Ok(Some(3)),
            "result": ended.result(), Ok(3),
            "get_event": dbos.get_event::<u32>(handle.id(), "there", Duration::from_secs(1)), Ok(Some(1)),
            "get_event that waits": dbos.get_event::<u32>(handle.id(), "none", Duration::from_millis(20)), Ok(None),
            "get_all_events": dbos.get_all_events(handle.id()), Ok(_),
            "retrieve": dbos.retrieve::<i64, Error>("ended"), Ok(_),
            "info": dbos.info("parked"), Ok(_),
            "ping": dbos.ping(), Ok(()),
            "cancel of one that has ended": dbos.cancel(ended.id()), Ok(false),
        }
        for (name, drops) in counts {
            // SQLite may answer within the first poll, and the result of a workflow that ended here is at hand.
            let least = if name == "result" || world.fresh.backend() == Backend::Sqlite { 1 } else { 2 };
            assert!(drops >= least, "no await of {name} was visited: {drops}");
        }
        assert_eq!(ended.result().await.unwrap(), 3);
    }

    async fn a_wait_or_a_cancel_that_was_dropped_can_be_repeated(fresh: Fresh) {
        let world = World::new(fresh).await;
        let dbos = &world.dbos;
        let handle = dbos.retrieve::<(), Error>("parked").await.unwrap();
        assert!(drop_after(handle.result(), 1).await.is_none());
        world.check_connections("result", 1).await;
        let drops = world.sweep("cancel", async |polls| {
            // A dropped cancel may have cancelled; one that was not polled has not.
            drop_after(dbos.cancel(handle.id()), polls).await.is_some_and(|done| { done.unwrap(); true })
        }).await;
        assert!(drops >= 2);
        handle.result().await.unwrap_err();
        assert_eq!(world.fresh.scalar("SELECT count(*) FROM workflow_status WHERE status = 'CANCELLED'").await, 1);
        world.check_liveness("cancel").await;
    }
}

/// The verbs, by name, with the name under which each is recorded at the first number.
const VERBS: [(&str, &str); 18] = [
    ("step", "verb"),
    ("step with a time limit", "verb"),
    ("step_once", "verb"),
    ("sleep", "DBOS.sleep"),
    ("now", "DBOS.now"),
    ("uuid", "DBOS.randomUUID"),
    ("random", "DBOS.random"),
    ("send", "DBOS.send"),
    ("recv", "DBOS.recv"),
    ("recv of nothing", "DBOS.recv"),
    ("set_event", "DBOS.setEvent"),
    ("get_event", "DBOS.getEvent"),
    ("get_event of nothing", "DBOS.getEvent"),
    ("get_all_events", "DBOS.get_events"),
    ("start", "add"),
    ("run", "add"),
    ("transaction", "verb"),
    ("begin", "verb"),
];

/// Drops one verb after that many polls, and goes on. Says whether the verb ended before.
#[workflow]
async fn dropped(ctx: Ctx, case: (String, usize)) -> Result<bool, Error> {
    let (verb, polls) = (case.0.as_str(), case.1);
    let there: WorkflowId = "parked".parse()?;
    let moment = Duration::from_millis(5);
    let db = ctx.state().clone();
    let id = ctx.workflow_id().as_str().to_owned();
    let body = || async {
        tokio::task::yield_now().await;
        Ok(1)
    };
    if verb == "recv" {
        ctx.send(ctx.workflow_id(), &1).topic("there").await?;
    }
    let done = match verb {
        "step" => drop_after(ctx.step("verb", body), polls)
            .await
            .transpose()?
            .is_some(),
        "step with a time limit" => drop_after(ctx.step("verb", body).timeout(Duration::from_secs(9)), polls)
            .await
            .transpose()?
            .is_some(),
        "step_once" => drop_after(ctx.step_once("verb", |_| body()), polls)
            .await
            .transpose()?
            .is_some(),
        "sleep" => drop_after(ctx.sleep(moment), polls).await.transpose()?.is_some(),
        "now" => drop_after(ctx.now(), polls).await.transpose()?.is_some(),
        "uuid" => drop_after(ctx.uuid(), polls).await.transpose()?.is_some(),
        "random" => drop_after(ctx.random(), polls).await.transpose()?.is_some(),
        "send" => drop_after(ctx.send(&there, &1).topic("other"), polls)
            .await
            .transpose()?
            .is_some(),
        "recv" => drop_after(ctx.recv::<u32>("there").timeout(moment), polls)
            .await
            .transpose()?
            .is_some_and(|message| {
                assert_eq!(message, Some(1));
                true
            }),
        "recv of nothing" => drop_after(ctx.recv::<u32>("none").timeout(moment), polls)
            .await
            .transpose()?
            .is_some(),
        "set_event" => drop_after(ctx.set_event("key", &1), polls)
            .await
            .transpose()?
            .is_some(),
        "get_event" => drop_after(ctx.get_event::<u32>(&there, "there"), polls)
            .await
            .transpose()?
            .is_some(),
        "get_event of nothing" => drop_after(ctx.get_event::<u32>(&there, "none").timeout(moment), polls)
            .await
            .transpose()?
            .is_some(),
        "get_all_events" => drop_after(ctx.get_all_events(&there), polls)
            .await
            .transpose()?
            .is_some(),
        "start" => match drop_after(ctx.start(add, (1, 2)), polls).await.transpose()? {
            None => false,
            Some(child) => drop_after(child.result(), polls).await.transpose()?.is_some(),
        },
        "run" => drop_after(ctx.run(add, (1, 2)), polls)
            .await
            .transpose()?
            .is_some(),
        "transaction" => {
            let transaction = ctx.transaction(&db, "verb", async move |tx: &mut sqlx::AnyConnection| {
                sqlx::query("INSERT INTO orders VALUES ($1)")
                    .bind(id.as_str())
                    .execute(tx)
                    .await?;
                Ok::<_, Error>(1)
            });
            drop_after(transaction, polls).await.transpose()?.is_some()
        }
        "begin" => {
            let transaction = async {
                let mut tx = match ctx.begin::<_, u32, _>(&db, "verb").await? {
                    Begun::Recorded(_) => return Err::<(), Error>("".parse::<WorkflowId>().unwrap_err()),
                    Begun::Fresh(tx) => tx,
                };
                sqlx::query("INSERT INTO orders VALUES ($1)")
                    .bind(id.as_str())
                    .execute(&mut *tx)
                    .await?;
                tx.commit(1).await.map(drop)
            };
            drop_after(transaction, polls).await.transpose()?.is_some()
        }
        _ => return Err("".parse::<WorkflowId>().unwrap_err()),
    };
    ctx.step("after", || async { Ok(1) }).await?;
    Ok(done)
}

on_each_backend! {
    // Longer than others, because it visits every await of every verb: some two hundred workflows.
    async fn a_verb_that_was_dropped_is_recorded_whole_or_not_at_all(fresh: Fresh) {
        let world = World::new(fresh).await;
        let (dbos, fresh) = (&world.dbos, &world.fresh);
        for (verb, recorded) in VERBS {
            let drops = world.sweep(verb, async |polls| {
                let id: WorkflowId = format!("{verb}-{polls}").parse().unwrap();
                let handle = dbos.start(dropped, (verb.to_owned(), polls)).id(id.clone()).await.unwrap();
                let done = handle.result().await.unwrap();
                check_records(fresh, &id, recorded, done).await;
                done
            }).await;
            assert!(drops >= 2, "no await of {verb} was visited: {drops}");
            world.check_liveness(verb).await;
        }
        // Whatever was begun and not committed is not there; whatever is recorded is.
        let torn = "SELECT count(*) FROM (SELECT id FROM orders UNION ALL SELECT workflow_uuid FROM operation_outputs \
             WHERE function_name = 'verb' AND (workflow_uuid LIKE 'transaction-%' OR workflow_uuid LIKE 'begin-%')) AS both_of_them \
             GROUP BY id HAVING count(*) <> 2";
        assert_eq!(fresh.rows(torn).await, [json!(0); 0]);
        assert!(fresh.scalar("SELECT count(*) FROM orders").await >= 2);
        let torn = "SELECT count(*) FROM notifications n WHERE topic = 'there' AND consumed <> EXISTS (SELECT 1 FROM operation_outputs o \
             WHERE o.workflow_uuid = n.destination_uuid AND o.function_name = 'DBOS.recv')";
        assert_eq!(fresh.scalar(torn).await, 0);
        assert!(fresh.scalar("SELECT count(*) FROM notifications WHERE consumed").await >= 1);
        let torn = "SELECT count(*) FROM workflow_status c WHERE parent_workflow_id IS NOT NULL AND NOT EXISTS ( \
             SELECT 1 FROM operation_outputs o WHERE o.child_workflow_id = c.workflow_uuid)";
        assert_eq!(fresh.scalar(torn).await, 0);
    }
}

/// A verb that ended is recorded; the step after it is recorded in any case, and each once.
async fn check_records(fresh: &Fresh, id: &WorkflowId, verb: &str, done: bool) {
    let rows = format!(
        "SELECT w.status, o.function_name FROM workflow_status w JOIN operation_outputs o USING (workflow_uuid) \
         WHERE w.workflow_uuid = '{id}' AND o.function_name IN ('after', '{verb}') ORDER BY o.function_id"
    );
    let row = |name: &str| vec![Some("SUCCESS".to_owned()), Some(name.to_owned())];
    let rows = fresh.query(&rows).await;
    assert!(
        rows == [row(verb), row("after")] || (rows == [row("after")] && !done),
        "{id}, which ended: {done}: {rows:?}"
    );
}
