//! Group commit: hot writes from many callers, one transaction, one receipt each.
//!
//! ```text
//!   write() ──► lane inbox ──► gather what has arrived ──► apply as one transaction ──► receipts, then hints
//!                    ▲                                            │ connection lost, commit unknown
//!                    └── writes of one workflow: always this lane └──► reconnect, apply the same batch again
//! ```
//!
//! A lane takes what came in while its last commit was under way. There is no timer: an idle lane writes at once. The
//! lane owns its connection and its writes, so a caller that goes away changes nothing.

use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::failpoint::{self, Side};
use crate::ids::{OwnerToken, WorkflowId};
use crate::model::workflow::Fence;
use crate::model::write::{Receipt, Write};
use crate::payload::Codec;
use crate::store::error::StoreError;
use crate::store::traffic::{Carried, Traffic};
use crate::store::wakeups::Wakeups;

/// Rows of one batch. More would let one transaction hold the neighbours up.
const BATCH_ROWS: usize = 512;
/// Bytes of one batch; a single larger write is a batch of its own.
const BATCH_BYTES: usize = 4 << 20;
/// Writes that wait for one lane; past that, callers wait to hand theirs over.
const INBOX: usize = 4096;
/// How long one transaction may take before its connection is given up.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long a connection may take to close before it is dropped.
const CLOSING: Duration = Duration::from_secs(1);
const FIRST_BACKOFF: Duration = Duration::from_millis(20);
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);

/// One connection that commits batches.
pub(crate) trait Lane: Send + 'static {
    /// Connects if there is no connection.
    fn ready(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Commits the batch as one transaction and says what became of each write, in order.
    fn apply(&mut self, batch: &[Write]) -> impl Future<Output = Result<Vec<Receipt>, StoreError>> + Send;

    /// Drops the connection with whatever was open on it.
    fn disconnect(&mut self);

    /// Closes the connection; when it returns, the database has let go of it.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// The door that every hot write passes. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    lanes: Arc<[mpsc::Sender<Entry>]>,
    codec: Codec,
    traffic: Arc<Traffic>,
}

/// Is told what became of a write, in the lane: so it must be short.
type Reply = Box<dyn FnOnce(Receipt) + Send>;

struct Entry {
    write: Write,
    handed_over: Instant,
    /// Nobody waits any longer for a write that was not sent by then.
    patience: Option<Instant>,
    reply: Reply,
}

impl Journal {
    /// Starts one task a lane. They end when `stop` is cancelled and their inboxes are empty.
    pub(crate) fn start<L: Lane>(
        lanes: Vec<L>,
        codec: &Codec,
        wakeups: &Wakeups,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let traffic = Arc::new(Traffic::default());
        let lanes = lanes.into_iter().map(|lane| {
            let (inbox, entries) = mpsc::channel(INBOX);
            let worker = Worker {
                lane,
                entries,
                wakeups: wakeups.clone(),
                stop: stop.clone(),
                traffic: Arc::clone(&traffic),
                shared: false,
            };
            tasks.spawn(worker.run());
            inbox
        });
        Self { lanes: lanes.collect(), codec: codec.clone(), traffic }
    }

    /// Hands the write over and waits for what became of it, however long the database is away. `None` when the
    /// journal was shut down first.
    ///
    /// Boxed, so that a workflow which waits for days does not keep the room of its last write.
    ///
    /// Cancel safe: a write that was handed over is finished though nobody waits.
    pub(crate) fn write(&self, write: Write) -> BoxFuture<'_, Option<Receipt>> {
        Box::pin(self.ask(write, None))
    }

    /// Like [`write`](Self::write), but gives up with [`Receipt::Expired`] a write that could not be sent in time.
    pub(crate) fn write_within(&self, write: Write, patience: Duration) -> BoxFuture<'_, Option<Receipt>> {
        Box::pin(self.ask(write, Some(Instant::now() + patience)))
    }

    async fn ask(&self, write: Write, patience: Option<Instant>) -> Option<Receipt> {
        let mut receipt = self.submit(write, patience).await?.await.ok()?;
        self.codec.open_receipt(&mut receipt);
        Some(receipt)
    }

    /// Hands the write over; its receipt comes through the channel. Waits only while the lane's inbox is full.
    ///
    /// Cancel safe: a call that is dropped has handed nothing over.
    pub(crate) async fn submit(
        &self,
        write: Write,
        patience: Option<Instant>,
    ) -> Option<oneshot::Receiver<Receipt>> {
        let (told, receipt) = oneshot::channel();
        // The caller may leave; what was written stays written.
        let reply = move |receipt| drop(told.send(receipt));
        self.hand_over(write, patience, reply).await?;
        Some(receipt)
    }

    /// Like [`submit`](Self::submit), but the receipt goes to `reply`, whether or not the caller is still there. It is
    /// dropped when the journal is shut down first.
    pub(crate) async fn hand_over(
        &self,
        mut write: Write,
        patience: Option<Instant>,
        reply: impl FnOnce(Receipt) + Send + 'static,
    ) -> Option<()> {
        if let Err(error) = self.codec.seal(&mut write) {
            reply(Receipt::Unstorable(error));
            return Some(());
        }
        let lane = self.lane_of(write.workflow())?;
        lane.send(Entry { write, handed_over: Instant::now(), patience, reply: Box::new(reply) }).await.ok()
    }

    /// Whether more writes wait than the next commits take: more work would only wait longer.
    pub(crate) fn is_behind(&self) -> bool {
        self.waiting() > BATCH_ROWS
    }

    /// Writes that no lane has taken yet.
    pub(crate) fn waiting(&self) -> usize {
        self.lanes.iter().map(|lane| lane.max_capacity() - lane.capacity()).sum()
    }

    /// What the lanes have carried so far.
    pub(crate) fn carried(&self) -> Carried {
        self.traffic.carried()
    }

    fn lane_of(&self, workflow: &str) -> Option<&mpsc::Sender<Entry>> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(workflow);
        let index = hash.checked_rem(self.lanes.len() as u64)?;
        self.lanes.get(usize::try_from(index).ok()?)
    }
}

