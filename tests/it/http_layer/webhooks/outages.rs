//! Deliveries while the database is away.

use harness::Backend;
use harness::proxy::{Mode, Proxy};

use super::*;

// F05 of the fault matrix, for deliveries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_finds_no_database_is_taken_when_it_comes_again() {
    let fresh = harness::fresh(Backend::Postgres).await;
    let proxy = Proxy::before(fresh.url()).await;
    let builder = builder(&fresh).database_url(proxy.url(fresh.url())).patience(Duration::from_millis(200));
    let dbos = builder.launch().await.unwrap();
    let client = client(sources(dbos.clone()));
    proxy.set_mode(Mode::RefuseNew);
    proxy.reset_all();
    let response = deliver(&client, Sender::Standard, "d-1", json!({"what": "add"})).await;
    is_problem(&response, 503, Some("unavailable"));
    assert_eq!(response.header("retry-after"), Some("2"));
    assert_eq!(fresh.scalar(WORKFLOWS).await, 0);
    // What is forged is known to be, with or without a database.
    is_problem(&send(&client, Sender::Standard, &[], Vec::new()).await, 401, Some("delivery-unverified"));

    proxy.set_mode(Mode::Pass);
    harness::until("it answers again", async || dbos.ping().await.is_ok()).await;
    for duplicate in [false, true] {
        let response = deliver(&client, Sender::Standard, "d-1", json!({"what": "add"})).await;
        is_accepted(&response, "d-1", duplicate);
    }
    let added = "SELECT count(*) FROM workflow_status WHERE name = 'add'";
    harness::until("it is started", async || fresh.scalar(added).await == 1).await;
    end(&dbos).await;
}
