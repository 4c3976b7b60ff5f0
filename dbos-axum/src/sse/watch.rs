//! A workflow's status and steps as events. All who watch one workflow share its looks, one a second.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use dbos_runtime::{Dbos, Error, Filter, StepFilter, StepInfo, WorkflowId, WorkflowStatus};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::frame;
use super::kept::Kept;
use super::response::StreamSse;
use crate::access::Action;
use crate::api::Status;
use crate::ctx::DbosCtx;
use crate::ids::LastEventId;
use crate::problem::Problem;

/// From one look to the next.
const EVERY: Duration = Duration::from_secs(1);
/// Steps that run side by side are recorded in any order: so many of the last ones are looked at again.
const AGAIN: usize = 64;

/// The workflows that somebody watches through a layer.
#[derive(Default)]
pub(crate) struct Watches {
    watched: Mutex<HashMap<WorkflowId, Weak<Watched>>>,
}

/// What is known of a workflow, for all who watch it.
struct Watched {
    log: tokio::sync::Mutex<Log>,
}

#[derive(Default)]
struct Log {
    looked: Option<Instant>,
    status: Option<Arc<Standing>>,
    /// The events of the steps, in the order in which they were seen.
    steps: Vec<Bytes>,
    numbers: BTreeSet<i32>,
    /// Steps go away when a workflow is rewound; then everything is told anew.
    generation: u64,
}

/// Where the workflow stands.
struct Standing {
    text: Value,
    ended: bool,
    event: Bytes,
}

impl Watches {
    fn watch(&self, id: &WorkflowId) -> Arc<Watched> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = watched.get(id).and_then(Weak::upgrade) {
            return found;
        }
        watched.retain(|_, watched| watched.strong_count() > 0);
        let new = Arc::new(Watched { log: tokio::sync::Mutex::default() });
        watched.insert(id.clone(), Arc::downgrade(&new));
        new
    }
}

impl Log {
    /// Looks, unless somebody has just done so.
    async fn refresh(&mut self, dbos: &Dbos, id: &WorkflowId) -> Result<(), Error> {
        if self.looked.is_some_and(|looked| looked.elapsed() < EVERY) {
            return Ok(());
        }
        // The status first: what a workflow has recorded before its end is there when the end is.
        let mut found = dbos.workflows().list(&Filter::new().ids([id.as_str()])).await?;
        let status = Status::from(match found.pop() {
            Some(info) => info,
            None => dbos.info(id).await?,
        });
        let from = self.numbers.len().saturating_sub(AGAIN);
        let filter = StepFilter::new().without_output();
        let mut steps = dbos.workflows().steps(id, &filter.offset(from as u64)).await?;
        let (known, expected) = (&self.numbers, self.numbers.len() - from);
        let again = steps.iter().filter(|step| known.contains(&step.number)).count();
        if again < expected {
            self.numbers.clear();
            self.steps.clear();
            self.generation += 1;
        }
        // A step of a lower number, which took longer, has moved the others on: it is somewhere before.
        if again != expected {
            steps = dbos.workflows().steps(id, &filter).await?;
        }
        for step in steps {
            if self.numbers.insert(step.number) {
                self.steps.push(frame::event(None, "step", &told(&step)).into());
            }
        }
        self.stands(&status);
        self.looked = Some(Instant::now());
        Ok(())
    }

    fn stands(&mut self, status: &Status) {
        let standing = Standing {
            text: status.text().into(),
            ended: status.known().is_none_or(WorkflowStatus::is_terminal),
            event: frame::event(None, "status", status).into(),
        };
        if self.status.as_ref().is_none_or(|before| before.text != standing.text) {
            self.status = Some(Arc::new(standing));
        }
    }
}

fn told(step: &StepInfo) -> Value {
    json!({
        "step": step.number,
        "name": step.name,
        "child_workflow_id": step.child_workflow_id,
        "started_at": step.started_at.map(|at| at.to_string()),
        "completed_at": step.completed_at.map(|at| at.to_string()),
    })
}

/// One who watches.
struct Watcher {
    ctx: DbosCtx,
    id: WorkflowId,
    watched: Arc<Watched>,
    generation: u64,
    told: usize,
    status: Option<Arc<Standing>>,
    over: bool,
}

impl Watcher {
    /// The next events, waiting for them; nothing after the end.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        while !self.over {
            let watched = Arc::clone(&self.watched);
            let mut log = watched.log.lock().await;
            let looked = log.refresh(self.ctx.dbos(), &self.id).await;
            let piece = match looked {
                Ok(()) => self.news(&log),
                Err(error) => self.failed(error),
            };
            drop(log);
            if !piece.is_empty() {
                return Some((piece.into(), self));
            }
            if !self.over {
                tokio::time::sleep(EVERY).await;
            }
        }
        None
    }

    fn news(&mut self, log: &Log) -> Vec<u8> {
        if self.generation != log.generation {
            (self.generation, self.told) = (log.generation, 0);
        }
        let mut piece = Vec::new();
        if let Some(status) = log
            .status
            .as_ref()
            .filter(|status| self.status.as_ref().is_none_or(|before| !Arc::ptr_eq(before, status)))
        {
            piece.extend_from_slice(&status.event);
            self.status = Some(Arc::clone(status));
        }
        for step in log.steps.iter().skip(self.told) {
            piece.extend_from_slice(step);
        }
        self.told = log.steps.len();
        if let Some(status) = self.status.as_ref().filter(|status| status.ended) {
            self.over = true;
            piece.extend(frame::watch_end(self.told, &status.text));
        }
        piece
    }

    fn failed(&mut self, error: Error) -> Vec<u8> {
        self.over = true;
        if error.kind() == dbos_runtime::ErrorKind::ShuttingDown {
            return Vec::new();
        }
        frame::error(None, &Problem::from(error).within(&self.ctx.seen).into_json())
    }
}

impl DbosCtx {
    /// Follows a workflow to its end.
    pub(crate) async fn watch(&self, id: &WorkflowId, at: LastEventId) -> Result<StreamSse, Problem> {
        StreamSse::or_later(&self.seen, self.watching(id, at).await)
    }

    async fn watching(&self, id: &WorkflowId, at: LastEventId) -> Result<StreamSse, Problem> {
        let permit = self.enter()?;
        let info = self.look(id, Action::Read).await?;
        if at.saw_end() && info.status.is_none_or(WorkflowStatus::is_terminal) {
            return Ok(StreamSse::nothing_more(id));
        }
        let watcher = Watcher {
            ctx: self.clone(),
            id: id.clone(),
            watched: self.scope.settings.watches.watch(id),
            generation: 0,
            told: 0,
            status: None,
            over: false,
        };
        let events = Box::pin(stream::unfold(watcher, Watcher::next));
        Ok(StreamSse::open(id, Kept::new(events, permit, &self.draining)))
    }
}
