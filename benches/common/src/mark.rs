//! What the bodies of workflows call: they report to the benchmark, or are held by it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Semaphore;

static HELD: AtomicBool = AtomicBool::new(false);
static RAN: AtomicUsize = AtomicUsize::new(0);
static TURNS: Semaphore = Semaphore::const_new(0);

/// The wall clock in microseconds, which the processes of one machine share.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Tells the other process how long ago `sent` was.
pub fn began(sent: i64) {
    println!("{}", now() - sent);
}

/// Counts a body that has come to its end; does not return where bodies are held.
pub async fn ran() {
    RAN.fetch_add(1, Ordering::Relaxed);
    if HELD.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

/// Waits for the leave to do one more thing.
pub async fn turn() {
    if let Ok(turn) = TURNS.acquire().await {
        turn.forget();
    }
}

/// Gives that leave.
pub(crate) fn give_turn() {
    TURNS.add_permits(1);
}

/// From now on no body ends.
pub(crate) fn hold() {
    HELD.store(true, Ordering::Relaxed);
}

/// Waits until as many bodies have come to their end.
pub(crate) async fn all_ran(count: usize) {
    while RAN.load(Ordering::Relaxed) < count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
