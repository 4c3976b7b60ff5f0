//! What this process runs of each queue, which queues it knows, and the order in which it fills them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::shared::{INTERNAL_QUEUE, Shared};
use crate::model::queue::{PLACES_AHEAD, Queue};
use crate::time::Timestamp;

/// The executions of this process by queue and partition.
#[derive(Default)]
pub(crate) struct Loads {
    queues: Mutex<HashMap<String, Load>>,
}

#[derive(Default)]
struct Load {
    all: usize,
    partitions: HashMap<String, i64>,
}

impl Loads {
    pub(crate) fn of(&self, queue: &str) -> usize {
        self.lock().get(queue).map_or(0, |load| load.all)
    }

    pub(crate) fn partitions_of(&self, queue: &str) -> Vec<(String, i64)> {
        let queues = self.lock();
        let partitions = queues.get(queue).map(|load| &load.partitions);
        partitions.into_iter().flatten().map(|(key, load)| (key.clone(), *load)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Load>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An execution's place in the load of its queue. Giving it up makes room, and rings for whoever waits for it.
pub(crate) struct Slot {
    shared: Arc<Shared>,
    queue: String,
    partition: Option<String>,
    limited: bool,
}

impl Slot {
    pub(crate) fn take(shared: &Arc<Shared>, queue: &Queue, partition: Option<String>) -> Self {
        let mut queues = shared.loads.lock();
        let load = queues.entry(queue.name.clone()).or_default();
        load.all += 1;
        if let Some(key) = &partition {
            *load.partitions.entry(key.clone()).or_default() += 1;
        }
        drop(queues);
        let limited = queue.is_shared_out()
            || queue.worker_concurrency.is_some()
            || queue.partition_worker_concurrency.is_some();
        Self { shared: Arc::clone(shared), queue: queue.name.clone(), partition, limited }
    }

    /// The queue, if it is one of the application's.
    pub(crate) fn queue(&self) -> Option<String> {
        Some(&self.queue).filter(|queue| *queue != INTERNAL_QUEUE).cloned()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut queues = self.shared.loads.lock();
        if let Some(load) = queues.get_mut(&self.queue) {
            load.all = load.all.saturating_sub(1);
            if let Some(key) = &self.partition
                && let Some(count) = load.partitions.get_mut(key)
            {
                *count -= 1;
                if *count <= 0 {
                    load.partitions.remove(key);
                }
            }
        }
        drop(queues);
        if self.limited {
            self.shared.wakeups.bell().ring(&self.queue);
        }
    }
}

/// The registered queues, as they were at the last look.
#[derive(Default)]
pub(crate) struct Known {
    queues: Mutex<HashMap<String, Queue>>,
    changes: AtomicU64,
}

impl Known {
    pub(crate) fn get(&self, name: &str) -> Option<Queue> {
        self.lock().get(name).cloned()
    }

    /// How many changes this process has made so far.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// What a look found that began after so many changes. One made since would be undone by it, until the next look.
    pub(crate) fn set(&self, queues: impl Iterator<Item = Queue>, changes: u64) {
        let mut known = self.lock();
        if self.changes() == changes {
            *known = queues.map(|queue| (queue.name.clone(), queue)).collect();
        }
    }

    pub(crate) fn add(&self, queue: Queue) {
        let mut known = self.lock();
        self.changes.fetch_add(1, Ordering::SeqCst);
        known.insert(queue.name.clone(), queue);
    }

    /// The shortest interval at which a queue wants to be looked at.
    pub(crate) fn shortest_interval(&self) -> Option<std::time::Duration> {
        self.lock().values().map(|queue| queue.polling_interval).min()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Queue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The instants at which this process fills queues, set apart: what it enqueues first leaves a queue first, also within
/// a millisecond.
#[derive(Default)]
pub(crate) struct Order {
    last: AtomicI64,
}

impl Order {
    pub(crate) fn next(&self, now: Timestamp) -> Timestamp {
        let (now, end) = (now.as_millis(), Self::end(now).as_millis());
        let next = |last: i64| (last + 1).clamp(now, end);
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        Timestamp::from_millis(next(last.unwrap_or_default()))
    }

    /// What is enqueued from here on goes behind a place that somebody else has given away.
    pub(crate) fn follow(&self, place: Timestamp) {
        self.last.fetch_max(place.as_millis(), Ordering::Relaxed);
    }

    /// The last place that is given away by now.
    pub(crate) fn end(now: Timestamp) -> Timestamp {
        Timestamp::from_millis(now.as_millis().saturating_add(PLACES_AHEAD))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_keeps_its_order_and_stays_near_the_clock() {
        let order = Order::default();
        let now = Timestamp::from_millis(5_000);
        let burst: Vec<i64> = (0..100_000).map(|_| order.next(now).as_millis()).collect();
        assert_eq!(burst[..3], [5_000, 5_001, 5_002]);
        assert!(burst.is_sorted_by(|before, after| before < after));
        assert_eq!(order.next(Timestamp::from_millis(900_000)).as_millis(), 900_000);
        let farthest = (0..601_000).map(|_| order.next(Timestamp::from_millis(900_000)).as_millis()).max();
        assert_eq!(farthest, Some(900_000 + PLACES_AHEAD));
        order.follow(Timestamp::from_millis(9_000_100));
        order.follow(Timestamp::from_millis(9_000_050));
        assert_eq!(order.next(Timestamp::from_millis(9_000_000)).as_millis(), 9_000_101);
    }
}