struct Worker<L> {
    lane: L,
    entries: mpsc::Receiver<Entry>,
    wakeups: Wakeups,
    stop: CancellationToken,
    traffic: Arc<Traffic>,
    /// Whether the last batch had more than one write.
    shared: bool,
}

impl<L: Lane> Worker<L> {
    async fn run(mut self) {
        self.serve().await;
        let _ = tokio::time::timeout(CLOSING, self.lane.close()).await;
    }

    async fn serve(&mut self) {
        let mut carried = None;
        loop {
            let first = match carried.take() {
                Some(entry) => entry,
                None => tokio::select! {
                    biased;
                    entry = self.entries.recv() => match entry { Some(entry) => entry, None => return },
                    () = self.stop.cancelled() => return,
                },
            };
            let (batch, rest) = self.gather(first).await;
            carried = rest;
            if self.commit(batch).await.is_none() {
                return;
            }
        }
    }

    /// What has arrived by now, within the bounds. Under load it yields while the batch still grows, so that the callers
    /// which the last commit woke get to hand over their next write; a lone caller is served at once.
    async fn gather(&mut self, first: Entry) -> (Batch, Option<Entry>) {
        let mut batch = Batch::default();
        batch.push(first);
        loop {
            let before = batch.writes.len();
            if self.shared {
                tokio::task::yield_now().await;
            }
            while let Ok(entry) = self.entries.try_recv() {
                if !batch.has_room_for(&entry.write) {
                    return (batch, Some(entry));
                }
                batch.push(entry);
            }
            if batch.writes.len() == before {
                self.shared = before > 1;
                return (batch, None);
            }
            self.shared = true;
        }
    }

    /// Commits the batch, one by one if the database refuses it as a whole. `None` when told to stop.
    async fn commit(&mut self, mut batch: Batch) -> Option<()> {
        self.connected(&mut batch).await?;
        // They may have stood behind a batch that was tried for long.
        batch.expire();
        if batch.writes.is_empty() {
            return Some(());
        }
        batch.pass(Side::Before);
        let begun = Instant::now();
        match self.persist(&batch.writes).await? {
            Ok(receipts) => {
                batch.pass(Side::After);
                self.traffic.add(batch.writes.len(), batch.waited(begun), begun.elapsed());
                batch.deliver(receipts, &self.wakeups);
            }
            Err(error) if batch.writes.len() == 1 => {
                let receipt = refusal(&error);
                batch.deliver(vec![receipt], &self.wakeups);
            }
            Err(_) => {
                for single in batch.singles() {
                    Box::pin(self.commit(single)).await?;
                }
            }
        }
        Some(())
    }

