//! Schedules as they fire.

use std::collections::BTreeSet;
use std::time::Duration;

use dbos_runtime::{Builder, Client, Dbos, Error, Queue, Schedule, Timestamp};
use futures_util::future::join_all;
use harness::{Backend, Fresh, on_each_backend, until};
use serde_json::{Value, json};

use super::scene::until_rows;
use super::schedules::{RUN, at, get, idle, insert};
use super::support::Log;

/// A runtime whose runs write their time and context into the log.
fn builder(fresh: &Fresh, log: &Log, executor: &str) -> Builder<Log> {
    let run = async |ctx: dbos_runtime::Ctx<Log, Error>, (at, context): (Timestamp, Value)| {
        let now = ctx.now().await?;
        ctx.state().add(at.to_string());
        Ok::<_, Error>(json!([at, context, now]))
    };
    harness::builder(fresh)
        .executor_id(executor)
        .schedule_poll(Duration::from_secs(3600))
        .state(log.clone())
        .register_fn("run", run)
}

async fn launch(fresh: &Fresh, log: &Log, executor: &str) -> Dbos {
    builder(fresh, log, executor).launch().await.unwrap()
}

fn every_second(name: &str) -> Schedule {
    Schedule::new(name, "* * * * * *").workflow(RUN)
}

/// The times that have a run, in order.
async fn ticks(fresh: &Fresh, schedule: &str) -> Vec<Timestamp> {
    let sql = format!(
        "SELECT workflow_uuid FROM workflow_status WHERE schedule_name = '{schedule}' ORDER BY workflow_uuid"
    );
    let ids = fresh.query(&sql).await.into_iter().flatten().flatten();
    ids.map(|id| id.trim_start_matches(&format!("sched-{schedule}-")).parse().unwrap()).collect()
}

async fn until_ticks(fresh: &Fresh, schedule: &str, count: usize) -> Vec<Timestamp> {
    until(&format!("{schedule} has {count} runs"), async || ticks(fresh, schedule).await.len() >= count)
        .await;
    ticks(fresh, schedule).await
}

#[track_caller]
fn assert_consecutive(ticks: &[Timestamp]) {
    for pair in ticks.windows(2) {
        assert_eq!(pair[1].as_millis() - pair[0].as_millis(), 1000, "{ticks:?}");
    }
}

/// Waits for the ends of all runs.
async fn until_idle(fresh: &Fresh) {
    until_rows(fresh, 0, "workflow_status WHERE status IN ('ENQUEUED', 'PENDING')").await;
}

