//! What this process is doing and has done, without asking the database.

use std::time::Duration;

use super::runtime::Dbos;
use crate::time::Timestamp;

/// What one process is doing now, and what its journal has done since the launch.
///
/// Sums only grow; what happened between two looks is the difference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct RuntimeMetrics {
    /// When this was, by the database's clock.
    pub at: Timestamp,
    /// Workflows that run in this process, those that sleep or wait among them.
    pub running: usize,
    /// Whether this process is known to live, so that it takes work. Without its lock it does not.
    pub announced: bool,
    /// Writes that wait to be taken into a commit.
    pub journal_waiting: usize,
    /// Commits of the journal.
    pub journal_commits: u64,
    /// Writes in those commits.
    pub journal_writes: u64,
    /// How long the oldest write of each commit had waited until the commit began, summed.
    pub journal_wait: Duration,
    /// How long the commits took, summed.
    pub journal_time: Duration,
    /// Open connections of the pool for questions; the journal has its own.
    pub connections: u32,
    /// Those of them that nobody uses.
    pub connections_idle: usize,
}

impl Dbos {
    /// What this process is doing now, and what its journal has done since the launch. Asks nobody.
    ///
    /// ```
    /// # fn report(dbos: &dbos_runtime::Dbos) {
    /// let now = dbos.runtime_metrics();
    /// println!("{} workflows, {:?} a commit", now.running, now.journal_time.checked_div(now.journal_commits as u32));
    /// # }
    /// ```
    pub fn runtime_metrics(&self) -> RuntimeMetrics {
        let shared = self.shared();
        let (carried, (connections, connections_idle)) =
            (shared.journal.carried(), shared.store.connections());
        RuntimeMetrics {
            at: shared.clock.now(),
            running: shared.running.count(),
            announced: shared.presence.is_held(),
            journal_waiting: shared.journal.waiting(),
            journal_commits: carried.commits,
            journal_writes: carried.writes,
            journal_wait: carried.waited,
            journal_time: carried.took,
            connections,
            connections_idle,
        }
    }
}
