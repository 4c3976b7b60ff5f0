//! The shop as its customers see it.

mod browser;
mod http;
mod operators;
mod payments;
mod stopping;
mod visitors;
mod walk_through;

use std::time::Duration;

use example_widget_store::{AppState, Settings, app};
use harness::Fresh;
use harness::http::{Client, Response};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const CANCELLED: i64 = -1;
const PENDING: i64 = 0;
const DISPATCHED: i64 = 1;
const PAID: i64 = 2;

/// Whose requests are sent by default.
const ADA: &str = "Bearer the-secret-of-ada-which-nobody-knows";
const BOB: &str = "Bearer the-secret-of-bob-which-nobody-knows";

/// An open shop, and a way to ask it.
struct Shop {
    state: AppState,
    client: Client,
    /// The provider knows the shop by a port only.
    _server: JoinSet<()>,
}

impl Shop {
    async fn open(fresh: &Fresh) -> Self {
        Self::open_with(settings(fresh.url())).await
    }

    async fn open_with(settings: Settings) -> Self {
        Self::open_at("127.0.0.1:0", settings).await
    }

    async fn open_at(address: &str, settings: Settings) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let settings = settings.at(listener.local_addr().expect("its number"));
        let state = AppState::open(settings).await.expect("the shop opens");
        let app = app(state.clone()).expect("routes");
        let client = Client::new(app.clone());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await.expect("a server") });
        Self { state, client, _server: server }
    }

    /// Ends as a process does that is told to stop at once: what runs is left for the next one.
    async fn close(self) {
        self.state.dbos.shutdown(Duration::ZERO).await;
        self.state.db.pool().close().await;
    }

    async fn get(&self, path: &str) -> Response {
        self.client.get(path).header("authorization", ADA).send().await
    }

    async fn post(&self, path: &str) -> Response {
        self.client.post(path).header("authorization", ADA).send().await
    }

    /// Reserves a widget, and gives the payment id.
    async fn checkout(&self, key: &str) -> String {
        let response = self.post(&format!("/checkout/{key}")).await;
        assert_eq!(response.status, 200, "{}", response.text());
        response.text().to_owned()
    }

    /// Decides a payment at the provider's, and gives the number of the order once the purchase knows.
    async fn decide(&self, payment_id: &str, decision: &str) -> i64 {
        let response = self.post(&format!("/provider/payments/{payment_id}/{decision}")).await;
        assert_eq!(response.status, 202, "{}", response.text());
        let decided = format!("/dbos/workflows/{payment_id}/events/order_id");
        let decided =
            self.client.get(decided).header("authorization", ADA).header("prefer", "wait=25").send().await;
        assert_eq!(decided.status, 200, "{}", decided.text());
        decided.json()["value"].as_str().expect("text").parse().expect("the number of an order")
    }

    async fn order(&self, id: i64) -> Value {
        self.get(&format!("/order/{id}")).await.json()
    }

    async fn orders(&self) -> Vec<Value> {
        self.get("/orders").await.json().as_array().expect("a list").clone()
    }

    async fn inventory(&self) -> i64 {
        self.get("/product").await.json()["inventory"].as_i64().expect("a number")
    }

    async fn until_status(&self, order: i64, status: i64) {
        harness::until("that status", async || self.order(order).await["order_status"] == status).await;
    }
}

/// A shop that dispatches quickly, and cannot be crashed.
fn settings(database_url: &str) -> Settings {
    Settings {
        database_url: database_url.to_owned(),
        tick: Duration::from_millis(2),
        patience: harness::PATIENCE,
        crash: false,
        ..Settings::default()
    }
}

/// The answer is a problem of that status, and says so.
#[track_caller]
fn check_problem(response: &Response, status: u16) {
    assert_eq!(response.status, status, "{}", response.text());
    assert_eq!(response.header("content-type"), Some("application/problem+json"));
    let problem = response.json();
    assert_eq!(problem["status"], status);
    assert!(problem["title"].is_string(), "{problem}");
}
