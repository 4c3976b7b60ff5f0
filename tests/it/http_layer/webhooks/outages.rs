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
    // The sender comes again until it is answered.
    let accepted = async || {
        let response = deliver(&client, Sender::Standard, "d-1", json!({"what": "add"})).await;
        assert!(matches!(response.status.as_u16(), 202 | 503), "{}", response.text());
        response.status == StatusCode::ACCEPTED
    };
    harness::until("it is accepted", accepted).await;
    let again = async || {
        let response = deliver(&client, Sender::Standard, "d-1", json!({"what": "add"})).await;
        if response.status != StatusCode::SERVICE_UNAVAILABLE {
            is_accepted(&response, "d-1", true);
        }
        response.status == StatusCode::ACCEPTED
    };
    harness::until("it is accepted again", again).await;
    let added = "SELECT count(*) FROM workflow_status WHERE name = 'add'";
    harness::until("it is started", async || fresh.scalar(added).await == 1).await;
    assert_eq!(fresh.scalar(WORKFLOWS).await, 2);
    end(&dbos).await;
}
