//! Real shops that are killed, frozen and taken for dead.

use harness::shop::Shop;

use super::*;

async fn open(fresh: &Fresh) -> Shop {
    Shop::open(fresh, &[("WIDGET_TICK_MS", "20")]).await.expect("the shop opens")
}

/// Purchases that wait for their payment: the payments' ids.
async fn checkout(shop: &Shop, prefix: &str, many: usize) -> Vec<String> {
    join_all((0..many).map(async |n| shop.reserve(&format!("{prefix}{n}")).await.unwrap())).await
}

async fn pay(shop: &Shop, payments: &[String]) {
    join_all(payments.iter().map(async |payment| shop.pay(payment).await.unwrap())).await;
}

/// Waits until that many orders have gone out, and checks that nothing happened twice or not at all.
async fn settled(fresh: &Fresh, orders: i64) {
    until("all have ended", async || {
        let open = "SELECT (SELECT count(*) FROM orders WHERE order_status <> 1)
             + (SELECT count(*) FROM workflow_status WHERE status <> 'SUCCESS')";
        fresh.scalar(open).await == 0
    })
    .await;
    let facts = [
        ("orders", "SELECT count(*) FROM orders", orders),
        ("widgets", "SELECT inventory FROM products", 100 - orders),
        ("ticks left", "SELECT coalesce(sum(abs(progress_remaining)), 0) FROM orders", 0),
        (
            "ticks",
            "SELECT count(*) FROM operation_outputs WHERE function_name = 'advance_order'",
            orders * 10,
        ),
        ("workflows", "SELECT count(*) FROM workflow_status", orders * 3),
        ("messages", "SELECT count(*) FROM notifications WHERE consumed", orders),
        ("owners", "SELECT count(*) FROM workflow_status WHERE owner_xid IS NOT NULL", 0),
    ];
    for (name, sql, expected) in facts {
        assert_eq!(fresh.scalar(sql).await, expected, "{name}");
    }
}

/// The executor that a workflow is with.
async fn executor_of(fresh: &Fresh, id: &str) -> String {
    let sql = format!("SELECT executor_id FROM workflow_status WHERE workflow_uuid = '{id}'");
    fresh.query(&sql).await.remove(0).remove(0).unwrap()
}

// C66, C80
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_s_fifty_workflows_are_finished_by_its_two_peers_and_its_name_is_free() {
    const MANY: usize = 50;
    let fresh = harness::fresh(Backend::Postgres).await;
    let mut dies = open(&fresh).await;
    let (second, third) = tokio::join!(open(&fresh), open(&fresh));
    let orders = checkout(&dies, "order", MANY).await;
    let own = checkout(&second, "own", 1).await;
    assert_eq!(executor_of(&fresh, &orders[0]).await, "executor-1");
    dies.process.kill9().await;
    until_taken_up(&fresh, "h1:checkout:order", MANY).await;
    pay(&third, &orders).await;
    pay(&third, &own).await;
    settled(&fresh, 51).await;
    let attempts =
        format!("SELECT recovery_attempts FROM workflow_status WHERE workflow_uuid = '{}'", own[0]);
    assert_eq!(fresh.scalar(&attempts).await, 1, "the living were left alone");
    let again = open(&fresh).await;
    let bought = checkout(&again, "again", 1).await;
    assert_eq!(executor_of(&fresh, &bought[0]).await, "executor-1");
}

// F30: frozen is not dead. Frozen and cut off is, and the process that wakes up then does no harm.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_process_keeps_its_work_until_it_is_cut_off_and_does_no_harm_when_it_wakes() {
    const MANY: usize = 20;
    let fresh = harness::fresh(Backend::Postgres).await;
    let frozen = open(&fresh).await;
    let lives = open(&fresh).await;
    // Judges quickly, and runs nothing.
    let judge = Dbos::builder("widget-store")
        .database_url(fresh.url())
        .executor_id("judge")
        .application_version("judge");
    let judge = judge.polling_interval(Duration::from_millis(50)).launch().await.unwrap();

    let orders = checkout(&frozen, "order", MANY).await;
    // Half of them are being dispatched when the world stops.
    let (paid, unpaid) = orders.split_at(MANY / 2);
    pay(&frozen, paid).await;
    until_rows(&fresh, MANY / 2, "workflow_status WHERE name = 'dispatch_order'").await;
    frozen.process.stop();
    // Two dead ones, one after the other: in between the frozen one is looked at twice.
    let mut others = Vec::new();
    for dead in ["first", "second"] {
        let mut dies = open(&fresh).await;
        others.extend(checkout(&dies, dead, 1).await);
        dies.process.kill9().await;
        until_taken_up(&fresh, &format!("h1:checkout:{dead}"), 1).await;
    }
    let again = "SELECT count(*) FROM workflow_status WHERE recovery_attempts > 1 AND workflow_uuid LIKE 'h1:checkout:order%'";
    assert_eq!(fresh.scalar(again).await, 0, "a frozen process is not dead");

    let sessions = "SELECT DISTINCT l.pid FROM pg_locks l JOIN workflow_status w
         ON split_part(w.owner_xid, '@', 2) = ((l.classid::int8 << 32) | l.objid::int8)::text
         WHERE l.locktype = 'advisory' AND l.granted AND w.workflow_uuid LIKE 'h1:checkout:order%'";
    let session = fresh.scalar(sessions).await;
    super::locks::end_session(&fresh, session).await;
    let adopted = "workflow_status WHERE name = 'checkout' AND workflow_uuid LIKE 'h1:checkout:order%' \
                  AND status = 'PENDING' AND recovery_attempts = 2";
    until_rows(&fresh, unpaid.len(), adopted).await;
    pay(&lives, &others).await;
    pay(&lives, unpaid).await;
    frozen.process.cont();
    settled(&fresh, 22).await;
    pay(&frozen, &checkout(&frozen, "awake", 1).await).await;
    settled(&fresh, 23).await;
    judge.shutdown(Duration::ZERO).await;
}
