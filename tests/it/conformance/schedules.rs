//! Schedules as rows: made, applied, listed, fired by hand.

use std::time::Duration;

use dbos_runtime::{
    Builder, Client, Dbos, Error, ErrorKind, Queue, Schedule, ScheduleFilter, ScheduleInfo, ScheduleStatus,
    Timestamp, WorkflowRef,
};
use futures_util::future::join_all;
use harness::{Fresh, on_each_backend};
use serde_json::{Value, json};

use super::scene::{Ctx, assert_kind, crash, forget_outcomes, id, steps, until_rows};

/// What is scheduled: it says what it was given.
pub(super) const RUN: WorkflowRef<(Timestamp, Value), Value> = WorkflowRef::named("run");
/// What uses schedules from inside.
const INSIDE: WorkflowRef<Value, Value> = WorkflowRef::named("inside");

pub(super) fn builder(fresh: &Fresh) -> Builder<()> {
    harness::builder(fresh)
        .schedule_poll(Duration::from_millis(50))
        .register_fn("run", async |_: Ctx, (at, context): (Timestamp, Value)| {
            Ok::<_, Error>(json!([at, context]))
        })
}

async fn launch(fresh: &Fresh) -> Dbos {
    builder(fresh).launch().await.unwrap()
}

/// A schedule that is not due while a test runs.
pub(super) fn idle(name: &str) -> Schedule {
    Schedule::new(name, "30 4 29 2 *").workflow(RUN)
}

pub(super) async fn get(dbos: &Dbos, name: &str) -> ScheduleInfo {
    dbos.schedules().get(name).await.unwrap().unwrap()
}

async fn names(dbos: &Dbos, filter: ScheduleFilter) -> Vec<String> {
    dbos.schedules().list(&filter).await.unwrap().into_iter().map(|schedule| schedule.name).collect()
}

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A schedule that another program has made.
pub(super) async fn insert(
    fresh: &Fresh,
    name: &str,
    cron: &str,
    zone: &str,
    context: &str,
    application: &str,
) {
    let sql = format!(
        "INSERT INTO workflow_schedules (schedule_id, schedule_name, workflow_name, schedule, context, cron_timezone, application_name)
         VALUES ('id-{name}', '{name}', 'run', '{cron}', '{context}', {zone}, {application})"
    );
    fresh.execute(&sql).await;
}

