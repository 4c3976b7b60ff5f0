//! Inside a race nothing is recorded before it is decided: what a branch would record is held back here.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;

use crate::model::step::StepRow;
use crate::model::write::Record;
use crate::time::Timestamp;

tokio::task_local! {
    /// The branch whose code is being polled. It does not reach tasks that the branch spawns.
    static HERE: Arc<Branch>;
}

/// One of several calls that race.
#[derive(Debug)]
pub(crate) struct Branch {
    /// Says that this branch has won.
    victory: StepRow,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Record>,
    deciding: bool,
    decided: bool,
}

impl Branch {
    pub(crate) fn new(victory: StepRow) -> Arc<Self> {
        Arc::new(Self { victory, state: Mutex::default() })
    }

    /// A future whose records are held back.
    pub(crate) fn scope<'a, F>(self: &Arc<Self>, future: F) -> BoxFuture<'a, F::Output>
    where
        F: Future<Output: 'a> + Send + 'a,
    {
        Box::pin(HERE.scope(Arc::clone(self), future))
    }

    /// Whether a write is under way with which this branch may win: until it is answered no other one can.
    pub(crate) fn is_deciding(&self) -> bool {
        self.state().deciding
    }

    /// Whether the victory of this branch is in the database.
    pub(crate) fn is_decided(&self) -> bool {
        self.state().decided
    }

    /// What the branch has held back.
    pub(crate) fn take(&self) -> Option<Record> {
        self.state().held.take()
    }

    pub(crate) fn victory(&self, now: Timestamp) -> StepRow {
        StepRow { completed: Some(now.as_millis()), ..self.victory.clone() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the record if the calling code is a branch of a race, and gives it back if not.
pub(crate) fn keep(record: Record) -> Option<Record> {
    let mut record = Some(record);
    let _ = HERE.try_with(|branch| {
        let mut state = branch.state();
        match (&mut state.held, record.take()) {
            (Some(held), Some(more)) => {
                held.steps.extend(more.steps);
                held.effects.events.extend(more.effects.events);
                held.effects.messages.extend(more.effects.messages);
                held.effects.streams.extend(more.effects.streams);
            }
            (held, first) => *held = first,
        }
    });
    record
}

/// A write that may decide the race by itself, because what it does cannot be held back.
pub(crate) struct Deciding(Option<Arc<Branch>>);

impl Deciding {
    /// From now on no other branch is polled until this is dropped. Outside of a race it is nothing.
    pub(crate) fn begin() -> Self {
        let branch = HERE.try_with(Arc::clone).ok();
        if let Some(branch) = &branch {
            branch.state().deciding = true;
        }
        Self(branch)
    }

    /// The row to write together with the effect.
    pub(crate) fn victory(&self, now: Timestamp) -> Option<Box<StepRow>> {
        self.0.as_ref().map(|branch| Box::new(branch.victory(now)))
    }

    /// The effect is done, and so the race is won.
    pub(crate) fn won(&self) {
        if let Some(branch) = &self.0 {
            branch.state().decided = true;
        }
    }
}

impl Drop for Deciding {
    fn drop(&mut self) {
        if let Some(branch) = &self.0 {
            branch.state().deciding = false;
        }
    }
}
