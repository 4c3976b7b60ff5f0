//! Claims what waits on queues, as far as their limits go, and hands it over to be run.
//!
//! ```text
//!   bell: a queue was filled, or has room again ──► one claim from that queue
//!   every second: tick, one statement           ──► one claim from each queue that it found ready
//! ```
//!
//! A queue that may have more rings the bell for itself. So between two claims from it come the tick and every other queue,
//! and each claim is made with the queue's settings as they are by then.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admit::admit;
use super::doubts::Doubts;
use super::load::Slot;
use super::peers::Peers;
use super::shared::{INTERNAL_QUEUE, Shared};
use crate::error::ErrorKind;
use crate::ids::{OwnerToken, WorkflowId};
use crate::model::queue::{Claim, Queue, QueueRow};
use crate::store::bell::Rung;
use crate::store::error::StoreError;

/// Workflows of one claim: enough to recover thousands in a second, few enough to leave other processes their share.
const MOST: u32 = 256;
/// Past so many running workflows of a queue, claims are paced, and wait while the journal is behind: what other
/// processes could run should not pile up here.
const PILE: usize = 1024;
const PACE: Duration = Duration::from_millis(50);
/// How soon a claim that met another process's is tried again, with chance added.
const RETRY: Duration = Duration::from_millis(4);

pub(crate) async fn dispatch(shared: Arc<Shared>) {
    let mut dispatcher = Dispatcher {
        names: shared.registry.claim_keys(),
        internal: Queue::new(INTERNAL_QUEUE),
        looked: HashMap::new(),
        due: HashMap::new(),
        // A launch rings the bell, and the first tick comes of that.
        next_tick: Instant::now() + shared.config.poll,
        ticks: 0,
        peers: Peers::default(),
        doubts: Doubts::default(),
        portions: HashMap::new(),
        schedules: None,
        shared,
    };
    while let Some(rung) = dispatcher.woken().await {
        dispatcher.turn(rung).await;
    }
}

struct Dispatcher {
    shared: Arc<Shared>,
    /// The registered workflows: nothing else is claimed, so what this process cannot run is left to others.
    names: Vec<String>,
    internal: Queue,
    /// When each queue was last looked at without a hint.
    looked: HashMap<String, Instant>,
    /// Queues that want another look soon.
    due: HashMap<String, Instant>,
    next_tick: Instant,
    ticks: u32,
    peers: Peers,
    doubts: Doubts,
    /// How many a claim from a queue takes, where more than that failed.
    portions: HashMap<String, u32>,
    /// What the last tick said of the schedules.
    schedules: Option<String>,
}

impl Dispatcher {
    /// What the bell was rung for, perhaps nothing but that it is time; `None` at the end.
    async fn woken(&self) -> Option<Rung> {
        let soonest = self.due.values().min().map_or(self.next_tick, |due| self.next_tick.min(*due));
        tokio::select! {
            biased;
            () = self.shared.tasks.stopped.cancelled() => None,
            rung = self.shared.wakeups.bell().answer() => Some(rung),
            () = tokio::time::sleep_until(soonest.into()) => Some(Rung::default()),
        }
    }

    /// One look at everything that wants one, so that nothing waits for anything else to have an end.
    async fn turn(&mut self, rung: Rung) {
        let mut queues = rung.queues;
        if rung.all || self.next_tick <= Instant::now() {
            queues.extend(self.tick().await);
        }
        let now = Instant::now();
        queues.extend(self.due.extract_if(|_, at| *at <= now).map(|(queue, _)| queue));
        for name in queues {
            if self.may_claim()
                && let Some(queue) = self.works_on(&name)
                && self.claim(&queue).await
            {
                self.shared.wakeups.bell().ring(&name);
            }
        }
    }

