//! Only the payment provider decides a payment, and what it says is heard once.

use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use harness::{Fresh, on_each_backend};
use http::Method;
use serde_json::json;

use super::{ADA, CANCELLED, DISPATCHED, PENDING, Shop, check_problem};

async fn count(fresh: &Fresh, rows: &str) -> i64 {
    fresh.scalar(&format!("SELECT count(*) FROM {rows}")).await
}

#[expect(clippy::disallowed_methods, reason = "a sender's clock")]
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

on_each_backend! {
    // S08, S09
    async fn who_has_not_the_provider_s_secret_decides_nothing(fresh: Fresh) {
        let shop = Shop::open(&fresh).await;
        let payment = shop.checkout("mine").await;
        let event = json!({"type": "payment.paid", "data": {"payment_id": payment}});
        let unsigned = shop.client.post("/in/hooks/payments").json(&event);
        let guessed = shop.client.post("/in/hooks/payments").json(&event);
        let guessed = guessed.header("webhook-id", "msg_1").header("webhook-timestamp", now_s().to_string());
        let guessed = guessed.header("webhook-signature", format!("v1,{}=", "A".repeat(43)));
        for delivery in [unsigned, guessed] {
            check_problem(&delivery.send().await, 401);
        }
        assert_eq!(shop.orders().await[0]["order_status"], PENDING);
        assert_eq!(count(&fresh, "workflow_status WHERE name = 'dbos.webhook'").await, 0);
        shop.close().await;
    }

    async fn a_payment_that_is_told_fifty_times_at_once_is_heard_once(fresh: Fresh) {
        let shop = Shop::open(&fresh).await;
        let payment = shop.checkout("mine").await;
        let path = format!("/provider/payments/{payment}/paid");
        let told = join_all((0..50).map(|_| shop.post(&path))).await;
        assert!(told.iter().all(|answer| answer.status == 202));
        shop.until_status(1, DISPATCHED).await;
        assert_eq!(count(&fresh, "workflow_status WHERE name = 'dbos.webhook'").await, 1);
        assert_eq!(count(&fresh, "workflow_status WHERE name = 'dispatch_order'").await, 1);
        assert_eq!(count(&fresh, "notifications").await, 1);
        shop.close().await;
    }

    async fn news_about_no_payment_change_nothing(fresh: Fresh) {
        let shop = Shop::open(&fresh).await;
        let payment = shop.checkout("mine").await;
        for other in ["nobody", &format!("{payment}::dispatch"), &payment.replace("mine", "yours")] {
            assert_eq!(shop.post(&format!("/provider/payments/{other}/paid")).await.status, 202);
        }
        let order = shop.decide(&payment, "failed").await;
        assert_eq!(shop.order(order).await["order_status"], CANCELLED);
        assert_eq!(count(&fresh, "workflow_status WHERE name = 'dispatch_order'").await, 0);
        shop.close().await;
    }

    // S23
    async fn another_site_s_page_cannot_buy_with_a_visitor_s_cookie(fresh: Fresh) {
        let shop = Shop::open(&fresh).await;
        for (path, site, status) in [
            ("/checkout/mine", "cross-site", 403),
            ("/restock", "same-site", 403),
            ("/checkout/mine", "same-origin", 200),
        ] {
            let request = shop.client.request(Method::POST, path).header("authorization", ADA);
            let answer = request.header("sec-fetch-site", site).send().await;
            assert_eq!(answer.status, status, "{path} {site}");
            if status == 403 {
                check_problem(&answer, 403);
            }
        }
        assert_eq!(shop.orders().await.len(), 1);
        shop.close().await;
    }
}
