//! The shop is managed by who has the token, and by nobody else.

use std::time::Duration;

use example_widget_store::secret::Secret;
use example_widget_store::{AppState, Settings, app};
use harness::{Backend, on_each_backend};
use serde_json::json;

use super::{ADA, Shop, check_problem, settings};

const TOKEN: &str = "the-token-of-the-operator-of-this-shop";

on_each_backend! {
    // S01, S02
    async fn who_has_the_token_sees_the_workflows_of_all_visitors(fresh: Fresh) {
        let shop = Shop::open_with(Settings { admin_token: Some(Secret::new(TOKEN)), ..settings(fresh.url()) }).await;
        let payment = shop.checkout("mine").await;
        let list = |token: &str| {
            let list = shop.client.post("/admin/workflows").header("host", "127.0.0.1").json(&json!({}));
            list.header("authorization", format!("Bearer {token}")).send()
        };
        let workflows = list(TOKEN).await;
        assert_eq!(workflows.status, 200, "{}", workflows.text());
        assert_eq!(workflows.json()[0]["WorkflowUUID"], payment.as_str());
        // A visitor is no operator, and an operator's token is a visitor's like any other.
        check_problem(&list(ADA.trim_start_matches("Bearer ")).await, 401);
        let as_visitor = shop.client.get("/orders").header("authorization", format!("Bearer {TOKEN}"));
        assert_eq!(as_visitor.send().await.json(), json!([]));
        let metrics = shop.client.get("/ops/metrics").header("authorization", format!("Bearer {TOKEN}"));
        let metrics = metrics.send().await;
        assert!(metrics.status == 200 && metrics.text().contains("# TYPE dbos_"), "{}", metrics.text());
        assert!(!metrics.text().contains(&payment), "{}", metrics.text());
        assert!(!format!("{:?}", shop.state).contains(TOKEN));
        shop.close().await;
    }

    async fn a_shop_without_a_token_is_managed_by_nobody(fresh: Fresh) {
        let shop = Shop::open(&fresh).await;
        for path in ["/admin/conductor", "/admin/workflows/any", "/ops/metrics"] {
            check_problem(&shop.client.get(path).header("host", "127.0.0.1").send().await, 401);
        }
        for path in ["/admin/dbos-healthz", "/admin/readyz"] {
            assert_eq!(shop.client.get(path).header("host", "127.0.0.1").send().await.status, 200, "{path}");
        }
        shop.close().await;
    }
}

#[tokio::test]
async fn secrets_that_can_be_guessed_are_refused_by_name() {
    let fresh = harness::fresh(Backend::Sqlite).await;
    let weak = Some(Secret::new("1234"));
    let settings = || settings(fresh.url());
    let token = AppState::open(Settings { admin_token: weak.clone(), ..settings() }).await.unwrap_err();
    let state = AppState::open(Settings { webhook_secret: weak, ..settings() }).await.unwrap();
    let webhook = app(state.clone()).unwrap_err();
    for (error, variable) in [(token, "WIDGET_ADMIN_TOKEN: "), (webhook, "WIDGET_WEBHOOK_SECRET: ")] {
        let error = error.to_string();
        assert!(error.starts_with(variable) && !error.contains("1234"), "{error}");
    }
    state.dbos.shutdown(Duration::ZERO).await;
}
