//! The shop is killed, at every commit boundary and at random, and started again: every order goes out once.

use std::time::Duration;

use futures_util::StreamExt as _;
use harness::shop::Shop;
use harness::{Fresh, on_each_backend};
use tempfile::NamedTempFile;

/// Purchases at a time: a process that starts mostly waits for the disk.
const AT_ONCE: usize = 4;
const SECONDS: Duration = Duration::from_secs(120);

/// Starts the shop on that database. `None` when it dies before it listens.
async fn open(fresh: &Fresh, environment: &[(&str, &str)]) -> Option<Shop> {
    let quick = [("WIDGET_TICK_MS", "2")];
    Shop::open(fresh, &[&quick, environment].concat()).await
}

/// Buys and pays. `None` when the shop dies on the way.
async fn sell(shop: &Shop, key: &str) -> Option<()> {
    let payment_id = shop.reserve(key).await?;
    assert!(payment_id.starts_with(&format!("h1:checkout:{key}:")), "{payment_id}");
    shop.pay(&payment_id).await
}

/// Waits until every order has been dispatched and every workflow has ended, or the shop has died.
async fn settled(fresh: &Fresh, shop: &mut Shop) -> bool {
    let done = async {
        while open_work(fresh).await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = done => true,
        () = shop.process.ended() => false,
        () = tokio::time::sleep(SECONDS) => panic!("the orders do not settle:\n{}", shop.process.output()),
    }
}

async fn open_work(fresh: &Fresh) -> i64 {
    fresh
        .scalar(
            "SELECT (SELECT count(*) FROM orders WHERE order_status <> 1) \
             + (SELECT count(*) FROM workflow_status WHERE status <> 'SUCCESS')",
        )
        .await
}

/// Nothing twice, nothing lost.
async fn check(fresh: &Fresh, orders: i64, context: &str) {
    let facts = [
        ("orders", "SELECT count(*) FROM orders", orders),
        ("widgets", "SELECT inventory FROM products", 100 - orders),
        ("ticks left", "SELECT coalesce(sum(abs(progress_remaining)), 0) FROM orders", 0),
        ("checkouts", "SELECT count(*) FROM workflow_status WHERE name = 'checkout'", orders),
        ("dispatches", "SELECT count(*) FROM workflow_status WHERE name = 'dispatch_order'", orders),
        (
            "ticks",
            "SELECT count(*) FROM operation_outputs WHERE function_name = 'advance_order'",
            orders * 10,
        ),
        ("deliveries", "SELECT count(*) FROM workflow_status WHERE name = 'dbos.webhook'", orders),
        ("progress", "SELECT count(*) FROM streams WHERE key = 'progress'", orders * 11),
        ("messages", "SELECT count(*) FROM notifications", orders),
        ("unread", "SELECT count(*) FROM notifications WHERE NOT consumed", 0),
        ("owners", "SELECT count(*) FROM workflow_status WHERE owner_xid IS NOT NULL", 0),
        ("gaps", GAPS, 0),
    ];
    for (name, sql, expected) in facts {
        assert_eq!(fresh.scalar(sql).await, expected, "{name}, {context}");
    }
}

/// Workflows whose step numbers are not 1, 2, 3 …
const GAPS: &str = "SELECT count(*) FROM (SELECT workflow_uuid FROM operation_outputs \
     GROUP BY workflow_uuid HAVING count(*) <> max(function_id) OR min(function_id) <> 1) AS g";

/// Sells one widget, with the given environment for the first process; later ones finish what it began.
async fn sell_through_a_crash(fresh: &Fresh, crashes: &[&str]) -> usize {
    let mut deaths = 0;
    for attempt in 0.. {
        assert!(attempt < 10, "the shop dies again and again");
        let environment: Vec<_> =
            crashes.get(attempt).map(|failpoint| ("DBOS_FAILPOINT", *failpoint)).into_iter().collect();
        let Some(mut shop) = open(fresh, &environment).await else {
            deaths += 1;
            continue;
        };
        // The customer's browser tries again with the same key until it has an answer.
        if sell(&shop, "order-1").await.is_some() && settled(fresh, &mut shop).await {
            shop.process.kill9().await;
            break;
        }
        deaths += 1;
    }
    deaths
}

