//! What the journal has carried.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Sums over all commits of all lanes.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    commits: AtomicU64,
    writes: AtomicU64,
    waited: AtomicU64,
    took: AtomicU64,
}

/// The sums as they were at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carried {
    pub(crate) commits: u64,
    pub(crate) writes: u64,
    pub(crate) waited: Duration,
    pub(crate) took: Duration,
}

impl Traffic {
    /// One more commit of so many writes, the oldest of which had waited that long before it.
    pub(crate) fn add(&self, writes: usize, waited: Duration, took: Duration) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.writes.fetch_add(writes as u64, Ordering::Relaxed);
        self.waited.fetch_add(nanos(waited), Ordering::Relaxed);
        self.took.fetch_add(nanos(took), Ordering::Relaxed);
    }

    pub(crate) fn carried(&self) -> Carried {
        Carried {
            commits: self.commits.load(Ordering::Relaxed),
            writes: self.writes.load(Ordering::Relaxed),
            waited: Duration::from_nanos(self.waited.load(Ordering::Relaxed)),
            took: Duration::from_nanos(self.took.load(Ordering::Relaxed)),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
