//! The recorder of the process, where the application has none of its own.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::names::{self, REQUEST_SECONDS};

static INSTALLED: OnceLock<PrometheusHandle> = OnceLock::new();

/// Upper bounds of the histogram's buckets, in seconds; the last ones are long polls.
const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 25.0];

/// A histogram keeps each measurement until somebody looks. After so many requests it is looked at, should nobody ask for
/// the page.
const UPKEEP: u64 = 1024;

/// Installs the recorder, once in a process; nothing when there is another one.
pub(super) fn install() -> Option<&'static PrometheusHandle> {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(handle) = INSTALLED.get() {
        return Some(handle);
    }
    let builder = PrometheusBuilder::new();
    // An error is about an empty list.
    let builder = builder.set_buckets_for_metric(Matcher::Full(REQUEST_SECONDS.to_owned()), &BUCKETS).ok()?;
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).ok()?;
    names::describe_http();
    Some(INSTALLED.get_or_init(|| handle))
}

/// Now and then makes measurements into buckets.
pub(super) fn upkeep() {
    static REQUESTS: AtomicU64 = AtomicU64::new(0);
    if REQUESTS.fetch_add(1, Ordering::Relaxed) % UPKEEP == UPKEEP - 1
        && let Some(handle) = INSTALLED.get()
    {
        handle.run_upkeep();
    }
}
