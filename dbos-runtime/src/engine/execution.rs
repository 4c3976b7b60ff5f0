//! One execution of one workflow: its number line, its history, its right to write.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::shared::Shared;
use super::{guard, held, wait};
use crate::datasource::Witnesses;
use crate::error::{Error, ErrorKind};
use crate::ids::OwnerToken;
use crate::model::status::WorkflowStatus;
use crate::model::step::StepRow;
use crate::model::workflow::Fence;
use crate::model::write::{Effects, Receipt, Record, Write};
use crate::payload::Format;
use crate::time::Timestamp;
use crate::trace::Trace;

/// The engine's side of a running workflow.
pub(crate) struct Execution {
    pub(crate) shared: Arc<Shared>,
    pub(crate) fence: Fence,
    pub(crate) name: String,
    /// Tells executions of this process apart.
    pub(crate) serial: u64,
    pub(crate) user: Option<String>,
    /// The user's roles as they are stored.
    pub(crate) roles: Option<String>,
    /// To whom the user belongs; empty where that is nobody.
    pub(crate) tenant: Option<String>,
    /// The role in which the user runs it, where it requires one.
    pub(crate) assumed: OnceLock<String>,
    /// When the workflow is cancelled if it has not ended; children inherit it.
    pub(crate) deadline: Option<Timestamp>,
    /// Of the outcome; and of what it publishes and sends, where that is portable.
    pub(crate) format: Format,
    /// Where it was started.
    pub(crate) trace: Option<Trace>,
    /// The queue that it was claimed from, if that is one of the application's.
    pub(crate) queue: Option<String>,
    pub(crate) completion: Arc<Completion>,
    pub(crate) witnesses: Witnesses,
    /// Cancelled together with the latch: wakes sleeps and receives, and reaches step bodies.
    pub(crate) interrupt: CancellationToken,
    /// Cancelled when the body does not stop, however often it is told.
    pub(crate) abandoned: CancellationToken,
    /// Whether a value of a stream is awaited.
    pub(crate) reading: AtomicBool,
    history: Mutex<HashMap<i32, StepRow>>,
    next: AtomicI32,
    latch: OnceLock<Error>,
    /// Calls that were refused since then.
    refused: AtomicU32,
}

/// How often a body is told its control signal. One that goes on all the same, as a loop may that ignores errors, would
/// go on for ever and never give its thread away.
const TOLD: u32 = 100;

/// What an earlier execution recorded at the next step number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ahead {
    /// Nothing there or beyond.
    Nothing,
    /// The step that was asked for.
    Marker,
    /// Another step; or one beyond it, while the one at this number was still under way.
    Other,
}

impl Ahead {
    /// Whether new code begins here, now or in an earlier execution.
    pub(crate) fn decides(self) -> bool {
        self != Self::Other
    }
}

/// What an execution is told about its workflow.
pub(crate) struct Facts {
    pub(crate) name: String,
    pub(crate) user: Option<String>,
    /// The user's roles as they are stored.
    pub(crate) roles: Option<String>,
    pub(crate) tenant: Option<String>,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) history: Vec<StepRow>,
    pub(crate) format: Format,
    pub(crate) trace: Option<Trace>,
    pub(crate) queue: Option<String>,
}

/// Where the local waiters of a workflow find its end.
#[derive(Debug, Default)]
pub(crate) struct Completion {
    ended: OnceLock<Ended>,
    notify: Notify,
}

/// How an execution of this process ended.
#[derive(Clone, Debug)]
pub(crate) enum Ended {
    /// With the outcome that it recorded.
    Outcome { output: Option<Arc<str>>, error: Option<Arc<str>> },
    /// Without one: whoever owns the workflow now will record it.
    Elsewhere,
}

impl Completion {
    pub(crate) fn set(&self, ended: Ended) {
        let _ = self.ended.set(ended);
        self.notify.notify_waiters();
    }

    pub(crate) async fn wait(&self) -> Ended {
        loop {
            let notified = self.notify.notified();
            if let Some(ended) = self.ended.get() {
                return ended.clone();
            }
            notified.await;
        }
    }
}