on_each_backend! {
    // M380
    async fn a_schedule_is_made_once_found_and_deleted(fresh: Fresh) {
        let dbos = launch(&fresh).await;
        let schedules = dbos.schedules();
        let full = || Schedule::new("full", "0 2 * * MON")
            .workflow_named("elsewhere").class_name("Nightly").context(&json!({"a": [1, null]}))
            .time_zone("Europe/Berlin").queue("q").automatic_backfill(true);
        schedules.create(full()).await.unwrap();
        schedules.create(idle("plain")).await.unwrap();
        assert_kind(schedules.create(full()).await, ErrorKind::NameInUse);

        let rows = fresh.rows("SELECT schedule_name, workflow_name, workflow_class_name, schedule, status, context,
            last_fired_at, cron_timezone, queue_name, application_name FROM workflow_schedules ORDER BY schedule_name").await;
        assert_eq!(rows, [
            json!({"schedule_name": "full", "workflow_name": "elsewhere", "workflow_class_name": "Nightly",
                "schedule": "0 2 * * MON", "status": "ACTIVE", "context": "{\"a\":[1,null]}", "last_fired_at": null,
                "cron_timezone": "Europe/Berlin", "queue_name": "q", "application_name": "tests"}),
            json!({"schedule_name": "plain", "workflow_name": "run", "workflow_class_name": null,
                "schedule": "30 4 29 2 *", "status": "ACTIVE", "context": "null", "last_fired_at": null,
                "cron_timezone": null, "queue_name": null, "application_name": "tests"}),
        ]);
        let found = get(&dbos, "full").await;
        assert_eq!((found.automatic_backfill, found.status), (true, ScheduleStatus::Active));
        assert_eq!(found.context_as::<Value>().unwrap(), json!({"a": [1, null]}));
        assert_eq!(schedules.get("nobody").await.unwrap(), None);

        assert!(schedules.pause("plain").await.unwrap());
        let all = ScheduleFilter::new;
        assert_eq!(names(&dbos, all()).await, ["full", "plain"]);
        assert_eq!(names(&dbos, all().status(ScheduleStatus::Paused)).await, ["plain"]);
        assert_eq!(names(&dbos, all().workflow_name("elsewhere").workflow_name("other")).await, ["full"]);
        assert_eq!(names(&dbos, all().name_prefix("pl")).await, ["plain"]);
        assert_eq!(names(&dbos, all().name_prefix("%")).await, Vec::<String>::new());

        assert!(schedules.delete("full").await.unwrap());
        for missing in [schedules.delete("full").await, schedules.pause("full").await, schedules.resume("full").await] {
            assert!(!missing.unwrap(), "there is none any more");
        }
        assert_eq!(names(&dbos, all()).await, ["plain"]);
    }

    // B53, B57, B59, B60
    async fn a_definition_that_breaks_a_rule_is_refused_and_nothing_is_stored(fresh: Fresh) {
        let dbos = launch(&fresh).await;
        let run = |name: &str, cron: &str| Schedule::new(name, cron).workflow(RUN);
        let long = "n".repeat(257);
        let bad = [
            run("", "* * * * *"), run(&long, "* * * * *"), run("a\0b", "* * * * *"), run("a", ""), run("a", "* * * *"),
            run("a", "60 * * * * *"), run("a", "@every 5m"), run("a", "0 0 30 2 *"), run("a", &"*".repeat(600)),
            run("a", "* * * * *").time_zone(""), run("a", "* * * * *").time_zone("Mars/X"),
            run("a", "* * * * *").time_zone("europe/berlin"), run("a", "* * * * *").queue(""),
            run("a", "* * * * *").class_name(""), Schedule::new("a", "* * * * *"),
            Schedule::new("a", "* * * * *").workflow_named(""),
        ];
        for schedule in bad {
            let described = format!("{schedule:?}");
            let error = dbos.schedules().create(schedule).await.expect_err(&described);
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{described}: {error}");
        }
        assert_kind(dbos.schedules().create(idle("a").workflow(INSIDE)).await, ErrorKind::NotRegistered);
        let unencodable = std::collections::BTreeMap::from([(vec![1], 2)]);
        assert_kind(dbos.schedules().create(idle("a").context(&unencodable)).await, ErrorKind::Serialization);
        assert_kind(dbos.schedules().apply([idle("a"), idle("a")]).await, ErrorKind::InvalidArgument);
        assert_kind(dbos.schedules().trigger(" ").await, ErrorKind::InvalidArgument);
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_schedules").await, 0);
        let longest = dbos.schedules().create(idle(&"n".repeat(256))).await;
        longest.unwrap();
        dbos.schedules().trigger(&"n".repeat(256)).await.unwrap();
    }

    // M381, M382
    async fn applying_keeps_what_a_schedule_has_been_through(fresh: Fresh) {
        let dbos = launch(&fresh).await;
        let schedules = dbos.schedules();
        schedules.apply([idle("a"), idle("b")]).await.unwrap();
        let before = get(&dbos, "a").await;
        fresh.execute("UPDATE workflow_schedules SET last_fired_at = '2026-01-01T00:00:00+00:00'").await;
        schedules.pause("a").await.unwrap();
        schedules.apply([idle("a").context("new").time_zone("Asia/Tokyo").automatic_backfill(true), idle("c")]).await.unwrap();
        let after = get(&dbos, "a").await;
        assert_eq!((&after.id, after.status), (&before.id, ScheduleStatus::Paused));
        assert_eq!(after.last_fired_at, Some(at("2026-01-01T00:00:00Z")));
        assert_eq!((after.context, after.time_zone.as_deref(), after.automatic_backfill), (json!("new"), Some("Asia/Tokyo"), true));
        assert_eq!(names(&dbos, ScheduleFilter::new()).await, ["a", "b", "c"]);

        assert_kind(schedules.apply([idle("d"), Schedule::new("e", "bad").workflow(RUN)]).await, ErrorKind::InvalidArgument);
        insert(&fresh, "theirs", "0 0 * * *", "NULL", "null", "'another'").await;
        assert_kind(schedules.apply([idle("a").context("x"), idle("theirs"), idle("z")]).await, ErrorKind::NameInUse);
        assert_eq!(names(&dbos, ScheduleFilter::new()).await, ["a", "b", "c"], "all or nothing");
        assert_eq!(get(&dbos, "a").await.context, json!("new"));
    }

    // M383, K50
    async fn processes_that_apply_at_once_agree(fresh: Fresh) {
        let processes = join_all((0..4).map(|n| builder(&fresh).executor_id(format!("p{n}")).launch())).await;
        let processes: Vec<Dbos> = processes.into_iter().map(Result::unwrap).collect();
        let apply = |dbos: Dbos, turn: usize| async move {
            let mut set: Vec<Schedule> = ["a", "b", "c", "d"].map(|name| idle(name).context(&turn)).into();
            set.rotate_left(turn % 4);
            dbos.schedules().apply(set).await
        };
        let turns = (0..8).map(|turn| apply(processes[turn % 4].clone(), turn));
        join_all(turns).await.into_iter().for_each(|applied| applied.unwrap());
        let ids: Vec<Value> = fresh.rows("SELECT schedule_id FROM workflow_schedules").await;
        assert_eq!(ids.len(), 4);
        let contexts = fresh.scalar("SELECT count(DISTINCT context) FROM workflow_schedules").await;
        assert_eq!(contexts, 1, "the last one to commit has written all");
        apply(processes[0].clone(), 9).await.unwrap();
        assert_eq!(fresh.rows("SELECT schedule_id FROM workflow_schedules").await, ids, "the ids stay");
    }

    // M404, P466, M399, B81
    async fn schedules_of_others_are_seen_but_not_taken(fresh: Fresh) {
        let dbos = launch(&fresh).await;
        insert(&fresh, "theirs", "0 0 * * *", "NULL", "gASVBQAAAAAAAACMAXiULg==", "'another'").await;
        insert(&fresh, "nobodys", "0 0 * * *", "NULL", "gASVBQAAAAAAAACMAXiULg==", "NULL").await;
        dbos.schedules().create(idle("own")).await.unwrap();
        for refused in [dbos.schedules().create(idle("theirs")).await, dbos.schedules().apply([idle("theirs")]).await] {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NameInUse);
            assert!(error.to_string().contains("another application"), "{error}");
        }
        assert_eq!(names(&dbos, ScheduleFilter::new()).await, ["nobodys", "own"]);
        assert_eq!(names(&dbos, ScheduleFilter::new().application_name("another")).await, ["nobodys", "theirs"]);
        assert_eq!(get(&dbos, "theirs").await.context, json!("gASVBQAAAAAAAACMAXiULg=="), "raw, and no failure");
        assert_kind(dbos.schedules().trigger("theirs").await, ErrorKind::Serialization);
        dbos.schedules().apply([idle("nobodys")]).await.unwrap();
        assert_eq!(get(&dbos, "nobodys").await.application_name.as_deref(), Some("tests"), "claimed");
    }

    // M389, M390, M391, M398
    async fn a_backfill_enqueues_the_times_between_its_ends_once(fresh: Fresh) {
        let dbos = launch(&fresh).await;
        let schedules = dbos.schedules();
        let hourly = Schedule::new("hourly", "0 * * * *").workflow(RUN).context("c").time_zone("Asia/Kolkata");
        schedules.create(hourly).await.unwrap();
        schedules.pause("hourly").await.unwrap();
        // Half an hour past the hour in UTC. Without an offset the ends are UTC.
        let ids = schedules.backfill("hourly", at("2026-01-01T00:30:00"), at("2026-01-01T03:30:00")).await.unwrap();
        let texts: Vec<&str> = ids.iter().map(dbos_runtime::WorkflowId::as_str).collect();
        assert_eq!(texts, ["sched-hourly-2026-01-01T07:00:00+05:30", "sched-hourly-2026-01-01T08:00:00+05:30"]);
        let handle = dbos.retrieve::<Value, Error>(&ids[0]).await.unwrap();
        assert_eq!(handle.result().await.unwrap(), json!([at("2026-01-01T01:30:00Z"), "c"]));
        let more = schedules.backfill("hourly", at("2026-01-01T00:30:00Z"), at("2026-01-01T04:00:00Z")).await.unwrap();
        assert_eq!((more.len(), &more[..2]), (3, &ids[..]), "those that are there are named too");
        until_rows(&fresh, 3, "workflow_status WHERE status = 'SUCCESS'").await;

        let row = fresh.rows("SELECT s.name, s.class_name, s.queue_name, s.application_version, s.application_name, s.schedule_name,
            s.creator_xid, s.parent_workflow_id, s.priority, s.serialization, i.inputs FROM workflow_status s JOIN workflow_input i
            ON i.workflow_uuid = s.workflow_uuid WHERE s.workflow_uuid = 'sched-hourly-2026-01-01T07:00:00+05:30'").await;
        assert_eq!(row, [json!({"name": "run", "class_name": null, "queue_name": "_dbos_internal_queue", "application_version": "v1",
            "application_name": "tests", "schedule_name": "hourly", "creator_xid": null, "parent_workflow_id": null, "priority": 0,
            "serialization": "portable_json",
            "inputs": "{\"positionalArgs\":[\"2026-01-01T01:30:00.000Z\",\"c\"],\"namedArgs\":{}}"})]);
        assert_eq!(get(&dbos, "hourly").await.last_fired_at, None, "a backfill is not a live time");
    }

    // M395
    async fn runs_wait_on_the_queue_of_their_schedule(fresh: Fresh) {
        let dbos = builder(&fresh).queue(Queue::new("slow")).launch().await.unwrap();
        assert_kind(dbos.schedules().create(idle("s").queue("fast")).await, ErrorKind::NotFound);
        assert_kind(dbos.schedules().apply([idle("s").queue("fast")]).await, ErrorKind::NotFound);
        dbos.schedules().create(idle("s").queue("slow")).await.unwrap();
        let run = dbos.schedules().trigger("s").await.unwrap();
        dbos.retrieve::<Value, Error>(&run).await.unwrap().result().await.unwrap();
        assert_eq!(dbos.info(&run).await.unwrap().queue_name.as_deref(), Some("slow"));
    }

    // B61
    async fn a_backfill_without_sense_or_end_is_refused(fresh: Fresh) {
        let dbos = launch(&fresh).await;
        let schedules = dbos.schedules();
        schedules.create(Schedule::new("s", "* * * * * *").workflow(RUN)).await.unwrap();
        schedules.pause("s").await.unwrap();
        let (day, later) = (at("2026-01-01"), at("2026-01-13"));
        assert_kind(schedules.backfill("s", later, day).await, ErrorKind::InvalidArgument);
        assert_kind(schedules.backfill("s", day, later).await, ErrorKind::InvalidArgument);
        assert_kind(schedules.backfill("nobody", day, later).await, ErrorKind::NotFound);
        assert_eq!(schedules.backfill("s", day, day).await.unwrap(), []);
        let portions = schedules.backfill("s", day, at("2026-01-01T00:20:00")).await.unwrap();
        assert_eq!(portions.len(), 1199, "both ends are left out");
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE schedule_name = 's' AND workflow_uuid NOT LIKE '%T00:2%'").await, 1199);
    }

    // M392
    async fn a_trigger_runs_at_once_and_each_time(fresh: Fresh) {
        let dbos = launch(&fresh).await;
        dbos.schedules().create(idle("s").context(&7)).await.unwrap();
        dbos.schedules().pause("s").await.unwrap();
        let (one, two) = (dbos.schedules().trigger("s").await.unwrap(), dbos.schedules().trigger("s").await.unwrap());
        assert_ne!(one, two);
        assert!(one.as_str().starts_with("sched-s-trigger-20") && one.as_str().ends_with("+00:00"), "{one}");
        let told = dbos.retrieve::<Value, Error>(&one).await.unwrap().result().await.unwrap();
        let stamp: Timestamp = one.as_str().trim_start_matches("sched-s-trigger-").parse().unwrap();
        assert_eq!(told, json!([stamp, 7]));
        assert_kind(dbos.schedules().trigger("nobody").await, ErrorKind::NotFound);
        assert_eq!(get(&dbos, "s").await.last_fired_at, None);
    }

    // M401
    async fn inside_a_workflow_each_verb_is_a_step(fresh: Fresh) {
        let inside = async |ctx: Ctx, _: Value| {
            let schedules = ctx.schedules();
            schedules.create(idle("s")).await?;
            let again = schedules.create(idle("s")).await.unwrap_err();
            let found = schedules.get("s").await?.map(|schedule| schedule.cron);
            let listed = schedules.list(ScheduleFilter::new()).await?.len();
            let changed = (schedules.pause("s").await?, schedules.resume("s").await?, schedules.delete("s").await?);
            Ok::<_, Error>(json!([again.kind(), found, listed, changed, schedules.delete("s").await?]))
        };
        let launch = async || builder(&fresh).register_fn("inside", inside).launch().await.unwrap();
        let dbos = launch().await;
        let expected = json!(["NameInUse", "30 4 29 2 *", 1, [true, true, true], false]);
        assert_eq!(dbos.start(INSIDE, Value::Null).id("w").await.unwrap().result().await.unwrap(), expected);
        let names: Vec<Option<String>> = steps(&fresh, "w").await.into_iter().map(|mut step| step.remove(1)).collect();
        let verbs = ["createSchedule", "createSchedule", "getSchedule", "listSchedules", "pauseSchedule", "resumeSchedule",
            "deleteSchedule", "deleteSchedule"];
        assert_eq!(names, verbs.map(|verb| Some(format!("DBOS.{verb}"))));
        crash(&dbos).await;
        forget_outcomes(&fresh).await;
        let dbos = launch().await;
        let replayed = dbos.retrieve::<Value, Error>("w").await.unwrap().result().await.unwrap();
        assert_eq!(replayed, expected);
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_schedules").await, 0, "nothing is made twice");
    }

    async fn a_create_that_was_not_recorded_finds_its_own_schedule(fresh: Fresh) {
        let inside = async |ctx: Ctx, _: Value| Ok::<_, Error>(json!(ctx.schedules().create(idle("s")).await.is_ok()));
        let launch = async || builder(&fresh).register_fn("inside", inside).launch().await.unwrap();
        let dbos = launch().await;
        assert_eq!(dbos.start(INSIDE, Value::Null).id("w").await.unwrap().result().await.unwrap(), json!(true));
        crash(&dbos).await;
        fresh.execute("DELETE FROM operation_outputs").await;
        forget_outcomes(&fresh).await;
        let dbos = launch().await;
        assert_eq!(dbos.retrieve::<Value, Error>("w").await.unwrap().result().await.unwrap(), json!(true));
    }

    async fn what_is_no_step_is_refused_inside_a_workflow(fresh: Fresh) {
        let cell = std::sync::Arc::new(tokio::sync::OnceCell::<Dbos>::new());
        let cell_too = std::sync::Arc::clone(&cell);
        let inside = move |_: Ctx, _: Value| {
            let dbos = cell_too.get().unwrap().clone();
            async move {
                let schedules = dbos.schedules();
                let refused = [
                    schedules.apply([idle("s")]).await.unwrap_err(),
                    schedules.trigger("s").await.unwrap_err(),
                    schedules.backfill("s", at("2026-01-01"), at("2026-01-02")).await.unwrap_err(),
                ];
                Ok::<_, Error>(json!(refused.map(|error| error.kind())))
            }
        };
        let dbos = builder(&fresh).register_fn("inside", inside).launch().await.unwrap();
        cell.set(dbos.clone()).unwrap();
        let refused = dbos.start(INSIDE, Value::Null).await.unwrap().result().await.unwrap();
        assert_eq!(refused, json!(["Misplaced", "Misplaced", "Misplaced"]));
        // The workflow holds a clone of the runtime.
        assert_eq!(dbos.info(&id("w")).await.unwrap_err().kind(), ErrorKind::NonExistentWorkflow);
    }

    async fn a_client_manages_schedules_of_all_applications(fresh: Fresh) {
        let dbos = launch(&fresh).await;
        insert(&fresh, "theirs", "0 0 * * *", "NULL", "null", "'another'").await;
        let client = Client::builder().database_url(fresh.url()).connect().await.unwrap();
        let schedules = client.schedules();
        schedules.create(idle("s").queue("unknown-here").context("c")).await.unwrap();
        schedules.apply([idle("s").context("d"), idle("theirs")]).await.unwrap();
        let listed = schedules.list(&ScheduleFilter::new()).await.unwrap();
        let listed: Vec<_> = listed.iter().map(|s| (s.name.as_str(), s.application_name.as_deref(), s.cron.as_str())).collect();
        assert_eq!(listed, [("s", None, "30 4 29 2 *"), ("theirs", Some("another"), "30 4 29 2 *")], "ownership stays");
        let run = schedules.trigger("s").await.unwrap();
        let told = dbos.retrieve::<Value, Error>(&run).await.unwrap().result().await.unwrap();
        assert_eq!(told[1], json!("d"));
        assert!(schedules.pause("theirs").await.unwrap() && schedules.delete("s").await.unwrap());
        fresh.execute("INSERT INTO application_versions (version_id, version_name, application_name) VALUES ('t', 'theirs', 'another')").await;
        let versions: Vec<String> = client.versions().list().await.unwrap().into_iter().map(|v| v.name).collect();
        assert!(["v1", "theirs"].iter().all(|name| versions.iter().any(|version| version == name)), "{versions:?}");
        client.versions().set_latest("theirs").await.unwrap();
        assert_eq!(client.versions().latest().await.unwrap().unwrap().application_name.as_deref(), Some("another"));
        client.close().await;
    }

    async fn a_program_brings_its_schedules_along(fresh: Fresh) {
        let launch = async |schedule: Schedule| builder(&fresh).schedule(schedule).launch().await;
        let dbos = launch(idle("s").context("old")).await.unwrap();
        let first = get(&dbos, "s").await;
        dbos.schedules().pause("s").await.unwrap();
        dbos.shutdown(Duration::ZERO).await;
        let dbos = launch(idle("s").context("new")).await.unwrap();
        let second = get(&dbos, "s").await;
        assert_eq!((second.id, second.status, second.context), (first.id, ScheduleStatus::Paused, json!("new")));
        assert_kind(launch(Schedule::new("t", "bad").workflow(RUN)).await, ErrorKind::InvalidArgument);
        assert_kind(launch(idle("t").workflow(INSIDE)).await, ErrorKind::NotRegistered);
        assert_eq!(names(&dbos, ScheduleFilter::new()).await, ["s"]);
    }
}