    /// Waits for a connection; meanwhile lets go of writes that nobody waits for any longer.
    async fn connected(&mut self, batch: &mut Batch) -> Option<()> {
        let mut backoff = FIRST_BACKOFF;
        loop {
            match tokio::time::timeout(DEADLINE, self.lane.ready()).await {
                Ok(Ok(())) => return Some(()),
                Ok(Err(error)) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the journal has no connection");
                }
                Err(_) => tracing::warn!("the journal's connection attempt took longer than {DEADLINE:?}"),
            }
            self.lane.disconnect();
            batch.expire();
            pause(&self.stop, &mut backoff).await?;
        }
    }

    /// Applies until the database has answered. `Err` is a refusal, which trying again does not cure.
    async fn persist(&mut self, writes: &[Write]) -> Option<Result<Vec<Receipt>, sqlx::Error>> {
        let mut backoff = FIRST_BACKOFF;
        loop {
            let error = match tokio::time::timeout(DEADLINE, self.attempt(writes)).await {
                Ok(Ok(receipts)) => return Some(Ok(receipts)),
                Ok(Err(StoreError::Rejected(error))) => return Some(Err(error)),
                Ok(Err(error)) => error,
                Err(_) => StoreError::Deadline(DEADLINE),
            };
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                writes = writes.len(),
                "a batch is tried again"
            );
            if error.breaks_connection() {
                self.lane.disconnect();
            }
            pause(&self.stop, &mut backoff).await?;
        }
    }

    async fn attempt(&mut self, writes: &[Write]) -> Result<Vec<Receipt>, StoreError> {
        self.lane.ready().await.map_err(StoreError::unreached)?;
        self.lane.apply(writes).await
    }
}

/// Waits before another try, a little longer each time. `None` when told to stop.
async fn pause(stop: &CancellationToken, backoff: &mut Duration) -> Option<()> {
    let wait = backoff.mul_f64(0.5 + rand::random::<f64>());
    *backoff = (*backoff * 2).min(LONGEST_BACKOFF);
    tokio::select! {
        () = tokio::time::sleep(wait) => Some(()),
        () = stop.cancelled() => None,
    }
}

/// A refusal by the database, as its caller sees it.
fn refusal(error: &sqlx::Error) -> Receipt {
    match error {
        sqlx::Error::Database(database) if database.is_foreign_key_violation() => Receipt::NoDestination,
        _ => {
            tracing::error!(error = error as &dyn std::error::Error, "the database refuses a write");
            Receipt::Rejected("the database refused the write".to_owned())
        }
    }
}

/// Writes with their callers, side by side.
#[derive(Default)]
struct Batch {
    writes: Vec<Write>,
    replies: Vec<(Reply, Option<Instant>)>,
    oldest: Option<Instant>,
    /// Whose ownership its writes assume. A stale execution's write does not go together with the owner's: a
    /// statement that finds the workflow owned would take both.
    owners: HashMap<WorkflowId, OwnerToken>,
    rows: usize,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, entry: Entry) {
        let (rows, bytes) = entry.write.weight();
        if let Some(fence) = entry.write.fence() {
            self.owners.insert(fence.id.clone(), fence.token.clone());
        }
        self.oldest.get_or_insert(entry.handed_over);
        self.rows += rows;
        self.bytes += bytes;
        self.writes.push(entry.write);
        self.replies.push((entry.reply, entry.patience));
    }

    fn has_room_for(&self, write: &Write) -> bool {
        let (rows, bytes) = write.weight();
        let rival = |fence: &Fence| self.owners.get(&fence.id).is_some_and(|owner| *owner != fence.token);
        self.rows + rows <= BATCH_ROWS
            && self.bytes + bytes <= BATCH_BYTES
            && !write.fence().is_some_and(rival)
    }

    /// How long its first write had waited by then.
    fn waited(&self, until: Instant) -> Duration {
        self.oldest.map_or(Duration::ZERO, |oldest| until.saturating_duration_since(oldest))
    }

    fn pass(&self, side: Side) {
        for write in &self.writes {
            failpoint::pass(write.boundary(), side);
        }
    }

    /// Only for writes that were never sent: one that was may have been committed.
    fn expire(&mut self) {
        let now = Instant::now();
        let is_over = |patience: Option<Instant>| patience.is_some_and(|patience| patience <= now);
        if !self.replies.iter().any(|(_, patience)| is_over(*patience)) {
            return;
        }
        let entries = std::mem::take(self);
        let handed_over = entries.oldest.unwrap_or(now);
        for (write, (reply, patience)) in entries.writes.into_iter().zip(entries.replies) {
            if is_over(patience) {
                reply(Receipt::Expired);
            } else {
                self.push(Entry { write, handed_over, patience, reply });
            }
        }
    }

    fn deliver(self, receipts: Vec<Receipt>, wakeups: &Wakeups) {
        for ((write, (reply, _)), receipt) in self.writes.iter().zip(self.replies).zip(receipts) {
            if matches!(receipt, Receipt::Done | Receipt::Sent(_)) {
                wakeups.announce(write);
            }
            reply(receipt);
        }
    }

    fn singles(self) -> impl Iterator<Item = Batch> {
        let handed_over = self.oldest.unwrap_or_else(Instant::now);
        self.writes.into_iter().zip(self.replies).map(move |(write, (reply, patience))| {
            let mut single = Batch::default();
            single.push(Entry { write, handed_over, patience, reply });
            single
        })
    }
}