impl Execution {
    pub(crate) fn new(shared: Arc<Shared>, fence: Fence, facts: Facts) -> Arc<Self> {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            interrupt: shared.tasks.interrupted.child_token(),
            shared,
            fence,
            name: facts.name,
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            user: facts.user,
            roles: facts.roles,
            tenant: facts.tenant,
            deadline: facts.deadline,
            format: facts.format,
            trace: facts.trace,
            queue: facts.queue,
            assumed: OnceLock::new(),
            completion: Arc::default(),
            witnesses: Witnesses::default(),
            reading: AtomicBool::new(false),
            history: Mutex::new(facts.history.into_iter().map(|row| (row.number, row)).collect()),
            next: AtomicI32::new(1),
            latch: OnceLock::new(),
            abandoned: CancellationToken::new(),
            refused: AtomicU32::new(0),
        })
    }

    /// Takes the next `count` step numbers for the calling code, and gives the first.
    pub(crate) fn claim(&self, count: i32) -> Result<i32, Error> {
        guard::in_body_of(self.serial)?;
        self.live()?;
        self.next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| next.checked_add(count))
            .map_err(|_| Error::new(ErrorKind::InvalidArgument, "the workflow has used up its step numbers"))
    }

    /// The number that the next call will get.
    pub(crate) fn next(&self) -> i32 {
        self.next.load(Ordering::Relaxed)
    }

    /// What is recorded at the next step number, which is not taken.
    pub(crate) fn ahead(&self, marker: &str) -> Result<(Ahead, i32), Error> {
        guard::in_body_of(self.serial)?;
        self.live()?;
        let next = self.next();
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let ahead = match history.get(&next) {
            Some(row) if row.name == marker => Ahead::Marker,
            None if !history.keys().any(|number| *number > next) => Ahead::Nothing,
            _ => Ahead::Other,
        };
        Ok((ahead, next))
    }

    /// The step recorded at this number by an earlier execution. Each is asked for once, so it is handed out.
    pub(crate) fn recorded(&self, number: i32) -> Option<StepRow> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).remove(&number)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// The control signal that ended this execution's right to go on.
    pub(crate) fn latched(&self) -> Option<&Error> {
        if self.latch.get().is_none() && self.shared.tasks.interrupted.is_cancelled() {
            self.latch(ErrorKind::ShuttingDown);
        }
        self.latch.get()
    }

    pub(crate) fn live(&self) -> Result<(), Error> {
        self.latched().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Ends this execution's right to go on: every later durable call fails with this, and no outcome is written.
    pub(crate) fn latch(&self, kind: ErrorKind) -> Error {
        let id = &self.fence.id;
        let message = match kind {
            ErrorKind::Cancelled => format!("workflow {id} was cancelled"),
            ErrorKind::LostOwnership => format!("workflow {id} was taken over by another execution"),
            _ => "the runtime is shutting down; the workflow will be recovered".to_owned(),
        };
        let error = self.latch.get_or_init(|| Error::new(kind, message).about(id)).clone();
        self.interrupt.cancel();
        // Its waiters need not wait for a body that has nothing more to say: the row knows.
        self.completion.set(Ended::Elsewhere);
        error
    }

    /// Whether a call is not even refused any more, because its body has been told often enough: it stays pending, and the
    /// body is dropped there. Asked once for each refusal.
    pub(crate) fn gives_up_on_the_body(&self) -> bool {
        let deaf = self.latch.get().is_some() && self.refused.fetch_add(1, Ordering::Relaxed) >= TOLD;
        if deaf {
            self.abandoned.cancel();
        }
        deaf
    }

    /// The number that a call has taken, or its refusal.
    pub(crate) async fn granted(&self, claimed: Result<i32, Error>) -> Result<i32, Error> {
        if claimed.is_err() && self.gives_up_on_the_body() {
            return std::future::pending().await;
        }
        claimed
    }

    /// Latches what the loss of the row means.
    pub(crate) fn lost(&self, status: Option<&str>) -> Error {
        let cancelled = status == Some(WorkflowStatus::Cancelled.as_str());
        self.latch(if cancelled { ErrorKind::Cancelled } else { ErrorKind::LostOwnership })
    }

    /// Waits until an instant, or until this execution has to stop.
    pub(crate) async fn sleep_until(&self, wake: Timestamp) -> Result<(), Error> {
        loop {
            let left = wake.since(self.now());
            if left.is_zero() {
                return self.live();
            }
            // In portions: the clock may be set meanwhile.
            tokio::select! {
                () = tokio::time::sleep(left.min(Duration::from_secs(60))) => {}
                () = self.interrupt.cancelled() => { self.live()?; return Err(self.latch(ErrorKind::ShuttingDown)); }
            }
        }
    }

    /// Records steps without effects, as the last thing that their call does; in a race, when the call has won.
    pub(crate) async fn record(&self, steps: Vec<StepRow>) -> Result<(), Error> {
        self.record_last(steps, Effects::default()).await
    }

    /// Records a step whose call goes on after it, for example to wait.
    pub(crate) async fn record_now(&self, step: StepRow) -> Result<(), Error> {
        self.write(self.of_steps(vec![step], Effects::default())).await
    }

    /// Records a step together with its effects.
    pub(crate) async fn record_effect(&self, step: StepRow, effects: Effects) -> Result<(), Error> {
        self.record_last(vec![step], effects).await
    }

    /// Applies effects of a step that is still running, without a record: if this execution owns the workflow.
    pub(crate) async fn effect(&self, number: i32, effects: Effects) -> Result<(), Error> {
        self.write(Record { fence: self.fence.clone(), number, steps: Vec::new(), effects }).await
    }

    async fn record_last(&self, steps: Vec<StepRow>, effects: Effects) -> Result<(), Error> {
        match held::keep(self.of_steps(steps, effects)) {
            Some(record) => self.write(record).await,
            None => Ok(()),
        }
    }

    /// A record whose effects are those of its first step.
    pub(crate) fn of_steps(&self, steps: Vec<StepRow>, effects: Effects) -> Record {
        let number = steps.first().map_or(0, |step| step.number);
        Record { fence: self.fence.clone(), number, steps, effects }
    }

    pub(crate) async fn write(&self, mut record: Record) -> Result<(), Error> {
        if self.format == Format::Portable {
            record.effects.make_portable();
        }
        let number = record.number;
        match self.shared.journal.write(Write::Record(record)).await {
            Some(Receipt::Done) => Ok(()),
            Some(receipt) => Err(self.refused(receipt, number)),
            None => Err(self.latch(ErrorKind::ShuttingDown)),
        }
    }

    /// What a receipt other than success means for the call that asked.
    pub(crate) fn refused(&self, receipt: Receipt, number: i32) -> Error {
        let id = &self.fence.id;
        match receipt {
            Receipt::Lost(status) => self.lost(status.as_deref()),
            Receipt::Taken(row) => Error::new(
                ErrorKind::StepNondeterminism,
                format!("step {number} of workflow {id} was recorded twice: {:?} is there already", row.name),
            )
            .about(id),
            Receipt::NoDestination => Error::new(
                ErrorKind::NonExistentWorkflow,
                "the workflow that the message was sent to does not exist",
            ),
            Receipt::Unstorable(error) => error.about(id),
            Receipt::Rejected(why) => Error::new(ErrorKind::Database, why).about(id),
            other => {
                Error::new(ErrorKind::Database, format!("the database gave an unexpected answer: {other:?}"))
            }
        }
    }

    /// Asks the database whether this execution still owns its row.
    pub(crate) async fn still_owner(&self) -> Result<(), Error> {
        let fences = [self.fence.clone()];
        let (_, displaced) = wait::patiently(&self.shared, || self.shared.store.displaced(&fences)).await?;
        displaced.into_iter().next().map_or(Ok(()), |(_, status)| Err(self.lost(status.as_deref())))
    }

    /// Reads a step of this workflow from the database.
    pub(crate) async fn reread(&self, number: i32) -> Result<Option<StepRow>, Error> {
        let id = self.fence.id.as_str();
        let history = wait::patiently(&self.shared, || self.shared.store.history(id)).await?;
        Ok(history.into_iter().find(|row| row.number == number))
    }

    pub(crate) fn token(&self) -> &OwnerToken {
        &self.fence.token
    }
}
