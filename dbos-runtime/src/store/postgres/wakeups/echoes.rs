//! The hints of this process that come back to it. Its own waiters have been woken by the commit itself already, and
//! each echo would have them look at the database a second time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Hints under way at most. More only pile up where a connection pooler lets LISTEN through without effect.
const MOST: usize = 8192;

/// What was told and is still to be heard again: channel and payload, with the number of times.
#[derive(Debug, Default)]
pub(in super::super) struct Echoes(Mutex<HashMap<(&'static str, String), usize>>);

impl Echoes {
    /// These are about to be told.
    pub(super) fn told(&self, hints: &[(&'static str, String)]) {
        let mut expected = self.lock();
        if expected.len() > MOST {
            expected.clear();
        }
        for hint in hints {
            *expected.entry(hint.clone()).or_default() += 1;
        }
    }

    /// Whether a hint that was heard is one of this process. Another process may have told the same one meanwhile; then
    /// the second of the two counts as the other's, so none is lost.
    pub(super) fn take(&self, channel: &'static str, payload: &str) -> bool {
        let mut expected = self.lock();
        let hint = (channel, payload.to_owned());
        let Some(times) = expected.get_mut(&hint) else { return false };
        *times -= 1;
        if *times == 0 {
            expected.remove(&hint);
        }
        true
    }

    /// What was told may not come back any more: an echo too many wakes somebody for nothing, one too few would not
    /// wake who should be.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(&'static str, String), usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hint_that_was_told_is_taken_once() {
        let echoes = Echoes::default();
        let told = [("streams", "a".to_owned()), ("queues", "a".to_owned())];
        echoes.told(&told);
        echoes.told(&told[..1]);
        assert!(!echoes.take("streams", "b"), "another process's");
        assert_eq!([(); 3].map(|()| echoes.take("streams", "a")), [true, true, false]);
        assert!(echoes.take("queues", "a"));
        echoes.told(&told);
        echoes.forget();
        assert!(!echoes.take("queues", "a"));
    }
}
