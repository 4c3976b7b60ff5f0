//! Purchases from the first request to the last tick.

use std::time::Duration;

use example_widget_store::Settings;
use futures_util::future::join_all;
use harness::proxy::{Mode, Proxy};
use harness::{Backend, Fresh, on_each_backend};
use http::Method;
use serde_json::json;

use super::{ADA, CANCELLED, DISPATCHED, PAID, PENDING, Shop, check_problem, settings};

on_each_backend! {
    async fn a_paid_widget_is_dispatched(fresh: Fresh) {
        let shop = Shop::open(&fresh).await;
        let payment = shop.checkout("first").await;
        assert_eq!(shop.inventory().await, 99);

        let order = shop.decide(&payment, "paid").await;
        shop.until_status(order, DISPATCHED).await;
        let shown = shop.order(order).await;
        assert_eq!(shown["progress_remaining"], 0);
        assert_eq!(shown["payment_id"], payment);
        assert_eq!(shop.inventory().await, 99);
        shop.close().await;
    }

    async fn a_reserved_widget_waits_for_its_payment(fresh: Fresh) {
        let shop = Shop::open(&fresh).await;
        shop.checkout("ada").await;
        let orders = shop.orders().await;
        assert_eq!(orders.len(), 1);
        assert_eq!(orders[0]["order_status"], PENDING);
        assert_eq!(orders[0]["progress_remaining"], 10);
        let time = orders[0]["last_update_time"].as_str().unwrap();
        assert!(time.len() == 20 && time.ends_with('Z') && time.contains('T'), "{time}");
        shop.close().await;
    }

    async fn a_cancelled_payment_puts_the_widget_back(fresh: Fresh) {
        let shop = Shop::open(&fresh).await;
        let payment = shop.checkout("ada").await;
        let order = shop.decide(&payment, "failed").await;
        assert_eq!(shop.order(order).await["order_status"], CANCELLED);
        assert_eq!(shop.inventory().await, 100);
        shop.close().await;
    }

    async fn a_payment_that_never_comes_puts_the_widget_back(fresh: Fresh) {
        let payment_timeout = Duration::from_millis(100);
        let shop = Shop::open_with(Settings { payment_timeout, ..settings(fresh.url()) }).await;
        let payment = shop.checkout("ada").await;
        shop.until_status(1, CANCELLED).await;
        assert_eq!(shop.inventory().await, 100);
        // Too late.
        assert_eq!(shop.decide(&payment, "paid").await, 1);
        assert_eq!(shop.order(1).await["order_status"], CANCELLED);
        shop.close().await;
    }

    async fn an_empty_shelf_is_sold_out_until_it_is_filled(fresh: Fresh) {
        let shop = Shop::open(&fresh).await;
        fresh.execute("UPDATE products SET inventory = 0").await;
        let refused = shop.post("/checkout/ada").await;
        check_problem(&refused, 409);
        assert!(refused.text().contains("sold"), "{}", refused.text());
        let cancelled = shop.orders().await.remove(0);
        assert_eq!(cancelled["order_status"], CANCELLED);
        // There is nothing to pay for.
        assert_eq!(shop.decide(cancelled["payment_id"].as_str().unwrap(), "paid").await, 1);
        assert_eq!(shop.order(1).await["order_status"], CANCELLED);

        assert_eq!(shop.post("/restock").await.status, 200);
        assert_eq!(shop.inventory().await, 100);
        check_problem(&shop.post("/checkout/ada").await, 409);
        shop.checkout("bob").await;
        assert_eq!(shop.inventory().await, 99);
        shop.close().await;
    }

    async fn ten_widgets_are_sold_to_ten_of_a_hundred_customers(fresh: Fresh) {
        let shop = Shop::open(&fresh).await;
        fresh.execute("UPDATE products SET inventory = 10").await;
        let paths: Vec<_> = (0..100).map(|customer| format!("/checkout/customer-{customer}")).collect();
        let answers = join_all(paths.iter().map(|path| shop.post(path))).await;
        let count = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
        assert_eq!((count(200), count(409)), (10, 90));
        assert_eq!(shop.inventory().await, 0);
        assert_eq!(fresh.scalar("SELECT count(*) FROM orders WHERE order_status = 0").await, 10);
        assert_eq!(fresh.scalar("SELECT count(*) FROM orders WHERE order_status = -1").await, 90);
        shop.close().await;
    }

    async fn pressing_again_joins_the_same_purchase(fresh: Fresh) {
        let shop = Shop::open(&fresh).await;
        let presses = join_all((0..20).map(|_| shop.checkout("ada"))).await;
        let payment = &presses[0];
        assert!(presses.iter().all(|other| other == payment));
        let with_header = shop.client.post("/checkout").header("authorization", ADA).header("idempotency-key", "ada");
        let with_header = with_header.send().await;
        assert_eq!((with_header.status.as_u16(), with_header.text()), (200, payment.as_str()));
        assert_eq!(shop.orders().await.len(), 1);
        assert_eq!(shop.inventory().await, 99);

        let order = shop.decide(payment, "paid").await;
        assert_eq!(shop.checkout("ada").await, *payment, "also when it is paid");
        shop.until_status(order, DISPATCHED).await;
        assert_eq!(shop.orders().await.len(), 1);
        shop.close().await;
    }

    async fn a_payment_is_decided_once(fresh: Fresh) {
        let shop = Shop::open(&fresh).await;
        for (key, first, then, expected) in
            [("ada", "paid", "failed", DISPATCHED), ("bob", "failed", "paid", CANCELLED)]
        {
            let payment = &shop.checkout(key).await;
            let order = shop.decide(payment, first).await;
            let repeats = join_all([first, then, first, then].map(|status| shop.decide(payment, status))).await;
            assert_eq!(repeats, [order; 4], "{key}");
            shop.until_status(order, expected).await;
            assert_eq!(shop.decide(payment, then).await, order);
            assert_eq!(shop.order(order).await["order_status"], expected, "{key}");
        }
        assert_eq!(shop.inventory().await, 99);
        let dispatches = "SELECT count(*) FROM workflow_status WHERE name = 'dispatch_order'";
        assert_eq!(fresh.scalar(dispatches).await, 1);
        shop.close().await;
    }

    async fn an_interrupted_dispatch_goes_on_where_it_was(fresh: Fresh) {
        let slow = Settings { tick: Duration::from_secs(2), ..settings(fresh.url()) };
        let shop = Shop::open_with(slow).await;
        let payment = shop.checkout("ada").await;
        let order = shop.decide(&payment, "paid").await;
        let on_its_way = async || shop.order(order).await["progress_remaining"].as_i64().unwrap() < 10;
        harness::until("on its way", on_its_way).await;
        shop.close().await;
        let left = fresh.scalar("SELECT progress_remaining FROM orders").await;
        assert!(left > 0, "closed too late");

        let shop = Shop::open(&fresh).await;
        shop.until_status(order, DISPATCHED).await;
        assert_eq!(shop.order(order).await["progress_remaining"], 0);
        assert_eq!(shop.inventory().await, 99);
        shop.close().await;
    }

    async fn nobody_can_stand_in_the_way_of_a_dispatch(fresh: Fresh) {
        let shop = Shop::open(&fresh).await;
        let payment = shop.checkout("ada").await;
        // What a child of this purchase might be called by.
        for key in (1..20).map(|step| format!("ada-{step}")).chain(["dispatch-1".to_owned(), payment.clone()]) {
            shop.post(&format!("/checkout/{key}")).await;
        }
        let order = shop.decide(&payment, "paid").await;
        shop.until_status(order, DISPATCHED).await;
        shop.close().await;
    }

    async fn what_is_not_there_is_said_to_be_missing(fresh: Fresh) {
        let shop = Shop::open(&fresh).await;
        for path in ["/order/1", "/order/-1", "/nowhere", "/app.js/more"] {
            check_problem(&shop.get(path).await, 404);
        }
        for path in ["/payment_webhook/nobody/paid", "/crash_application", "/in/hooks/nobody"] {
            check_problem(&shop.post(path).await, 404);
        }
        shop.close().await;
    }

    async fn what_makes_no_sense_is_refused(fresh: Fresh) {
        let shop = Shop::open(&fresh).await;
        for path in ["/order/one", "/order/1.0", "/order/99999999999999999999", "/order/%FF"] {
            check_problem(&shop.get(path).await, 400);
        }
        for path in ["/checkout", "/checkout/%20", "/checkout/a%00b", "/checkout/%FF", "/checkout/a::b"] {
            check_problem(&shop.post(path).await, 400);
        }
        let long = "x".repeat(10_000);
        check_problem(&shop.post(&format!("/checkout/{long}")).await, 400);
        for payment in [format!("{long}/paid"), "a%00b/paid".to_owned(), "ada/perhaps".to_owned()] {
            check_problem(&shop.post(&format!("/provider/payments/{payment}")).await, 400);
        }
        for path in ["/checkout/ada", "/restock"] {
            let refused = shop.get(path).await;
            check_problem(&refused, 405);
            assert_eq!(refused.header("allow"), Some("POST"));
        }
        assert_eq!(shop.orders().await, Vec::<serde_json::Value>::new());
        shop.close().await;
    }

    async fn a_workflow_that_does_not_answer_is_not_waited_for_long(fresh: Fresh) {
        let shop = Shop::open(&fresh).await;
        let payment = shop.checkout("ada").await.parse().unwrap();
        assert!(shop.state.dbos.cancel(&payment).await.unwrap());
        shop.close().await;
        // A purchase that was cancelled before it could say where to pay.
        fresh.execute("DELETE FROM workflow_events").await;
        let shop = Shop::open_with(Settings { patience: Duration::from_millis(50), ..settings(fresh.url()) }).await;
        check_problem(&shop.post("/checkout/ada").await, 504);
        shop.close().await;
    }

    async fn the_product_is_shown_as_the_page_expects_it(fresh: Fresh) {
        let shop = Shop::open(&fresh).await;
        let expected = json!({
            "product_id": 1,
            "product": "Premium Quality Widget",
            "description": "Enhance your productivity with our top-rated widgets!",
            "inventory": 100,
            "price": "99.99",
        });
        assert_eq!(shop.get("/product").await.json(), expected);
        shop.close().await;
    }

    async fn the_newest_order_comes_first(fresh: Fresh) {
        let shop = Shop::open(&fresh).await;
        let mut bought = Vec::new();
        for key in ["first", "second", "third"] {
            bought.insert(0, shop.checkout(key).await);
        }
        let orders = shop.orders().await;
        let payments: Vec<_> = orders.iter().map(|order| order["payment_id"].as_str().unwrap()).collect();
        assert_eq!(payments, bought);
        assert_eq!(shop.order(orders[0]["order_id"].as_i64().unwrap()).await, orders[0]);
        shop.close().await;
    }

    async fn the_page_and_its_parts_are_served_with_their_headers(fresh: Fresh) {
        let shop = Shop::open(&fresh).await;
        let parts = [
            ("/", "text/html; charset=utf-8", "<title>Widget Store</title>"),
            ("/app.js", "text/javascript; charset=utf-8", "addEventListener"),
            ("/style.css", "text/css; charset=utf-8", "color-scheme"),
        ];
        for (path, content_type, content) in parts {
            let part = shop.get(path).await;
            assert_eq!(part.status, 200, "{path}");
            assert_eq!(part.header("content-type"), Some(content_type));
            assert_eq!(part.header("cache-control"), Some("private, no-cache"));
            assert_eq!(part.header("content-security-policy"), Some("default-src 'self'"));
            assert_eq!(part.header("x-content-type-options"), Some("nosniff"));
            assert!(part.text().contains(content), "{path}");
            let head = shop.client.request(Method::HEAD, path).send().await;
            assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
        }
        assert_eq!(shop.get("/favicon.ico").await.status, 204);
        shop.close().await;
    }

    async fn the_crash_button_is_there_only_where_it_is_allowed(fresh: Fresh) {
        let shop = Shop::open(&fresh).await;
        assert_eq!(shop.get("/demo").await.json(), json!({"crash": false}));
        shop.close().await;
        let shop = Shop::open_with(Settings { crash: true, ..settings(fresh.url()) }).await;
        assert_eq!(shop.get("/demo").await.json(), json!({"crash": true}));
        shop.close().await;
        let shop = Shop::open_at("0.0.0.0:0", Settings { crash: true, ..settings(fresh.url()) }).await;
        assert_eq!(shop.get("/demo").await.json(), json!({"crash": false}));
        assert_eq!(shop.post("/crash_application").await.status, 404);
        shop.close().await;
    }

    async fn opening_again_changes_nothing(fresh: Fresh) {
        for _ in 0..2 {
            let shop = Shop::open(&fresh).await;
            assert_eq!(shop.get("/healthz").await.status, 200);
            shop.close().await;
        }
        fresh.execute("UPDATE products SET inventory = 7").await;
        let shop = Shop::open(&fresh).await;
        assert_eq!(shop.inventory().await, 7);
        shop.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_is_a_503_and_the_next_request_after_it_is_back_works() {
    let fresh = harness::fresh(Backend::Postgres).await;
    let proxy = Proxy::before(fresh.url()).await;
    let shop = Shop::open_with(settings(&proxy.url(fresh.url()))).await;
    let payment = shop.checkout("ada").await;

    proxy.set_mode(Mode::RefuseNew);
    proxy.reset_all();
    let answers = [shop.get("/product").await, shop.get("/healthz").await, shop.post("/checkout/bob").await];
    for answer in answers {
        check_problem(&answer, 503);
        assert!(answer.header("retry-after").is_some());
    }
    // The provider is told to come again, and says so.
    check_problem(&shop.post(&format!("/provider/payments/{payment}/paid")).await, 502);

    proxy.set_mode(Mode::Pass);
    assert_eq!(shop.inventory().await, 99);
    assert_eq!(shop.get("/healthz").await.status, 200);
    let order = shop.decide(&payment, "paid").await;
    assert!([PAID, DISPATCHED].map(Into::into).contains(&shop.order(order).await["order_status"]));
    shop.checkout("bob").await;
    assert_eq!(shop.inventory().await, 98);
    shop.close().await;
}

/// A shop with many open connections, all of which a restart of the database cuts.
async fn busy_shop(fresh: &Fresh) -> (Shop, Proxy) {
    let proxy = Proxy::before(fresh.url()).await;
    let shop = Shop::open_with(settings(&proxy.url(fresh.url()))).await;
    let paths: Vec<_> = (0..100).map(|customer| format!("/checkout/customer-{customer}")).collect();
    join_all(paths.iter().map(|path| shop.post(path))).await;
    (shop, proxy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_database_is_not_noticed_by_who_looks() {
    let fresh = harness::fresh(Backend::Postgres).await;
    let (shop, proxy) = busy_shop(&fresh).await;
    for path in ["/product", "/orders", "/order/1"] {
        proxy.reset_all();
        let answer = shop.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]

async fn a_restart_of_the_database_is_not_noticed_by_who_buys() {
    let fresh = harness::fresh(Backend::Postgres).await;
    let (shop, proxy) = busy_shop(&fresh).await;
    proxy.reset_all();
    assert_eq!(shop.get("/healthz").await.status, 200);
    proxy.reset_all();
    let answer = tokio::time::timeout(harness::PATIENCE, shop.post("/checkout/customer-1"));
    assert_eq!(answer.await.expect("an answer").status, 200);
    shop.close().await;
}

#[tokio::test]
async fn a_database_that_cannot_be_opened_is_named_without_its_password() {
    for (url, shown) in [
        ("sqlite:/nowhere/at/all.sqlite", "sqlite:/nowhere/at/all.sqlite"),
        ("postgres://me:secret@127.0.0.1:1/shop", "postgres://me@127.0.0.1:1/shop"),
        ("nonsense", "DBOS_DATABASE_URL"),
    ] {
        let error = example_widget_store::AppState::open(settings(url)).await.unwrap_err().to_string();
        assert!(error.contains(shown) && !error.contains("secret") && error.lines().count() == 1, "{error}");
    }
}
