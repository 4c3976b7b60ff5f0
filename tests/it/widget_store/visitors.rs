//! Each visitor has their own purchases, and nobody else's.

use harness::on_each_backend;

use super::{ADA, BOB, DISPATCHED, PENDING, Shop, check_problem};

on_each_backend! {
    // S03, S04
    async fn a_visitor_neither_sees_nor_touches_what_another_one_has_bought(fresh: Fresh) {
        let shop = Shop::open(&fresh).await;
        let payment = shop.checkout("mine").await;
        let order = shop.orders().await[0]["order_id"].as_i64().unwrap();

        let as_bob = async |method: &str, path: &str| {
            let request = shop.client.request(method.parse().unwrap(), path);
            request.header("authorization", BOB).send().await
        };
        assert_eq!(as_bob("GET", "/orders").await.json(), serde_json::json!([]));
        check_problem(&as_bob("GET", &format!("/order/{order}")).await, 404);
        for (method, below) in [("GET", ""), ("POST", "/cancel")] {
            let theirs = as_bob(method, &format!("/dbos/workflows/{payment}{below}")).await;
            let nobodys = as_bob(method, &format!("/dbos/workflows/{payment}x{below}")).await;
            check_problem(&theirs, 404);
            // Not even that it exists.
            assert_eq!(theirs.text(), nobodys.text().replace(&format!("{payment}x"), &payment), "{method} {below}");
        }
        assert_eq!(shop.order(order).await["order_status"], PENDING);
        shop.close().await;
    }

    async fn a_visitor_may_follow_a_purchase_and_neither_pay_by_message_nor_cancel_it(fresh: Fresh) {
        let shop = Shop::open(&fresh).await;
        let payment = shop.checkout("mine").await;
        let workflow = format!("/dbos/workflows/{payment}");
        assert_eq!(shop.get(&workflow).await.json()["status"], "PENDING");
        let message = shop.client.post(format!("{workflow}/messages/payment_status")).header("authorization", ADA);
        check_problem(&message.json(&"paid".into()).send().await, 404);
        check_problem(&shop.post(&format!("{workflow}/cancel")).await, 404);
        check_problem(&shop.client.post("/dbos/start/dispatch_order").header("authorization", ADA).json(&1.into()).send().await, 404);
        assert_eq!(shop.get(&workflow).await.json()["status"], "PENDING");
        assert_eq!(fresh.scalar("SELECT count(*) FROM notifications").await, 0);
        assert_eq!(shop.orders().await[0]["order_status"], PENDING);
        shop.close().await;
    }

    async fn two_visitors_with_the_same_key_buy_two_widgets(fresh: Fresh) {
        let shop = Shop::open(&fresh).await;
        let mine = shop.checkout("my-first-widget").await;
        let theirs = shop.client.post("/checkout/my-first-widget").header("authorization", BOB).send().await;
        assert_eq!(theirs.status, 200);
        assert_ne!(theirs.text(), mine);
        assert_eq!(shop.inventory().await, 98);
        assert_eq!(shop.orders().await.len(), 1);
        shop.close().await;
    }

    async fn a_stranger_becomes_a_visitor_by_opening_the_page(fresh: Fresh) {
        let shop = Shop::open(&fresh).await;
        for path in ["/orders", "/order/1", "/dbos/workflows/any"] {
            let refused = shop.client.get(path).send().await;
            check_problem(&refused, 401);
            assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
            assert_eq!(refused.header("set-cookie"), None);
        }
        check_problem(&shop.client.post("/checkout/mine").send().await, 401);
        assert_eq!(fresh.scalar("SELECT count(*) FROM orders").await, 0);

        let page = shop.client.get("/").send().await;
        let cookie = page.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        let bought = shop.client.post("/checkout/mine").header("cookie", &cookie).send().await;
        assert_eq!(bought.status, 200, "{}", bought.text());
        let orders = shop.client.get("/orders").header("cookie", &cookie).send().await.json();
        assert_eq!(orders[0]["payment_id"], bought.text());
        // A visitor stays the same one.
        assert_eq!(shop.client.get("/?order=1").header("cookie", &cookie).send().await.header("set-cookie"), None);
        shop.close().await;
    }

    async fn what_a_visitor_buys_belongs_to_them_to_the_end(fresh: Fresh) {
        let shop = Shop::open(&fresh).await;
        let payment = shop.checkout("mine").await;
        let order = shop.decide(&payment, "paid").await;
        shop.until_status(order, DISPATCHED).await;
        let progress = shop.order(order).await["progress_url"].as_str().unwrap().to_owned();
        let dispatch = progress.strip_suffix("/streams/progress").unwrap();
        for (visitor, status) in [(ADA, 200), (BOB, 404)] {
            let found = shop.client.get(dispatch).header("authorization", visitor).send().await;
            assert_eq!(found.status, status, "{}", found.text());
        }
        shop.close().await;
    }
}