on_each_backend! {
    // M386
    async fn a_run_is_told_its_time_and_context_and_is_never_early(fresh: Fresh) {
        let log = Log::default();
        let dbos = launch(&fresh, &log, "one").await;
        dbos.schedules().create(every_second("s").context("c").time_zone("America/New_York")).await.unwrap();
        let ticks = until_ticks(&fresh, "s", 2).await;
        assert_consecutive(&ticks);
        dbos.schedules().pause("s").await.unwrap();
        until_idle(&fresh).await;
        let enqueued = fresh.rows("SELECT workflow_uuid, created_at, o.output FROM workflow_status JOIN workflow_output o USING (workflow_uuid)
            WHERE schedule_name = 's' ORDER BY workflow_uuid").await;
        for (row, tick) in enqueued.iter().zip(ticks) {
            let late = row["created_at"].as_i64().unwrap() - tick.as_millis();
            assert!((0..60_000).contains(&late), "{late} ms after its time: {row}");
            let told: (Timestamp, String, Timestamp) = serde_json::from_str(row["output"].as_str().unwrap()).unwrap();
            assert_eq!((told.0, told.1.as_str()), (tick, "c"));
            assert!(told.2 >= tick);
        }
        let last = fresh.query("SELECT last_fired_at FROM workflow_schedules").await.remove(0).remove(0).unwrap();
        let newest = enqueued.last().unwrap()["workflow_uuid"].as_str().unwrap();
        assert_eq!(format!("sched-s-{last}"), newest, "spelled as in the id");
    }

    // M387, M388
    async fn a_schedule_that_is_paused_or_deleted_anywhere_fires_no_more(fresh: Fresh) {
        // Neither process looks by itself while this runs.
        let log = Log::default();
        let one = launch(&fresh, &log, "one").await;
        one.schedules().apply([every_second("clock"), every_second("paused"), every_second("deleted")]).await.unwrap();
        until_ticks(&fresh, "deleted", 1).await;
        let two = launch(&fresh, &log, "two").await;
        assert!(two.schedules().pause("paused").await.unwrap());
        assert!(two.schedules().delete("deleted").await.unwrap());
        let before = (ticks(&fresh, "paused").await, ticks(&fresh, "deleted").await);
        let fired = ticks(&fresh, "clock").await.len();
        until_ticks(&fresh, "clock", fired + 2).await;
        assert_eq!((ticks(&fresh, "paused").await, ticks(&fresh, "deleted").await), before);
        two.schedules().resume("paused").await.unwrap();
        let after = until_ticks(&fresh, "paused", before.0.len() + 1).await;
        let gap = after[before.0.len()].as_millis() - before.0.last().map_or(0, |last| last.as_millis());
        assert!(gap > 1_000, "the pause is not made up for");
    }

    // M406, peers 40
    async fn four_processes_run_each_time_once(fresh: Fresh) {
        let log = Log::default();
        let executors = ["one", "two", "three", "four"];
        let processes = join_all(executors.map(|name| builder(&fresh, &log, name).schedule(every_second("s")).launch())).await;
        let processes: Vec<Dbos> = processes.into_iter().map(Result::unwrap).collect();
        let ticks = until_ticks(&fresh, "s", 3).await;
        assert_consecutive(&ticks);
        processes[0].schedules().pause("s").await.unwrap();
        until_idle(&fresh).await;
        let ran = log.entries();
        let different: BTreeSet<&String> = ran.iter().collect();
        assert_eq!(ran.len(), different.len(), "{ran:?}");
        assert!(ticks.iter().all(|tick| ran.contains(&tick.to_string())), "{ticks:?} {ran:?}");
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE recovery_attempts <> 1").await, 0);
    }

    // M384: the look at the queues says that the schedules differ, though they are read only once an hour.
    async fn a_schedule_that_another_program_creates_is_noticed_at_once(fresh: Fresh) {
        let log = Log::default();
        let one = launch(&fresh, &log, "one").await;
        let client = Client::builder().database_url(fresh.url()).application("tests").connect().await.unwrap();
        client.schedules().create(Schedule::new("s", "* * * * * *").workflow_named("run")).await.unwrap();
        until_ticks(&fresh, "s", 1).await;
        client.close().await;
        one.shutdown(Duration::ZERO).await;
    }

    // M384, M397
    async fn a_change_by_another_process_reaches_a_running_schedule(fresh: Fresh) {
        let log = Log::default();
        let one = launch(&fresh, &log, "one").await;
        let class = |schedule: Schedule| schedule.class_name("Jobs");
        one.schedules().create(every_second("s").context("old")).await.unwrap();
        until_ticks(&fresh, "s", 1).await;
        let two = builder(&fresh, &log, "two").queue(Queue::new("elsewhere")).launch().await.unwrap();
        two.schedules().apply([class(every_second("s").context("new").queue("elsewhere"))]).await.unwrap();
        two.shutdown(Duration::ZERO).await;
        until("it fires as it is now", async || {
            fresh.scalar("SELECT count(*) FROM workflow_input WHERE inputs LIKE '%\"new\"%'").await > 0
        })
        .await;
        let new = fresh.rows("SELECT w.class_name, w.queue_name FROM workflow_status w JOIN workflow_input i USING (workflow_uuid)
            WHERE i.inputs LIKE '%\"new\"%' LIMIT 1").await;
        assert_eq!(new, [json!({"class_name": "Jobs", "queue_name": "elsewhere"})]);
    }

    // M393, M403
    async fn what_was_missed_before_a_launch_is_made_up_for_only_where_asked(fresh: Fresh) {
        let log = Log::default();
        let dbos = launch(&fresh, &log, "one").await;
        let yearly = |name: &str| Schedule::new(name, "0 0 1 1 *").workflow(RUN);
        let backfilled = |name: &str| yearly(name).automatic_backfill(true);
        dbos.schedules().apply([yearly("plain"), backfilled("backfilled"), backfilled("paused"), backfilled("fresh")]).await.unwrap();
        dbos.schedules().pause("paused").await.unwrap();
        dbos.shutdown(Duration::ZERO).await;
        // Another SDK's spelling.
        fresh.execute("UPDATE workflow_schedules SET last_fired_at = '2022-06-01T00:00:00.000Z' WHERE schedule_name <> 'fresh'").await;
        let years = ["2023-01-01", "2024-01-01", "2025-01-01", "2026-01-01"].map(at);
        let dbos = launch(&fresh, &log, "one").await;
        assert_eq!(until_ticks(&fresh, "backfilled", 4).await[..4], years);
        dbos.schedules().resume("paused").await.unwrap();
        assert_eq!(until_ticks(&fresh, "paused", 4).await[..4], years, "a resume makes up for the pause");
        until_idle(&fresh).await;
        for schedule in ["plain", "fresh"] {
            assert_eq!(ticks(&fresh, schedule).await, [], "{schedule}");
        }
        let last = get(&dbos, "backfilled").await.last_fired_at.unwrap();
        assert!(last >= years[3], "{last}");
        dbos.shutdown(Duration::ZERO).await;
        let ran = log.entries().len();
        let dbos = launch(&fresh, &log, "one").await;
        until_idle(&fresh).await;
        assert_eq!(log.entries().len(), ran, "not again");
        drop(dbos);
    }

    async fn schedules_that_cannot_be_fired_here_leave_the_others_alone(fresh: Fresh) {
        let log = Log::default();
        insert(&fresh, "reboot", "@reboot", "NULL", "null", "NULL").await;
        insert(&fresh, "mars", "* * * * * *", "'Mars/X'", "null", "'tests'").await;
        insert(&fresh, "pickled", "* * * * * *", "NULL", "gASVBQAAAAAAAACMAXiULg==", "'tests'").await;
        insert(&fresh, "foreign", "* * * * * *", "NULL", "null", "'another'").await;
        insert(&fresh, "unclaimed", "* * * * * *", "NULL", "null", "NULL").await;
        let dbos = launch(&fresh, &log, "one").await;
        let elsewhere = Schedule::new("elsewhere", "* * * * * *").workflow_named("elsewhere");
        dbos.schedules().create(elsewhere).await.unwrap();
        until_ticks(&fresh, "unclaimed", 2).await;
        let others = fresh.scalar("SELECT count(*) FROM workflow_status WHERE schedule_name <> 'unclaimed'").await;
        assert_eq!(others, 0);
        let owner = fresh.query("SELECT DISTINCT application_name FROM workflow_status").await;
        assert_eq!(owner, [[Some("tests".to_owned())]], "whoever fires it stamps the run");
    }

    // M402
    async fn a_far_schedule_does_not_delay_a_shutdown(fresh: Fresh) {
        let log = Log::default();
        let dbos = launch(&fresh, &log, "one").await;
        dbos.schedules().create(idle("s")).await.unwrap();
        tokio::time::timeout(harness::PATIENCE, dbos.shutdown(Duration::from_secs(3600))).await.expect("it ends at once");
    }
}

// M400
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_that_pass_while_the_database_is_away_run_when_it_is_back() {
    use harness::proxy::{Mode, Proxy};
    let fresh = harness::fresh(Backend::Postgres).await;
    let proxy = Proxy::before(fresh.url()).await;
    let log = Log::default();
    let builder = builder(&fresh, &log, "one").database_url(proxy.url(fresh.url()));
    let dbos = builder.schedule(every_second("s")).launch().await.unwrap();
    until_ticks(&fresh, "s", 1).await;
    proxy.set_mode(Mode::RefuseNew);
    proxy.reset_all();
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    until("the sessions are gone", async || fresh.scalar(sessions).await == 0).await;
    let before = ticks(&fresh, "s").await.len();
    // By the clock of the database, which the test reaches directly.
    let now = async || fresh.scalar("SELECT (EXTRACT(epoch FROM now()) * 1000)::int8").await;
    let away = now().await;
    until("two seconds have passed", async || now().await > away + 2_000).await;
    let during = ticks(&fresh, "s").await.len();
    assert_eq!(during, before, "it was away: {before} and {during} runs");
    proxy.set_mode(Mode::Pass);
    let all = until_ticks(&fresh, "s", during + 3).await;
    assert_consecutive(&all);
    drop(dbos);
}
