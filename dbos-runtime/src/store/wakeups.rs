//! Hints that something may have changed. Rows are the truth: every waiter looks again by itself now and then.
//!
//! Within the process a commit wakes its waiters at once. Between processes the Postgres store sends the hints of
//! events and streams over the shared channels (messages have a trigger for that) and feeds what it hears into the same place.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};

use crate::model::write::{Hint, Touched, Write};
use crate::store::bell::Bell;

/// Hints that wait to be sent to other processes; past that they are dropped, and their readers' own look covers it.
#[cfg(feature = "postgres")]
const OUTBOX: usize = 8192;

/// The process's exchange of hints. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wakeups {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    waiters: Mutex<HashMap<(Hint, String), Waiters>>,
    outbox: Mutex<Option<mpsc::Sender<Touched>>>,
    /// Whether the hints of other processes reach this one.
    heard: AtomicBool,
    bell: Bell,
}

#[derive(Debug)]
struct Waiters {
    touched: Touched,
    count: usize,
    notify: Arc<Notify>,
}

/// A waiter's place. Subscribe, look, then [`wait`](Subscription::wait).
#[derive(Debug)]
pub(crate) struct Subscription {
    wakeups: Wakeups,
    key: (Hint, String),
    notify: Arc<Notify>,
}

impl Wakeups {
    /// From now on the hints for `touched` reach this subscription.
    pub(crate) fn subscribe(&self, touched: &Touched) -> Subscription {
        let key = (touched.hint(), touched.payload());
        let mut waiters = self.waiters();
        let entry = waiters.entry(key.clone()).or_insert_with(|| Waiters {
            touched: touched.clone(),
            count: 0,
            notify: Arc::new(Notify::new()),
        });
        entry.count += 1;
        entry.touched.widen(touched);
        let notify = Arc::clone(&entry.notify);
        drop(waiters);
        Subscription { wakeups: self.clone(), key, notify }
    }

    /// Tells everybody in this process, and through the outbox the others, what a commit touched.
    pub(crate) fn announce(&self, write: &Write) {
        for touched in write.touches() {
            self.poke(touched.hint(), touched.payload());
            if matches!(touched, Touched::Event { .. } | Touched::Stream { .. } | Touched::Queue(_))
                && let Some(outbox) = &*self.outbox()
            {
                // A full outbox loses a hint, never a row.
                let _ = outbox.try_send(touched);
            }
        }
    }

    /// Rung when there may be something on a queue.
    pub(crate) fn bell(&self) -> &Bell {
        &self.inner.bell
    }

    /// Says, in this process and in the others, that there may be something on a queue.
    pub(crate) fn announce_queue(&self, queue: &str) {
        self.inner.bell.ring(queue);
        if let Some(outbox) = &*self.outbox() {
            let _ = outbox.try_send(Touched::Queue(queue.to_owned()));
        }
    }

    /// Wakes the waiters of this process.
    pub(crate) fn poke(&self, hint: Hint, payload: String) {
        if hint == Hint::Queue {
            self.inner.bell.ring(&payload);
            return;
        }
        if let Some(waiters) = self.waiters().get(&(hint, payload)) {
            waiters.notify.notify_waiters();
        }
    }

    /// Wakes everybody: hints may have been lost.
    #[cfg(feature = "postgres")]
    pub(crate) fn poke_all(&self) {
        self.inner.bell.ring_all();
        for waiters in self.waiters().values() {
            waiters.notify.notify_waiters();
        }
    }

    /// Says whether hints of other processes come in.
    #[cfg(feature = "postgres")]
    pub(crate) fn set_heard(&self, heard: bool) {
        self.inner.heard.store(heard, Ordering::Relaxed);
    }

    /// Whether hints of other processes come in; if not, waiters have to look more often.
    pub(crate) fn heard(&self) -> bool {
        self.inner.heard.load(Ordering::Relaxed)
    }

    /// What is being waited for in this process.
    pub(crate) fn waited_for(&self) -> Vec<Touched> {
        self.waiters().values().map(|waiters| waiters.touched.clone()).collect()
    }

    /// Where hints for other processes go from now on.
    #[cfg(feature = "postgres")]
    pub(crate) fn outbox_to(&self) -> mpsc::Receiver<Touched> {
        let (sender, receiver) = mpsc::channel(OUTBOX);
        *self.outbox() = Some(sender);
        receiver
    }

    /// Closes the outbox: what is in it is still sent.
    pub(crate) fn close(&self) {
        *self.outbox() = None;
    }

    fn waiters(&self) -> MutexGuard<'_, HashMap<(Hint, String), Waiters>> {
        self.inner.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outbox(&self) -> MutexGuard<'_, Option<mpsc::Sender<Touched>>> {
        self.inner.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// Enlists for the next hint; a hint that comes between this call and the await is not lost.
    ///
    /// ```text
    /// let hint = subscription.hint();   // 1. enlist
    /// if look().await? { .. }           // 2. look
    /// hint.await                        // 3. wait
    /// ```
    pub(crate) fn hint(&self) -> tokio::sync::futures::OwnedNotified {
        // tokio counts the calls of `notify_waiters` from the creation of the future on, polled or not.
        Arc::clone(&self.notify).notified_owned()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut waiters = self.wakeups.waiters();
        if let Some(entry) = waiters.get_mut(&self.key) {
            entry.count -= 1;
            if entry.count == 0 {
                waiters.remove(&self.key);
            }
        }
    }
}
