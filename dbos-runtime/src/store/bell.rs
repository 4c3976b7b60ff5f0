//! A bell for the dispatcher: which queues may have something.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Rung by commits of this process and by hints of others; answered by the dispatcher.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Mutex<Rung>,
    notify: Notify,
}

/// What the bell was rung for since it was last answered.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Rung {
    /// Everything may have changed.
    pub(crate) all: bool,
    pub(crate) queues: BTreeSet<String>,
}

impl Bell {
    /// There may be something on this queue, or room for it.
    pub(crate) fn ring(&self, queue: &str) {
        let new = self.lock().queues.insert(queue.to_owned());
        if new {
            self.notify.notify_one();
        }
    }

    /// There may be something on any queue, and the queues themselves may have changed.
    pub(crate) fn ring_all(&self) {
        self.lock().all = true;
        self.notify.notify_one();
    }

    /// Waits until the bell is rung, and takes what it was rung for.
    ///
    /// Cancel safe: what is not taken is there for the next call.
    pub(crate) async fn answer(&self) -> Rung {
        loop {
            let notified = self.notify.notified();
            let rung = std::mem::take(&mut *self.lock());
            if rung != Rung::default() {
                return rung;
            }
            notified.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Rung> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_rung_for_is_answered_once() {
        let bell = Bell::default();
        bell.ring("a");
        bell.ring("b");
        bell.ring("a");
        let rung = bell.answer().await;
        assert_eq!(
            (rung.all, rung.queues.into_iter().collect::<Vec<_>>()),
            (false, vec!["a".into(), "b".into()])
        );
        bell.ring_all();
        assert!(bell.answer().await.all);
        let idle = tokio::time::timeout(std::time::Duration::from_millis(20), bell.answer()).await;
        assert!(idle.is_err(), "answered twice");
    }
}