/// The boundaries that one purchase without a crash passes.
async fn boundaries_of_a_purchase(fresh: &Fresh) -> Vec<String> {
    let log = NamedTempFile::new().unwrap();
    let path = log.path().to_str().unwrap();
    let mut shop = open(fresh, &[("DBOS_FAILPOINT_LOG", path)]).await.unwrap();
    sell(&shop, "order-1").await.unwrap();
    assert!(settled(fresh, &mut shop).await);
    shop.process.kill9().await;
    std::fs::read_to_string(path).unwrap().lines().map(ToOwned::to_owned).collect()
}

on_each_backend! {
    async fn a_kill_at_any_commit_boundary_neither_doubles_nor_loses_anything(fresh: Fresh) {
        let passed = boundaries_of_a_purchase(&fresh).await;
        check(&fresh, 1, "without a crash").await;
        for name in ["start", "child", "step", "event", "message", "receive", "outcome", "transaction", "recover"] {
            for side in ["before", "after"] {
                assert!(passed.contains(&format!("{name}:{side}")), "{name}:{side} is not passed: {passed:?}");
            }
        }
        let backend = fresh.backend();
        let killed: Vec<Option<String>> = futures_util::stream::iter(passed.iter().enumerate().map(async |(number, name)| {
            let fresh = harness::fresh(backend).await;
            let deaths = sell_through_a_crash(&fresh, &[&number.to_string()]).await;
            assert!(deaths <= 1, "{number} ({name}) killed {deaths} times");
            check(&fresh, 1, &format!("killed at {number}, {name}")).await;
            (deaths == 1).then(|| name.clone())
        }))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
        // The last boundaries lie behind the commit that the test waits for: the test's own kill may come first. And writes
        // that share a commit have fewer boundaries.
        let survivors = killed.iter().filter(|name| name.is_none()).count();
        assert!(survivors <= 2.max(passed.len() / 10), "{survivors} of {} boundaries did not kill", passed.len());
        for name in &passed {
            assert!(killed.contains(&Some(name.clone())), "{name} never killed");
        }
    }

    async fn a_kill_during_recovery_is_recovered_too(fresh: Fresh) {
        let crashes = ["child:before", "recover:before", "recover:after", "claim:after", "child:after", "claim:after"];
        let deaths = sell_through_a_crash(&fresh, &crashes).await;
        assert_eq!(deaths, crashes.len());
        check(&fresh, 1, "killed six times").await;
    }

    async fn fifty_kills_at_random_moments_neither_double_nor_lose_anything(fresh: Fresh) {
        const ROUNDS: u64 = 50;
        // A fixed sequence: a failure can be run again.
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for round in 0..ROUNDS {
            let Some(mut shop) = open(&fresh, &[]).await else { panic!("nothing killed it") };
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let life = Duration::from_millis((random >> 33) % 120);
            // The last order of the round before may have got no answer: it is tried again with this one.
            let orders = async {
                for key in [round.saturating_sub(1), round] {
                    if sell(&shop, &format!("order-{key}")).await.is_none() {
                        break;
                    }
                }
                std::future::pending::<()>().await;
            };
            let _ = tokio::time::timeout(life, orders).await;
            shop.process.kill9().await;
        }
        let mut shop = open(&fresh, &[]).await.unwrap();
        for round in 0..ROUNDS {
            sell(&shop, &format!("order-{round}")).await.unwrap();
        }
        assert!(settled(&fresh, &mut shop).await);
        check(&fresh, 50, "after fifty kills").await;
    }
}