    /// The queues that have something for this process.
    async fn tick(&mut self) -> BTreeSet<String> {
        let shared = Arc::clone(&self.shared);
        // A little longer each time, by chance: processes that were launched together do not stay in step, and with the
        // rare look at the schedules it stays at a statement a second.
        let poll = shared.config.poll.mul_f64(1.0 + rand::random::<f64>() / 10.0);
        self.next_tick = Instant::now() + poll;
        // First, so that what nobody runs is not held to the deadline that it got with its claim.
        self.give_back().await;
        let changes = shared.queues.changes();
        self.ticks = self.ticks.wrapping_add(1);
        let own = if self.peers.is_due(self.ticks) { shared.presence.lock() } else { None };
        let asked = std::time::Instant::now();
        let tick = match shared.store.tick(&self.names, own).await {
            Ok(tick) => tick,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a look at the queues failed; the next one follows"
                );
                return BTreeSet::new();
            }
        };
        shared.clock.anchor(crate::time::Timestamp::from_millis(tick.now), asked);
        shared.queues.set(tick.queues.iter().map(QueueRow::queue), changes);
        if let Some(shortest) = shared.queues.shortest_interval() {
            self.next_tick = Instant::now() + poll.min(shortest.max(Duration::from_millis(10)));
        }
        if tick.more {
            self.next_tick = Instant::now();
        }
        if tick.schedules != self.schedules {
            self.schedules = tick.schedules;
            shared.rescheduled.notify_one();
        }
        for id in &tick.expired {
            tracing::info!(workflow.id = %id, "a workflow is out of time");
            if let Some(execution) = shared.running.get(&WorkflowId::trusted(id.as_str())) {
                execution.latch(ErrorKind::Cancelled);
            }
        }
        if let Some(peers) = tick.peers
            && let Err(error) = self.peers.judge(&shared, peers).await
        {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "the work of a dead peer was not taken up; the next look follows"
            );
        }
        let now = Instant::now();
        tick.ready.into_iter().filter(|queue| self.is_time_for(queue, now)).collect()
    }

    /// Whether a queue whose interval is longer than a tick wants to be looked at.
    fn is_time_for(&mut self, queue: &str, now: Instant) -> bool {
        let interval = self.shared.queues.get(queue).map(|queue| queue.polling_interval).unwrap_or_default();
        let looked = self.looked.get(queue).copied();
        // A little early rather than a whole tick late.
        let waited = looked.is_none_or(|looked| now + self.shared.config.poll / 2 >= looked + interval);
        if waited {
            self.looked.insert(queue.to_owned(), now);
        }
        waited
    }

    fn may_claim(&self) -> bool {
        self.shared.is_active() && self.shared.presence.is_held()
    }

    fn works_on(&self, name: &str) -> Option<Queue> {
        if name == INTERNAL_QUEUE {
            return Some(self.internal.clone());
        }
        let listen = &self.shared.config.listen;
        if listen.as_ref().is_some_and(|listen| !listen.iter().any(|queue| queue == name)) {
            return None;
        }
        self.shared.queues.get(name)
    }

    /// One claim; whether another one may find more.
    async fn claim(&mut self, queue: &Queue) -> bool {
        let shared = &self.shared;
        let load = shared.loads.of(&queue.name);
        if load > PILE && shared.journal.is_behind() {
            self.look_again(&queue.name, PACE);
            return false;
        }
        let portion = self.portions.get(&queue.name).copied().unwrap_or(MOST);
        let free = |most: u32| most.saturating_sub(u32::try_from(load).unwrap_or(u32::MAX));
        let room = queue.worker_concurrency.map_or(portion, |most| free(most).min(portion));
        if room == 0 {
            return false;
        }
        let loads = if queue.is_partitioned() { shared.loads.partitions_of(&queue.name) } else { Vec::new() };
        let (token, claim) =
            (shared.presence.token(), Claim { queue, names: &self.names, most: room, loads });
        let claimed = match shared.store.claim(&claim, &token).await {
            Ok(claimed) => claimed,
            Err(error) => {
                self.failed(queue, token, room, &error);
                return false;
            }
        };
        let count = claimed.len();
        if count > 0 && !shared.is_active() {
            // Deactivated while it was asked: somebody else shall have them.
            self.doubt(queue, token);
            return false;
        }
        for workflow in claimed {
            let slot = Slot::take(shared, queue, workflow.partition_key.clone());
            let (shared_too, token) = (Arc::clone(shared), token.clone());
            shared.tasks.workflows.spawn(async move { admit(shared_too, workflow, token, slot).await });
        }
        let full = u32::try_from(count) == Ok(room);
        if full && portion < MOST {
            // By a quarter: what is too large is met again less often than it is passed.
            self.portions.insert(queue.name.clone(), (portion + portion / 4 + 1).min(MOST));
        }
        if count > 0 && queue.has_rate_limit() {
            self.look_again(&queue.name, pace_of(queue));
        } else if full && load + count > PILE {
            self.look_again(&queue.name, PACE);
            return false;
        }
        full
    }

    fn failed(&mut self, queue: &Queue, token: OwnerToken, room: u32, error: &StoreError) {
        if matches!(error, StoreError::Contended(_)) {
            // Another process is claiming from the same queue. One of the two has succeeded.
            return self.look_again(&queue.name, RETRY.mul_f64(1.0 + 4.0 * rand::random::<f64>()));
        }
        tracing::warn!(
            error = error as &dyn std::error::Error,
            queue = %queue.name,
            workflows = room,
            "a claim failed; the next one takes half as many"
        );
        self.portions.insert(queue.name.clone(), (room / 2).max(1));
        if error.breaks_connection() {
            self.doubt(queue, token);
        } else if room > 1 {
            self.look_again(&queue.name, PACE);
        }
    }

    /// Has the next tick put back what a claim has taken.
    fn doubt(&mut self, queue: &Queue, token: OwnerToken) {
        let now = Instant::now();
        self.doubts.add(&queue.name, token, now);
        self.next_tick = self.next_tick.min(now + PACE);
    }

    /// Puts back what a claim took whose answer was lost.
    async fn give_back(&mut self) {
        let now = Instant::now();
        let mut due = self.doubts.due(now).into_iter();
        while let Some(doubt) = due.next() {
            match self.shared.store.give_back(&doubt.queue, &doubt.token).await {
                Ok(0) => self.doubts.nothing(doubt, now),
                Ok(rows) => {
                    tracing::info!(queue = %doubt.queue, rows, "a claim is undone");
                    self.shared.wakeups.bell().ring(&doubt.queue);
                }
                Err(error) => {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "a claim was not undone; trying again"
                    );
                    return self.doubts.missed(std::iter::once(doubt).chain(due));
                }
            }
        }
    }

    fn look_again(&mut self, queue: &str, after: Duration) {
        let at = Instant::now() + after;
        let due = self.due.entry(queue.to_owned()).or_insert(at);
        *due = (*due).min(at);
    }
}

/// How soon after a claim from a rate-limited queue there may be room again.
fn pace_of(queue: &Queue) -> Duration {
    let periods = [queue.rate_limit, queue.partition_rate_limit];
    let shortest =
        periods.into_iter().flatten().map(|limit| limit.period).min().unwrap_or(Duration::from_secs(1));
    shortest.clamp(Duration::from_millis(10), Duration::from_secs(1))
}
