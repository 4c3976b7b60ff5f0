//! Whatever is asked of workflows in whatever state, their status moves along legal edges only.

use std::time::Duration;

use dbos_runtime::{Dbos, Fork, Rewind, WorkflowStatus};
use harness::{Fresh, on_each_backend};
use serde_json::Value;

use super::rows::{STATUSES, insert, record, table};
use super::scene::launch;

const MANY: usize = 120;
const WORKFLOWS: u64 = 6;

/// The edges that management has, by the shared tables of the SDKs.
fn legal(verb: &str, from: &str, to: &str) -> bool {
    if from == to {
        return true;
    }
    match verb {
        "cancel" => {
            to == "CANCELLED"
                && ["DELAYED", "ENQUEUED", "PENDING", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"].contains(&from)
        }
        "resume" => {
            to == "ENQUEUED"
                && ["DELAYED", "PENDING", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"].contains(&from)
        }
        "rewind" => {
            to == "ENQUEUED"
                && ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"].contains(&from)
        }
        _ => false,
    }
}

/// A fixed sequence: a failure can be run again.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Asks one thing of one workflow; whether it said that it did something.
async fn ask(dbos: &Dbos, verb: &str, id: &str, step: i32) -> bool {
    let workflows = dbos.workflows();
    match verb {
        "cancel" => !workflows.cancel([id]).with_children().await.unwrap().cancelled.is_empty(),
        "resume" => workflows.resume([id]).queue("elsewhere").await.is_ok(),
        "rewind" => workflows.rewind(Rewind::of(id, step).queue("elsewhere")).await.is_ok(),
        "delay" => workflows.set_delay(id, Duration::from_secs(3600)).await.unwrap_or_default(),
        "fork" => workflows.fork(Fork::of(id, step).queue("elsewhere")).await.is_ok(),
        _ => !workflows.delete([id]).await.unwrap().is_empty(),
    }
}

const VERBS: [&str; 6] = ["cancel", "resume", "rewind", "delay", "fork", "delete"];

async fn no_orphans(fresh: &Fresh) {
    for name in ["operation_outputs", "workflow_input", "workflow_output", "workflow_events", "streams"] {
        let orphans = format!(
            "SELECT count(*) FROM {name} t WHERE NOT EXISTS
                (SELECT 1 FROM workflow_status w WHERE w.workflow_uuid = t.workflow_uuid)"
        );
        assert_eq!(fresh.scalar(&orphans).await, 0, "{name}");
    }
}

async fn status_of(fresh: &Fresh, id: &str) -> Option<String> {
    let sql = format!("SELECT status FROM workflow_status WHERE workflow_uuid = '{id}'");
    table(fresh, &sql).await.pop()
}

on_each_backend! {
    // F41: one at a time, each compared with what was there.
    async fn every_move_that_management_makes_is_a_legal_one(fresh: Fresh) {
        let dbos = launch(&fresh, |_, _| async { Ok(Value::Null) }).await;
        let mut chance = Chance(41);
        let mut moves = std::collections::BTreeSet::new();
        for round in 0..MANY {
            let id = format!("w{}", chance.below(WORKFLOWS));
            // Now and then somebody else moves it.
            if round % 2 == 0 {
                let state = STATUSES[usize::try_from(chance.below(8)).unwrap()];
                let gone = format!("WHERE workflow_uuid = '{id}'");
                fresh.execute(&format!("DELETE FROM operation_outputs {gone}; DELETE FROM workflow_status {gone}")).await;
                insert(&fresh, &id, state, &[]).await;
                record(&fresh, &id, &[(1, "s", Some("1"), None, None)]).await;
            }
            let verb = VERBS[usize::try_from(chance.below(6)).unwrap()];
            let before = status_of(&fresh, &id).await;
            let said = ask(&dbos, verb, &id, 1).await;
            let after = status_of(&fresh, &id).await;
            match (&before, &after) {
                (Some(before), Some(after)) => {
                    assert!(legal(verb, before, after), "{verb}: {before} to {after}");
                    if before != after {
                        assert!(said, "{verb} moved {before} to {after} and did not say so");
                        moves.insert((verb, before.clone(), after.clone()));
                    }
                }
                (Some(_), None) => assert!(verb == "delete" && said),
                (None, after) => assert!(after.is_none() && !said, "{verb} made {after:?}"),
            }
        }
        assert!(moves.len() >= 8, "the walk has come to few edges: {moves:?}");
        no_orphans(&fresh).await;
    }

    // F41: all at once, from two processes; the rows are looked at afterwards.
    async fn calls_at_once_leave_whole_rows(fresh: Fresh) {
        let one = launch(&fresh, |_, _| async { Ok(Value::Null) }).await;
        let two = harness::builder(&fresh).executor_id("two").launch().await.unwrap();
        for number in 0..WORKFLOWS {
            let parent = format!("'w{}'", (number + 1) % WORKFLOWS);
            let id = format!("w{number}");
            insert(&fresh, &id, "CANCELLED", &[("parent_workflow_id", &parent)]).await;
            record(&fresh, &id, &[(1, "s", Some("1"), None, None), (2, "s", Some("2"), None, None)]).await;
        }
        let mut chance = Chance(7);
        let calls: Vec<_> = (0..120)
            .map(|call| {
                // Few deletes: there has to be something left to ask for.
                let verb = if call % 30 == 29 { "delete" } else { VERBS[usize::try_from(chance.below(5)).unwrap()] };
                let id = format!("w{}", chance.below(WORKFLOWS));
                let dbos = if call % 2 == 0 { one.clone() } else { two.clone() };
                async move { ask(&dbos, verb, &id, 2).await }
            })
            .collect();
        let said = futures_util::future::join_all(calls).await;
        assert!(said.iter().filter(|said| **said).count() > 10);
        no_orphans(&fresh).await;
        let rows = table(&fresh, "SELECT status AS a, completed_at IS NOT NULL AS b, owner_xid AS c FROM workflow_status").await;
        assert!(!rows.is_empty());
        for row in rows {
            let (state, rest) = row.split_once('|').unwrap();
            let state: WorkflowStatus = serde_json::from_value(state.into()).unwrap();
            let is_over = rest.starts_with("true") || rest.starts_with('1');
            assert!(rest.ends_with("|-"), "{row} has an owner");
            if state == WorkflowStatus::Enqueued {
                assert!(!is_over, "{row}");
            }
        }
    }
}
