//! What each operation costs in statements, counted by a proxy before Postgres, so that none can creep back.
//!
//! Statements that send hints to other processes (`pg_notify`) leave later and together, and are not counted. Nor are the
//! settings of a session, once for each connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dbos_runtime::{Builder, Ctx as RuntimeCtx, Datasource, Dbos, Error, WorkflowId, workflow};
use futures_util::future::join_all;
use harness::proxy::Proxy;
use harness::{Backend, Fresh};
use sqlx::Postgres;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

type Ctx = RuntimeCtx<Arc<Meter>, Error>;

const NO_POLL: Duration = Duration::from_secs(600);
const HOUR: Duration = Duration::from_secs(3600);

/// In the statement that reads all schedules.
const SCHEDULES: &str = "SELECT s.schedule_id";

struct Meter {
    proxy: Proxy,
    db: Datasource<Postgres>,
    gate: Semaphore,
}

impl Meter {
    /// What was sent since the last call; hints to other processes, and what a session is told at its beginning, left out.
    fn take(&self) -> Vec<String> {
        let messages = self.proxy.take_messages();
        let beside = |sql: &str| sql.contains("pg_notify") || sql.starts_with("SELECT set_config");
        messages.work().into_iter().filter(|sql| !beside(sql)).map(ToOwned::to_owned).collect()
    }

    fn seen(&self, part: &str) -> usize {
        let messages = self.proxy.client_messages();
        messages.work().iter().filter(|sql| sql.contains(part)).count()
    }

    async fn pass(&self) {
        self.gate.acquire().await.unwrap().forget();
    }
}

async fn meter() -> (Fresh, Arc<Meter>) {
    let fresh = harness::fresh(Backend::Postgres).await;
    fresh.execute("CREATE TABLE public.orders (n BIGINT)").await;
    let proxy = Proxy::before(fresh.url()).await;
    let db = Datasource::connect(&proxy.url(fresh.url())).await.unwrap();
    (fresh, Arc::new(Meter { proxy, db, gate: Semaphore::new(0) }))
}

/// One lane, so that whatever is sent is sent in one order, and no polling.
fn builder(fresh: &Fresh, meter: &Arc<Meter>) -> Builder<Arc<Meter>> {
    harness::builder(fresh)
        .database_url(meter.proxy.url(fresh.url()))
        .polling_interval(NO_POLL)
        .schedule_poll(HOUR)
        .journal_lanes(1)
        .state(Arc::clone(meter))
        .register(measured)
        .register(gated)
        .register(parked)
        .register(reader)
        .register(streaming)
        .register(parent)
}

async fn launch(fresh: &Fresh, meter: &Arc<Meter>) -> Dbos {
    let dbos = builder(fresh, meter).launch().await.unwrap();
    // The lane connects with its first write.
    meter.gate.add_permits(1);
    dbos.start(gated, ()).await.unwrap().result().await.unwrap();
    harness::until("the schedules are read", async || meter.seen(SCHEDULES) >= 1).await;
    meter.proxy.settle().await;
    dbos
}

#[workflow]
async fn gated(ctx: Ctx, _: ()) -> Result<(), Error> {
    ctx.state().pass().await;
    Ok(())
}

/// Appends a value for each word.
#[workflow]
async fn streaming(ctx: Ctx, words: u32) -> Result<(), Error> {
    for n in 0..words {
        ctx.recv::<String>("word").timeout(NO_POLL).await?;
        ctx.write_stream("words", &n).await?;
    }
    Ok(())
}

/// Waits for a word, and passes it on as an event.
#[workflow]
async fn parked(ctx: Ctx, _: ()) -> Result<String, Error> {
    let word = ctx.recv::<String>("word").timeout(NO_POLL).await?.unwrap_or_default();
    ctx.set_event("word", &word).await?;
    Ok(word)
}

#[workflow]
async fn reader(ctx: Ctx, from: WorkflowId) -> Result<String, Error> {
    Ok(ctx.get_event(&from, "word").timeout(NO_POLL).await?.unwrap_or_default())
}

#[workflow]
async fn parent(ctx: Ctx, _: ()) -> Result<String, Error> {
    ctx.start(parked, ()).id("child").await?.result().await
}

type Costs = Vec<(String, usize, Vec<String>)>;

