//! What is listed: filters, order, pages, rows of other programs, limits of time.

use std::collections::HashSet;
use std::time::Duration;

use dbos_runtime::{Dbos, Error, ErrorKind, Filter, StepFilter, Timestamp, WorkflowInfo, WorkflowStatus};
use harness::{Backend, Fresh, on_each_backend};
use serde_json::{Value, json};

use super::scene::{W, assert_kind, launch, launch_as, result_of, start};

/// A row that a program has written: these columns with these SQL expressions, the rest as it is by default.
pub(super) async fn insert(fresh: &Fresh, id: &str, columns: &[(&str, &str)]) {
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let values: Vec<&str> = columns.iter().map(|(_, value)| *value).collect();
    let (names, values) = (names.join(", "), values.join(", "));
    fresh
        .execute(&format!("INSERT INTO workflow_status (workflow_uuid, {names}) VALUES ('{id}', {values})"))
        .await;
}

/// A series of numbers as a table `n(i)`.
pub(super) fn series(fresh: &Fresh, count: u32) -> String {
    match fresh.backend() {
        Backend::Postgres => format!("generate_series(1, {count}) AS n(i)"),
        Backend::Sqlite => format!(
            "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) SELECT i FROM n) AS n"
        ),
    }
}

/// A runtime that only looks.
pub(super) async fn observer(fresh: &Fresh) -> Dbos {
    launch(fresh, async |_, input| Ok(input)).await
}

