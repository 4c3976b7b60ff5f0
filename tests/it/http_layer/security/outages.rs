//! A thousand clients, and a database or a line that goes away.

use std::collections::BTreeMap;
use std::sync::Arc;

use harness::proxy::{Mode, Proxy};
use harness::{Backend, on_each_backend};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::*;

const CLIENTS: usize = 1000;

fn start(client: &Client, n: usize) -> harness::http::Request {
    let key = format!("{KEY}-{n}");
    client.post("/checkout").header("idempotency-key", key).json(&json!({"item": "cup", "count": n % 100}))
}

/// Everybody asks again until they have their workflow: each has one, and it has ended, with one step.
async fn everybody_has_one_workflow(fresh: &Fresh, client: &Client) {
    let turns = Arc::new(Semaphore::new(20));
    let mut asking = JoinSet::new();
    for n in 0..CLIENTS {
        let (client, turns) = (client.clone(), Arc::clone(&turns));
        asking.spawn(async move {
            let _turn = turns.acquire().await.unwrap();
            loop {
                let answer = start(&client, n).send().await;
                if answer.status.is_success() {
                    return answer.header("dbos-workflow-id").unwrap().to_owned();
                }
                // It was told to come again, and does.
                is_problem(&answer, 503, Some("unavailable"));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    }
    let ids: std::collections::BTreeSet<String> = asking.join_all().await.into_iter().collect();
    assert_eq!(ids.len(), CLIENTS);
    let clients = i64::try_from(CLIENTS).unwrap();
    harness::until("all have ended", async || {
        count(fresh, "workflow_status WHERE status = 'SUCCESS'").await == clients
    })
    .await;
    for table in ["workflow_status", "workflow_input", "workflow_output", "operation_outputs"] {
        assert_eq!(count(fresh, table).await, clients, "{table}");
    }
}

/// Only Postgres can be away: SQLite is a file that this process has open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s33_a_thousand_clients_in_an_outage_are_told_to_come_again_and_nothing_is_half_done() {
    let fresh = harness::fresh(Backend::Postgres).await;
    let proxy = Proxy::before(fresh.url()).await;
    let dbos = launch_impatient(&proxy.url(fresh.url())).await;
    let client = Client::new(app(DbosLayer::new(dbos.clone())));
    proxy.set_mode(Mode::RefuseNew);
    proxy.reset_all();
    let begun = std::time::Instant::now();
    let mut asking = JoinSet::new();
    for n in 0..CLIENTS {
        let request = start(&client, n);
        asking.spawn(request.send());
    }
    let mut answers = BTreeMap::new();
    for answer in asking.join_all().await {
        is_problem(&answer, 503, Some("unavailable"));
        assert_eq!(answer.header("retry-after"), Some("2"));
        *answers.entry(answer.status.as_u16()).or_insert(0) += 1;
    }
    assert_eq!(answers, BTreeMap::from([(503, CLIENTS)]));
    // All of them waited at the same time, for the patience of a second.
    assert!(begun.elapsed() < harness::PATIENCE, "{:?}", begun.elapsed());
    proxy.set_mode(Mode::Pass);
    harness::until("back", async || start(&client, 0).send().await.status.is_success()).await;
    everybody_has_one_workflow(&fresh, &client).await;
    end(&dbos).await;
}

on_each_backend! {
    async fn s34_a_thousand_clients_that_hang_up_leave_everything_whole(fresh: Fresh) {
        let (dbos, client) = shop(&fresh).await;
        let mut asking = JoinSet::new();
        for n in 0..CLIENTS {
            // Spread over 0 to 50 ms, in no order.
            let patience = Duration::from_micros(u64::try_from(n * 7919 % 50_000).unwrap());
            let request = start(&client, n);
            asking.spawn(async move { tokio::time::timeout(patience, request.send()).await.is_err() });
        }
        let hung_up = asking.join_all().await.into_iter().filter(|hung_up| *hung_up).count();
        assert!(hung_up >= 50, "only {hung_up} hung up");
        everybody_has_one_workflow(&fresh, &client).await;
        end(&dbos).await;
    }
}
