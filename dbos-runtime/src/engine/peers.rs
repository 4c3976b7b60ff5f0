//! Notices dead peers and has their work taken up.

use std::collections::BTreeSet;

use super::shared::{INTERNAL_QUEUE, Shared};
use crate::model;
use crate::store::error::StoreError;

/// A look comes with the first tick, then after so many, and in every round while somebody is missed.
const ROUNDS: u32 = 4;

/// What is known of the other processes.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    /// Whose lock nobody held at the last look. A process that reconnects is missed once.
    missed: BTreeSet<i64>,
}

impl Peers {
    pub(crate) fn is_due(&self, round: u32) -> bool {
        round % ROUNDS == 1 || !self.missed.is_empty()
    }

    /// Puts the work of those back who are missed now and were missed at the last look too.
    pub(crate) async fn judge(
        &mut self,
        shared: &Shared,
        peers: model::peer::Peers,
    ) -> Result<(), StoreError> {
        let before = std::mem::take(&mut self.missed);
        if !peers.present {
            shared.presence.doubt();
            return Ok(());
        }
        let (dead, missed): (BTreeSet<i64>, BTreeSet<i64>) =
            peers.dead.into_iter().partition(|lock| before.contains(lock));
        self.missed = missed;
        if dead.is_empty() {
            return Ok(());
        }
        let locks: Vec<i64> = dead.into_iter().collect();
        let recovered = shared.store.take_over(&locks, INTERNAL_QUEUE).await?;
        if recovered > 0 {
            tracing::warn!(recovered, "a process died; its workflows are on their queues again");
            shared.wakeups.bell().ring_all();
        }
        Ok(())
    }
}