pub(super) async fn ids(dbos: &Dbos, filter: Filter) -> Vec<String> {
    let listed = dbos.workflows().list(&filter).await.unwrap();
    listed.into_iter().map(|workflow| workflow.id.to_string()).collect()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

on_each_backend! {
    // F168, L369, L371
    async fn every_filter_narrows_and_all_of_them_together(fresh: Fresh) {
        let dbos = observer(&fresh).await;
        let own = ("application_name", "'tests'");
        insert(&fresh, "a", &[own, ("status", "'SUCCESS'"), ("name", "'pay'"), ("application_version", "'v1'"),
            ("authenticated_user", "'ada'"), ("executor_id", "'one'"), ("created_at", "1000"),
            ("completed_at", "5000"), ("was_forked_from", "TRUE")]).await;
        insert(&fresh, "b", &[own, ("status", "'ERROR'"), ("name", "'pay'"), ("application_version", "'v2'"),
            ("created_at", "2000"), ("completed_at", "6000"), ("forked_from", "'a'")]).await;
        insert(&fresh, "c", &[own, ("status", "'DELAYED'"), ("name", "'ship'"), ("queue_name", "'q'"),
            ("created_at", "3000"), ("schedule_name", "'daily'"), ("delay_until_epoch_ms", "9000000000000")]).await;
        insert(&fresh, "d", &[own, ("status", "'SUCCESS'"), ("name", "'ship'"), ("queue_name", "'q'"),
            ("created_at", "4000"), ("started_at_epoch_ms", "4500"), ("completed_at", "7000"),
            ("parent_workflow_id", "'a'")]).await;
        let new = Filter::new;
        let none: [&str; 0] = [];
        let cases = [
            (new(), "abcd"),
            (new().ids(["a", "d", "x"]), "ad"),
            (new().ids(none), ""),
            (new().statuses([WorkflowStatus::Success]), "ad"),
            (new().statuses([WorkflowStatus::Success, WorkflowStatus::Error]), "abd"),
            (new().statuses([]), ""),
            (new().names(["pay"]), "ab"),
            (new().names(["pay", "ship"]), "abcd"),
            (new().versions(["v2"]), "b"),
            (new().forked_from(["a"]), "b"),
            (new().parents(["a"]), "d"),
            (new().users(["ada"]), "a"),
            (new().queues(["q"]), "cd"),
            (new().executors(["one"]), "a"),
            (new().schedules(["daily", "hourly"]), "c"),
            (new().created_after(at(2000)).created_before(at(3000)), "bc"),
            (new().created_after(at(2001)).created_before(at(2999)), ""),
            (new().completed_after(at(5000)).completed_before(at(6000)), "ab"),
            (new().completed_before(at(5999)), "a"),
            (new().dequeued_after(at(4500)).dequeued_before(at(4500)), "d"),
            (new().dequeued_after(at(4501)), ""),
            (new().queued(), "c"),
            (new().queued().statuses([WorkflowStatus::Success]), "d"),
            (new().was_forked_from(true), "a"),
            (new().was_forked_from(false), "bcd"),
            (new().is_fork(true), "b"),
            (new().is_fork(false), "acd"),
            (new().has_parent(true), "d"),
            (new().has_parent(false), "abc"),
            (new().names(["pay"]).statuses([WorkflowStatus::Error]).versions(["v2"]).is_fork(true), "b"),
            (new().names(["pay"]).queues(["q"]), ""),
            (new().newest_first(), "dcba"),
            (new().limit(2), "ab"),
            (new().limit(2).offset(1), "bc"),
            (new().offset(3), "d"),
            (new().newest_first().limit(1).offset(1), "c"),
            (new().after(at(2000), "b"), "cd"),
            (new().after(at(2000), "b").newest_first(), "a"),
        ];
        for (filter, expected) in cases {
            assert_eq!(ids(&dbos, filter.clone()).await.concat(), expected, "{filter:?}");
        }
        let queued = dbos.workflows().list_queued(&new().newest_first()).await.unwrap();
        assert_eq!(queued.len(), 1);
        assert_eq!(queued[0].delay_until, Some(at(9_000_000_000_000)));
    }

    // L370, B64
    async fn a_prefix_is_taken_literally(fresh: Fresh) {
        let dbos = observer(&fresh).await;
        for id in ["a_b", "axb", "a%b", "a\\b", "A_b", "a_"] {
            insert(&fresh, id, &[("status", "'SUCCESS'"), ("created_at", "1")]).await;
        }
        for (prefixes, expected) in [
            (vec!["a_"], vec!["a_", "a_b"]),
            (vec!["a%"], vec!["a%b"]),
            (vec!["a\\"], vec!["a\\b"]),
            (vec!["A", "ax"], vec!["A_b", "axb"]),
            (vec!["%"], vec![]),
            (vec![], vec![]),
        ] {
            let mut found = ids(&dbos, Filter::new().id_prefixes(prefixes.clone())).await;
            found.sort();
            assert_eq!(found, expected, "{prefixes:?}");
        }
        assert_eq!(ids(&dbos, Filter::new().id_prefixes([""])).await.len(), 6);
    }

    // B64
    async fn a_filter_that_makes_no_sense_is_refused(fresh: Fresh) {
        let dbos = observer(&fresh).await;
        for filter in [
            Filter::new().limit(0),
            Filter::new().limit(1_000_000_000),
            Filter::new().offset(u64::MAX),
            Filter::new().created_after(at(2)).created_before(at(1)),
            Filter::new().names(["a\0b"]),
        ] {
            assert_kind(dbos.workflows().list(&filter).await, ErrorKind::InvalidArgument);
        }
        let steps = StepFilter::new().limit(0);
        assert_kind(dbos.workflows().steps("w", &steps).await, ErrorKind::InvalidArgument);
        assert_kind(dbos.workflows().steps("", &StepFilter::new()).await, ErrorKind::InvalidArgument);
    }

    // L369: order and paging.
    async fn ten_thousand_rows_are_paged_without_a_gap_in_either_direction(fresh: Fresh) {
        let dbos = observer(&fresh).await;
        // Groups of 1000 in the same millisecond.
        fresh.execute(&format!(
            "INSERT INTO workflow_status (workflow_uuid, status, application_name, created_at)
             SELECT 'w-' || (i * 7919 % 10007), 'SUCCESS', 'tests', 1000 + i / 1000 FROM {}", series(&fresh, 10_000),
        )).await;
        let all = ids(&dbos, Filter::new()).await;
        assert_eq!(all.len(), 10_000);
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 10_000);
        for newest_first in [false, true] {
            let (mut by_offset, mut by_key) = (Vec::new(), Vec::<WorkflowInfo>::new());
            for page in 0.. {
                let filter = Filter::new().limit(1500);
                let filter = if newest_first { filter.newest_first() } else { filter };
                let offset = filter.clone().offset(page * 1500);
                by_offset.extend(ids(&dbos, offset).await);
                let after = match by_key.last() {
                    Some(last) => filter.after(last.created_at, last.id.as_str()),
                    None => filter,
                };
                let rows = dbos.workflows().list(&after).await.unwrap();
                let full = rows.len() == 1500;
                by_key.extend(rows);
                if !full {
                    break;
                }
            }
            let by_key: Vec<String> = by_key.into_iter().map(|row| row.id.to_string()).collect();
            let mut expected = all.clone();
            if newest_first {
                expected.reverse();
            }
            assert!(by_offset == expected && by_key == expected, "newest first: {newest_first}");
        }
    }

    // P464, P470: as far as it is about what is listed.
    async fn a_listing_shows_this_applications_rows_and_unclaimed_ones_and_an_id_finds_any(fresh: Fresh) {
        let dbos = observer(&fresh).await;
        for (id, owner, created) in [("own", "'tests'", "1"), ("other", "'shop'", "2"), ("nobodys", "NULL", "3")] {
            insert(&fresh, id, &[("status", "'SUCCESS'"), ("application_name", owner), ("created_at", created)]).await;
        }
        let new = Filter::new;
        assert_eq!(ids(&dbos, new()).await, ["own", "nobodys"]);
        assert_eq!(ids(&dbos, new().applications(["shop"])).await, ["other", "nobodys"]);
        assert_eq!(ids(&dbos, new().every_application()).await, ["own", "other", "nobodys"]);
        assert_eq!(ids(&dbos, new().ids(["other", "own"])).await, ["own", "other"]);
        assert_eq!(ids(&dbos, new().ids(["other", "own"]).applications(["tests"])).await, ["own"]);
        assert_eq!(dbos.info("other").await.unwrap().application_name.as_deref(), Some("shop"));
    }

    // L373, L374, O440, O441, B69, B70, B71, B72, B76, B77, B78, B82: as far as they are about what is listed.
    async fn rows_of_other_programs_are_listed_as_they_are(fresh: Fresh) {
        let dbos = observer(&fresh).await;
        let rows: [(&str, &[(&str, &str)]); 5] = [
            ("pickle", &[("status", "'SUCCESS'"), ("serialization", "'py_pickle'"), ("inputs", "'gASV'"),
                ("output", "'gARLAi4='")]),
            ("broken", &[("status", "'ERROR'"), ("serialization", "'portable_json'"), ("inputs", "'not json {{{'"),
                ("error", "'{\"name\":\"E\",\"message\":\"m\"}'"), ("authenticated_roles", "'not json'")]),
            ("old", &[("status", "'RUNNING'"), ("inputs", "'[1]'"), ("created_at", "0"), ("executor_id", "NULL"),
                ("queue_name", "''"), ("recovery_attempts", "-7")]),
            ("late", &[("status", "'pending'"), ("created_at", "1795355486819907200"), ("name", "NULL"),
                ("application_version", "''"), ("recovery_attempts", "9223372036854775807")]),
            ("lost", &[("status", "NULL"), ("serialization", "'java_jackson'"), ("created_at", "5")]),
        ];
        for (id, columns) in rows {
            insert(&fresh, id, columns).await;
        }
        let listed = dbos.workflows().list(&Filter::new().with_input().with_output()).await.unwrap();
        let order: Vec<&str> = listed.iter().map(|row| row.id.as_str()).collect();
        assert_eq!((order.len(), order[0], order[1], order[4]), (5, "old", "lost", "late"));
        let find = |id: &str| listed.iter().find(|row| row.id.as_str() == id).unwrap();

        let pickle = find("pickle");
        let (input, output) = (pickle.input.as_ref().unwrap(), pickle.output.as_ref().unwrap());
        assert_eq!((input.text(), input.format(), input.json()), ("gASV", Some("py_pickle"), None));
        assert_eq!((output.text(), output.json()), ("gARLAi4=", None));

        let broken = find("broken");
        assert_eq!(broken.input.as_ref().unwrap().json(), None);
        assert_eq!(broken.input.as_ref().unwrap().text(), "not json {{{");
        assert_eq!(broken.error.as_ref().unwrap().json().unwrap()["message"], "m");
        assert!(broken.authenticated_roles.is_empty() && broken.output.is_none());

        let old = find("old");
        assert_eq!((old.status, old.status_text.as_str(), old.recovery_attempts), (None, "RUNNING", -7));
        assert_eq!(old.input.as_ref().unwrap().json(), Some(json!([1])));
        assert_eq!((old.queue_name.as_deref(), old.executor_id.as_deref()), (None, None));
        assert_eq!(find("late").created_at, at(1_795_355_486_819_907_200));
        assert_eq!((find("late").status, find("late").status_text.as_str()), (None, "pending"));
        assert_eq!((find("lost").status, find("lost").status_text.as_str()), (None, ""));
    }

    // L369: the fields.
    async fn a_workflow_is_listed_with_all_its_facts_and_its_payloads_where_asked(fresh: Fresh) {
        let dbos = observer(&fresh).await;
        let started = dbos.start(W, json!({"n": 1})).id("w").authenticated_user("ada")
            .authenticated_roles(&["clerk"]).attribute("region", "eu").attribute("tier", 2).await.unwrap();
        assert_eq!(result_of(&started).await.unwrap(), json!({"n": 1}));

        let bare = dbos.workflows().list(&Filter::new()).await.unwrap().remove(0);
        assert_eq!((bare.input, bare.output, bare.error), (None, None, None));
        assert!(dbos.info("w").await.unwrap().input.is_none());
        let whole = dbos.workflows().list(&Filter::new().with_input().with_output()).await.unwrap().remove(0);
        let info = dbos.workflows().info("w").await.unwrap();
        for workflow in [whole, info] {
            assert_eq!(workflow.status, Some(WorkflowStatus::Success));
            assert_eq!(workflow.status_text, "SUCCESS");
            assert_eq!(workflow.name.as_deref(), Some("w"));
            assert_eq!(workflow.application_name.as_deref(), Some("tests"));
            assert_eq!(workflow.application_version.as_deref(), Some("v1"));
            assert_eq!(workflow.authenticated_user.as_deref(), Some("ada"));
            assert_eq!(workflow.authenticated_roles, ["clerk"]);
            assert_eq!(workflow.attributes, json!({"region": "eu", "tier": 2}));
            assert_eq!((workflow.priority, workflow.recovery_attempts), (0, 1));
            assert!(workflow.completed_at >= Some(workflow.created_at) && workflow.dequeued_at.is_none());
            let input = workflow.input.unwrap();
            assert_eq!(input.json().unwrap()["positionalArgs"], json!([{"n": 1}]));
            assert_eq!((workflow.output.unwrap().json(), workflow.error), (Some(json!({"n": 1})), None));
        }
        assert_kind(dbos.workflows().info("nobody").await, ErrorKind::NonExistentWorkflow);
    }

    // L375
    async fn steps_are_listed_in_order_in_pages_and_without_what_they_returned(fresh: Fresh) {
        let dbos = launch(&fresh, async |ctx, input| {
            if input == "child" {
                return Ok(input);
            }
            ctx.step("one", || async { Ok(1) }).await?;
            ctx.step("two", || async { Err::<(), _>(boom()) }).await.unwrap_err();
            ctx.start(W, json!("child")).await?;
            ctx.set_event("k", &1).await?;
            Ok(Value::Null)
        })
        .await;
        result_of(&start(&dbos, "w").await).await.unwrap();
        let workflows = dbos.workflows();
        let steps = workflows.steps("w", &StepFilter::new()).await.unwrap();
        let named: Vec<(i32, &str)> = steps.iter().map(|step| (step.number, step.name.as_str())).collect();
        assert_eq!(named, [(1, "one"), (2, "two"), (3, "w"), (4, "DBOS.setEvent")]);
        assert_eq!(steps[0].output.as_ref().unwrap().json(), Some(json!(1)));
        assert_eq!((&steps[0].error, &steps[1].output), (&None, &None));
        assert!(steps[1].error.as_ref().unwrap().json().unwrap()["message"].as_str().unwrap().contains("empty"));
        assert_eq!(steps[2].child_workflow_id.as_deref(), Some("w-3"));
        assert!(steps.iter().all(|step| step.started_at <= step.completed_at && step.started_at.is_some()));

        let page = workflows.steps("w", &StepFilter::new().limit(2).offset(1)).await.unwrap();
        assert_eq!(page, steps[1..3]);
        let bare = workflows.steps("w", &StepFilter::new().without_output()).await.unwrap();
        assert_eq!(bare.len(), 4);
        assert!(bare.iter().all(|step| step.output.is_none() && step.error.is_none()));
        assert_eq!(workflows.steps("nobody", &StepFilter::new()).await.unwrap(), []);
    }

    // L376, L377
    async fn a_listing_that_takes_too_long_is_ended_and_what_is_asked_by_id_is_not(fresh: Fresh) {
        let quick = harness::builder(&fresh).listing_timeout(Duration::from_millis(1)).pool_size(3);
        let dbos = launch_as(quick, async |_, input| Ok(input)).await;
        fresh.execute(&format!(
            "INSERT INTO workflow_status (workflow_uuid, status, application_name, created_at)
             SELECT 'w-' || i, 'SUCCESS', 'tests', i FROM {}", series(&fresh, 50_000),
        )).await;
        fresh.execute(&format!(
            "INSERT INTO operation_outputs (workflow_uuid, function_id, function_name) SELECT 'w-1', i, 's' FROM {}",
            series(&fresh, 20_000),
        )).await;
        let workflows = dbos.workflows();
        assert_kind(workflows.list(&Filter::new()).await, ErrorKind::QueryTimeout);
        // The limit is gone with the transaction.
        assert_eq!(workflows.steps("w-1", &StepFilter::new()).await.unwrap().len(), 20_000);
        assert_kind(workflows.list(&Filter::new()).await, ErrorKind::QueryTimeout);
        assert_eq!(workflows.info("w-1").await.unwrap().created_at, at(1));

        let patient = harness::builder(&fresh).executor_id("two").listing_timeout(None);
        let dbos = launch_as(patient, async |_, input| Ok(input)).await;
        assert_eq!(ids(&dbos, Filter::new()).await.len(), 50_000);
    }
}

/// Some failure.
fn boom() -> Error {
    dbos_runtime::WorkflowId::parse("").unwrap_err()
}

// L372
#[tokio::test]
async fn a_time_range_is_found_by_its_index_on_postgres() {
    let fresh = harness::fresh(Backend::Postgres).await;
    fresh
        .execute(&format!(
            "INSERT INTO workflow_status (workflow_uuid, status, application_name, created_at)
             SELECT 'w-' || i, 'SUCCESS', 'tests', i FROM {}",
            series(&fresh, 20_000),
        ))
        .await;
    fresh.execute("ANALYZE workflow_status").await;
    let scans =
        "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'workflow_status_created_at_index'";
    let before = fresh.scalar(scans).await;
    let dbos = observer(&fresh).await;
    let range = Filter::new().created_after(at(100)).created_before(at(109));
    for _ in 0..8 {
        assert_eq!(ids(&dbos, range.clone()).await.len(), 10);
    }
    // A session tells what it used when it ends.
    dbos.shutdown(Duration::ZERO).await;
    harness::until("8 scans of the index", async || fresh.scalar(scans).await >= before + 8).await;
}
