//! The values of one stream for one reader: history from the database, then the live end together with the others.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::super::shared::Shared;
use super::super::wait;
use super::tail::{At, StreamName, Tail, read};
use crate::error::{Error, Result};
use crate::ids::WorkflowId;
use crate::limits;
use crate::model::mailbox::Stored;
use crate::model::stream::{StreamEnd, StreamRun};

/// A caller's offset: the shared schema has numbers of 32 bits.
pub(super) fn offset(offset: u64) -> Result<i64> {
    let offset = i32::try_from(offset)
        .map_err(|_| Error::invalid(format!("stream offset {offset} is larger than {}", i32::MAX)))?;
    Ok(offset.into())
}

/// A place in a stream.
pub(super) struct Source {
    shared: Arc<Shared>,
    name: StreamName,
    offset: i64,
    /// What has been read and not yet been taken.
    run: Option<Arc<StreamRun>>,
    /// Where the stream was seen to be closed.
    closed: Option<(i64, StreamEnd)>,
    /// The live end, once the reader has come to it.
    tail: Option<watch::Receiver<Tail>>,
    /// Whether to wait for a database that is away as long as it takes, as workflows do.
    patient: bool,
}

/// What comes next in a stream.
pub(super) enum Next {
    Value(Value),
    End(StreamEnd),
    /// Nothing in time.
    Late,
}

/// A value at its offset, still in the run that was read.
pub(super) struct Value {
    pub(super) offset: i64,
    run: Arc<StreamRun>,
    index: usize,
}

impl Value {
    pub(super) fn of(run: &Arc<StreamRun>, index: usize) -> Self {
        let offset = run.from.saturating_add(i64::try_from(index).unwrap_or(i64::MAX));
        Self { offset, run: Arc::clone(run), index }
    }

    pub(super) fn stored(&self) -> Option<&Stored> {
        self.run.values.get(self.index)
    }

    /// As JSON on one line.
    pub(super) fn line(&self) -> Option<&str> {
        self.run.line(self.index)
    }
}

impl Source {
    pub(super) fn new(shared: &Arc<Shared>, id: &WorkflowId, key: &str) -> Result<Self> {
        limits::text("stream key", key)?;
        let name = StreamName { workflow: id.clone(), key: key.into() };
        Ok(Self {
            shared: Arc::clone(shared),
            name,
            offset: 0,
            run: None,
            closed: None,
            tail: None,
            patient: false,
        })
    }

    pub(super) fn from(self, offset: u64) -> Result<Self> {
        Ok(Self { offset: self::offset(offset)?, ..self })
    }

    pub(super) fn patient(self) -> Self {
        Self { patient: true, ..self }
    }

    /// The next value, or the end of the stream; waits for it, at most so long.
    ///
    /// Cancel safe: a value is taken when it is returned.
    pub(super) async fn next(&mut self, timeout: Option<Duration>) -> Result<Next> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if let Some(value) = self.take() {
                return Ok(Next::Value(value));
            }
            if let Some((_, end)) = self.closed.filter(|(at, _)| *at == self.offset) {
                return Ok(Next::End(end));
            }
            let Some(tail) = &mut self.tail else {
                // Boxed: a reader that waits for days does not keep the room of its looks.
                match Box::pin(self.catch_up()).await? {
                    Some(end) => return Ok(Next::End(end)),
                    None => continue,
                }
            };
            let at = tail.borrow_and_update().at(self.offset);
            match at {
                At::Run(run) => self.run = Some(run),
                At::Gone => self.tail = None,
                At::Over(over) => return over.map(Next::End),
                At::Later => {
                    let left = async {
                        match until {
                            Some(until) => tokio::time::sleep_until(until).await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        biased;
                        changed = tail.changed() => if changed.is_err() { self.tail = None },
                        // Late is what is not in the database by then, whatever the hints have told.
                        () = left => return Box::pin(self.look_once_more()).await,
                    }
                }
            }
        }
    }

    fn take(&mut self) -> Option<Value> {
        let run = self.run.take()?;
        let index = usize::try_from(self.offset.checked_sub(run.from)?).ok()?;
        if index >= run.values.len() {
            return None;
        }
        let value = Value { offset: self.offset, run, index };
        self.offset += 1;
        if index + 1 < value.run.values.len() {
            self.run = Some(Arc::clone(&value.run));
        }
        Some(value)
    }

    /// Reads on in the database, up to the live end. Gives the stream's end when it is over.
    async fn catch_up(&mut self) -> Result<Option<StreamEnd>> {
        let mut last_look = false;
        loop {
            let run = self.look(last_look).await?;
            let (next, is_empty, ended) = (run.next(), run.values.is_empty(), run.ended());
            let end = run.end();
            self.closed = run.closed.then_some((next, end));
            if !ended && !run.full && !run.closed {
                self.tail = Some(self.shared.streams.follow(&self.shared, &self.name, next));
            }
            if !is_empty {
                self.run = Some(run);
            }
            if !is_empty || self.tail.is_some() || self.closed.is_some() {
                return Ok(None);
            }
            // Once more after a terminal status is seen: it may be set from outside while the body still writes.
            if last_look {
                return Ok(Some(end));
            }
            last_look = true;
        }
    }

    async fn look_once_more(&mut self) -> Result<Next> {
        self.run = Some(self.look(true).await?);
        Ok(self.take().map_or(Next::Late, Next::Value))
    }

    async fn look(&self, alone: bool) -> Result<Arc<StreamRun>> {
        let (shared, name) = (&self.shared, &self.name);
        let run = if self.patient {
            wait::patiently(shared, || read(shared, name, self.offset)).await?.map(Arc::new)
        } else if alone {
            wait::briefly(shared, || read(shared, name, self.offset)).await?.map(Arc::new)
        } else {
            shared.streams.look(shared, name, self.offset).await?
        };
        run.ok_or_else(|| Error::no_workflow(name.workflow.as_str()))
    }
}