/// Runs every verb once, and says what it was allowed to send and what was sent.
#[workflow]
async fn measured(ctx: Ctx, inbox: WorkflowId) -> Result<Costs, Error> {
    let meter = Arc::clone(ctx.state());
    let mut costs = Costs::new();
    let mut spent = |verb: &str, most| costs.push((verb.to_owned(), most, meter.take()));
    let insert = async |tx: &mut sqlx::PgConnection| -> Result<(), Error> {
        sqlx::query("INSERT INTO orders VALUES (1)").execute(tx).await?;
        Ok(())
    };
    spent("the start of this workflow", 1);
    ctx.step("plain", || async { Ok(1) }).await?;
    spent("step", 1);
    ctx.set_event("key", &1).await?;
    spent("set_event", 1);
    ctx.write_stream("key", &1).await?;
    spent("write_stream", 1);
    ctx.step_once("effect", |step| async move { step.write_stream("key", &1).await }).await?;
    spent("write_stream in a step, and the step", 2);
    ctx.close_stream("key").await?;
    spent("close_stream", 1);
    ctx.send(&inbox, &1).topic("other").await?;
    spent("send", 1);
    ctx.send(ctx.workflow_id(), &1).topic("there").await?;
    spent("send to itself", 1);
    assert_eq!(ctx.recv::<u32>("there").timeout(Duration::ZERO).await?, Some(1));
    spent("recv of a message that is there", 1);
    ctx.sleep(Duration::from_millis(1)).await?;
    spent("sleep", 1);
    ctx.now().await?;
    spent("now", 1);
    let child = ctx.start(gated, ()).await?;
    spent("start of a child", 1);
    meter.gate.add_permits(1);
    child.result().await?;
    spent("result of a child, with the child's own outcome", 2);
    assert_eq!(ctx.get_event::<u32>(ctx.workflow_id(), "key").timeout(Duration::ZERO).await?, Some(1));
    // Two looks and the record.
    spent("get_event of an event that is there", 3);
    ctx.transaction(&meter.db, "first", insert).await?;
    // It finds out whether this is the system database: is there a table, and this workflow in it?
    spent("first transaction", 2 + 2);
    ctx.transaction(&meter.db, "second", insert).await?;
    spent("transaction", 2);
    Ok(costs)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verbs_of_a_workflow_cost_what_they_must() {
    let (fresh, meter) = meter().await;
    let dbos = launch(&fresh, &meter).await;
    let inbox = dbos.start(parked, ()).id("inbox").await.unwrap();
    harness::until("the inbox waits", async || meter.seen("'DBOS.recv'") == 1).await;
    meter.take();

    let handle = dbos.start(measured, inbox.id().clone()).id("measured").await.unwrap();
    let costs = handle.result().await.unwrap();
    assert_eq!(costs.len(), 16);
    for (verb, most, sent) in costs {
        assert!(
            !sent.is_empty() && sent.len() <= most,
            "{verb}: {} instead of {most}: {sent:#?}",
            sent.len()
        );
    }
    assert_eq!(meter.take().len(), 1, "an outcome is one statement");
    assert_eq!(fresh.scalar("SELECT count(*) FROM orders").await, 2);
    dbos.shutdown(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_from_outside_cost_one_statement() {
    let (fresh, meter) = meter().await;
    let dbos = launch(&fresh, &meter).await;
    let check = |call: &str| {
        let sent = meter.take();
        assert_eq!(sent.len(), 1, "{call}: {sent:#?}");
    };
    let handle = dbos.start(gated, ()).id("w").await.unwrap();
    check("start");
    dbos.start(gated, ()).id("w").await.unwrap();
    // Who is there?
    assert_eq!(meter.take().len(), 2, "start of what is there");
    dbos.send(handle.id(), "hello").await.unwrap();
    check("send");
    handle.status().await.unwrap();
    check("status");
    assert_eq!(handle.try_result().await.unwrap(), None);
    check("try_result");
    assert_eq!(dbos.get_event::<u32>(handle.id(), "none", Duration::ZERO).await.unwrap(), None);
    check("get_event");
    dbos.get_all_events(handle.id()).await.unwrap();
    check("get_all_events");
    dbos.ping().await.unwrap();
    check("ping");
    assert!(dbos.cancel(handle.id()).await.unwrap());
    check("cancel");
    meter.gate.add_permits(1);
    handle.result().await.unwrap_err();
    check("result of a workflow that was cancelled");
    dbos.shutdown(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_in_the_same_process_sends_nothing() {
    let (fresh, meter) = meter().await;
    let dbos = launch(&fresh, &meter).await;
    let above = dbos.start(parent, ()).await.unwrap();
    let child = WorkflowId::parse("child").unwrap();
    let beside = dbos.start(reader, child.clone()).await.unwrap();
    let mut waiting = JoinSet::new();
    let event = dbos.clone();
    let from = child.clone();
    waiting.spawn(async move { event.get_event::<String>(&from, "word", NO_POLL).await.unwrap().unwrap() });
    waiting.spawn(async move { beside.result().await.unwrap() });
    waiting.spawn(async move { above.result().await.unwrap() });
    // The child's look for its message; two looks for the event inside of a workflow, and two outside.
    let looks = async || meter.seen("DBOS.recv") == 1 && meter.seen("FROM \"dbos\".workflow_events") == 4;
    harness::until("everybody waits", looks).await;
    meter.proxy.settle().await;

    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(meter.take(), [""; 0]);

    // Nobody polls, so these were woken.
    dbos.send(&child, "go").topic("word").await.unwrap();
    let woken = tokio::time::timeout(NO_POLL / 10, waiting.join_all()).await.unwrap();
    assert_eq!(woken, ["go"; 3]);
    dbos.shutdown(Duration::ZERO).await;
}

// J237
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_one_stream_share_one_look_for_each_value_and_ask_nothing_while_they_wait() {
    const READERS: usize = 50;
    let (fresh, meter) = meter().await;
    let dbos = launch(&fresh, &meter).await;
    let id = dbos.start(streaming, 3).id("w").await.unwrap().id().clone();
    let mut readers: Vec<_> = (0..READERS).map(|_| dbos.read_stream::<u32>(&id, "words")).collect();
    let look = "\"dbos\".streams s ON s.workflow_uuid = w.workflow_uuid";
    for value in 0..3 {
        let all = join_all(readers.iter_mut().map(dbos_runtime::StreamReader::next));
        let word = async {
            // Everybody waits: the history was read, and the live end was looked at.
            if value == 0 {
                harness::until("the live end is watched", async || meter.seen(look) >= 2).await;
            }
            meter.proxy.settle().await;
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert_eq!(meter.take(), [""; 0], "waiting is free");
            dbos.send(&id, "go").topic("word").await.unwrap();
        };
        let (all, ()) = tokio::join!(all, word);
        assert!(all.into_iter().all(|item| item.unwrap().unwrap() == (u64::from(value), value)));
        harness::until("the next word is awaited", async || {
            fresh.scalar("SELECT count(*) FROM operation_outputs WHERE function_name = 'DBOS.sleep'").await
                == i64::from((value + 2).min(3))
        })
        .await;
        let sent = meter.take();
        let looks = sent.iter().filter(|sql| sql.contains(look)).count();
        // The look that finds it, and perhaps one that came a little too early.
        assert!((1..=2).contains(&looks), "{looks} looks of {READERS} readers: {sent:#?}");
    }
    dbos.shutdown(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_recovered_workflows_are_claimed_by_one_statement() {
    let (fresh, meter) = meter().await;
    let first = launch(&fresh, &meter).await;
    join_all((0..50).map(|n| first.start(gated, ()).id(format!("w{n}")).into_future())).await;
    first.shutdown(Duration::ZERO).await;
    assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE status = 'PENDING'").await, 50);

    meter.take();
    let second = builder(&fresh, &meter).launch().await.unwrap();
    harness::until("all run", async || {
        fresh.scalar("SELECT count(*) FROM workflow_status WHERE recovery_attempts = 2").await == 50
    })
    .await;
    meter.gate.add_permits(50);
    harness::until("all have ended", async || {
        fresh.scalar("SELECT count(*) FROM workflow_status WHERE status = 'SUCCESS'").await == 51
    })
    .await;
    assert_eq!(meter.seen("WITH picked AS"), 1);
    let sent = meter.take();
    // Checking the schema, the version, the recovery, the claim, and the outcomes together.
    assert!(sent.len() < 30, "{}: {sent:#?}", sent.len());
    second.shutdown(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writes_share_their_commits() {
    const CALLERS: usize = 64;
    let (fresh, meter) = meter().await;
    let dbos = launch(&fresh, &meter).await;
    let handles = join_all((0..CALLERS).map(|_| dbos.start(gated, ()).into_future())).await;
    let starts = meter.take().len();
    assert!((1..CALLERS / 4).contains(&starts), "{starts} statements for {CALLERS} starts");
    meter.gate.add_permits(CALLERS);
    join_all(handles.iter().map(|handle| handle.as_ref().unwrap().result())).await;
    let outcomes = meter.take().len();
    assert!((1..CALLERS / 4).contains(&outcomes), "{outcomes} statements for {CALLERS} outcomes");
    assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE status = 'SUCCESS'").await, 65);
    dbos.shutdown(Duration::ZERO).await;
}

// Takes three seconds, because a rate has to be measured over time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_process_sends_one_statement_a_second() {
    let (fresh, meter) = meter().await;
    // With peer recovery, as by default: the look at the peers is part of the same statement.
    let builder = builder(&fresh, &meter).peer_recovery(true).polling_interval(Duration::from_secs(1));
    let dbos = builder.schedule_poll(Duration::from_secs(30)).launch().await.unwrap();
    harness::until("the schedules are read", async || meter.seen(SCHEDULES) >= 2).await;
    meter.proxy.settle().await;
    let begun = Instant::now();
    harness::until("it has looked three times", async || meter.proxy.client_messages().work().len() >= 3)
        .await;
    let sent = meter.take();
    // The schedules are read every half a minute.
    let (looks, ticks): (Vec<_>, Vec<_>) = sent.iter().partition(|sql| sql.contains(SCHEDULES));
    let most = usize::try_from(begun.elapsed().as_secs()).unwrap() + 1;
    assert!((2..=most).contains(&ticks.len()), "{} instead of {most}: {ticks:#?}", ticks.len());
    assert!(looks.len() <= 1 + most / 30, "{looks:#?}");
    dbos.shutdown(Duration::ZERO).await;
}
