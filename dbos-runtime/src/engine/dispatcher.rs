//! Claims what waits on queues, as far as their limits go, and hands it over to be run.
//!
//! ```text
//!   bell: a queue was filled, or has room again ──► claim from that queue
//!   every second: tick, one statement           ──► claim from the queues that it found ready
//! ```

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admit::admit;
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

/// How long a statement may go on after its connection was given up.
const DOUBT: Duration = Duration::from_secs(15);

/// What the loop woke up for.
enum Event {
    Tick,
    Rung(Rung),
    Due,
    Stop,
}

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
        doubts: Vec::new(),
        schedules: None,
        shared,
    };
    loop {
        match dispatcher.event().await {
            Event::Stop => return,
            Event::Tick => dispatcher.tick().await,
            Event::Rung(rung) if rung.all => dispatcher.tick().await,
            Event::Rung(rung) => dispatcher.claim_from(rung.queues).await,
            Event::Due => {
                let now = Instant::now();
                let due = dispatcher.due.extract_if(|_, at| *at <= now).map(|(queue, _)| queue).collect();
                dispatcher.claim_from(due).await;
            }
        }
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
    doubts: Vec<Doubt>,
    /// What the last tick said of the schedules.
    schedules: Option<String>,
}

/// A claim of which nobody runs what it took, if it took anything: its answer was lost, or came too late.
struct Doubt {
    queue: String,
    token: OwnerToken,
    /// By then the statement has ended, one way or the other.
    until: Instant,
}

impl Dispatcher {
    async fn event(&self) -> Event {
        let soonest = self.due.values().min().copied();
        let due = async {
            match soonest {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.shared.tasks.stopped.cancelled() => Event::Stop,
            () = tokio::time::sleep_until(self.next_tick.into()) => Event::Tick,
            () = due => Event::Due,
            rung = self.shared.wakeups.bell().answer() => Event::Rung(rung),
        }
    }

    async fn tick(&mut self) {
        let shared = Arc::clone(&self.shared);
        // A little longer each time, by chance: processes that were launched together do not stay in step, and with the
        // rare look at the schedules it stays at a statement a second.
        let poll = shared.config.poll.mul_f64(1.0 + rand::random::<f64>() / 10.0);
        self.next_tick = Instant::now() + poll;
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
                return;
            }
        };
        shared.clock.anchor(crate::time::Timestamp::from_millis(tick.now), asked);
        shared.queues.set(tick.queues.iter().map(QueueRow::queue), changes);
        if let Some(shortest) = shared.queues.shortest_interval() {
            self.next_tick = Instant::now() + poll.min(shortest.max(Duration::from_millis(10)));
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
        self.give_back().await;
        let now = Instant::now();
        let ready = tick.ready.into_iter().filter(|queue| self.is_time_for(queue, now)).collect();
        self.claim_from(ready).await;
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

    /// Claims from each queue in turn until nothing is left or allowed: no queue waits for another to be empty.
    async fn claim_from(&mut self, queues: BTreeSet<String>) {
        let mut queues: Vec<Queue> = queues.iter().filter_map(|name| self.works_on(name)).collect();
        while !queues.is_empty() && self.may_claim() {
            let mut more = Vec::new();
            for queue in queues {
                if self.claim(&queue).await {
                    more.push(queue);
                }
            }
            queues = more;
        }
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
        let room = queue
            .worker_concurrency
            .map_or(MOST, |most| most.saturating_sub(u32::try_from(load).unwrap_or(u32::MAX)).min(MOST));
        if room == 0 {
            return false;
        }
        let loads = if queue.is_partitioned() { shared.loads.partitions_of(&queue.name) } else { Vec::new() };
        let (token, claim) =
            (shared.presence.token(), Claim { queue, names: &self.names, most: room, loads });
        let claimed = match shared.store.claim(&claim, &token).await {
            Ok(claimed) => claimed,
            Err(error) => {
                self.failed(queue, token, &error);
                return false;
            }
        };
        let count = claimed.len();
        if count > 0 && !shared.is_active() {
            // Deactivated while it was asked: somebody else shall have them.
            self.doubt(queue, token, Duration::ZERO);
            return false;
        }
        for workflow in claimed {
            let slot = Slot::take(shared, queue, workflow.partition_key.clone());
            let (shared_too, token) = (Arc::clone(shared), token.clone());
            shared.tasks.workflows.spawn(async move { admit(shared_too, workflow, token, slot).await });
        }
        let full = u32::try_from(count) == Ok(room);
        if count > 0 && queue.has_rate_limit() {
            self.look_again(&queue.name, pace_of(queue));
        } else if full && load + count > PILE {
            self.look_again(&queue.name, PACE);
            return false;
        }
        full
    }

    fn failed(&mut self, queue: &Queue, token: OwnerToken, error: &StoreError) {
        if matches!(error, StoreError::Contended(_)) {
            // Another process is claiming from the same queue. One of the two has succeeded.
            self.look_again(&queue.name, RETRY.mul_f64(1.0 + 4.0 * rand::random::<f64>()));
        } else {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                queue = %queue.name,
                "a claim failed; the next look tries again"
            );
        }
        if error.breaks_connection() {
            self.doubt(queue, token, DOUBT);
        }
    }

    /// Has the next tick put back what a claim has taken, and those after it for so long.
    fn doubt(&mut self, queue: &Queue, token: OwnerToken, lasting: Duration) {
        let now = Instant::now();
        self.doubts.push(Doubt { queue: queue.name.clone(), token, until: now + lasting });
        self.next_tick = self.next_tick.min(now + PACE);
    }

    /// Puts back what a claim took whose answer was lost.
    async fn give_back(&mut self) {
        for doubt in &self.doubts {
            match self.shared.store.give_back(&doubt.queue, &doubt.token).await {
                Ok(0) => {}
                Ok(rows) => {
                    tracing::info!(queue = %doubt.queue, rows, "a claim is undone");
                    self.shared.wakeups.bell().ring(&doubt.queue);
                }
                Err(error) => {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "a claim was not undone; trying again"
                    );
                    return;
                }
            }
        }
        let now = Instant::now();
        self.doubts.retain(|doubt| doubt.until > now);
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
