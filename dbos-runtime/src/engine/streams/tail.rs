//! The live end of a stream: one look for all readers that wait there.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared as SharedFuture, WeakShared};
use tokio::sync::watch;

use super::super::shared::Shared;
use super::super::wait;
use crate::error::{Error, Result};
use crate::ids::WorkflowId;
use crate::model::stream::{PAGE, StreamEnd, StreamRun};
use crate::model::write::Touched;
use crate::store::error::StoreError;

/// Bytes of recent values that a tail keeps for each of its readers, who may be a little behind; and at most.
const KEPT_A_READER: usize = 1 << 10;
const KEPT: usize = 1 << 20;

/// A stream of a workflow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StreamName {
    pub(crate) workflow: WorkflowId,
    pub(crate) key: Arc<str>,
}

/// The streams that somebody in this process reads.
#[derive(Default)]
pub(crate) struct Streams {
    tails: Mutex<HashMap<StreamName, watch::Sender<Tail>>>,
    looks: Mutex<HashMap<(StreamName, i64), WeakShared<Look>>>,
}

type Look = BoxFuture<'static, Result<Option<Arc<StreamRun>>>>;

/// What is known of a stream's end.
#[derive(Debug)]
pub(crate) struct Tail {
    /// Recent values without a gap, oldest first.
    recent: VecDeque<Arc<StreamRun>>,
    bytes: usize,
    /// The offset of the oldest value kept.
    start: i64,
    /// The offset after the newest value.
    next: i64,
    over: Option<Result<StreamEnd>>,
}

/// What a tail has for a reader at an offset.
pub(super) enum At {
    /// A run that holds its value.
    Run(Arc<StreamRun>),
    /// Not yet there.
    Later,
    /// No longer kept: the database has it.
    Gone,
    /// It will not come.
    Over(Result<StreamEnd>),
}

impl Tail {
    fn new(from: i64) -> Self {
        Self { recent: VecDeque::new(), bytes: 0, start: from, next: from, over: None }
    }

    pub(super) fn at(&self, offset: i64) -> At {
        if offset < self.start {
            return At::Gone;
        }
        if offset < self.next {
            let after = self.recent.partition_point(|run| run.from <= offset);
            return after
                .checked_sub(1)
                .and_then(|at| self.recent.get(at))
                .map_or(At::Gone, |run| At::Run(Arc::clone(run)));
        }
        self.over.clone().map_or(At::Later, At::Over)
    }

    fn push(&mut self, run: StreamRun, readers: usize) {
        let most = readers.saturating_mul(KEPT_A_READER).min(KEPT);
        self.next = run.next();
        self.bytes += bytes(&run);
        self.recent.push_back(Arc::new(run));
        // The newest run is kept however large it is: nobody has seen it yet.
        while self.bytes > most && self.recent.len() > 1 {
            let Some(oldest) = self.recent.pop_front() else { return };
            self.bytes -= bytes(&oldest);
            self.start = oldest.next();
        }
    }
}

fn bytes(run: &StreamRun) -> usize {
    run.values.iter().map(|stored| stored.value.len() + 64).sum()
}

impl Streams {
    /// The tail of a stream, for a reader that has read everything before `from`.
    pub(super) fn follow(&self, shared: &Arc<Shared>, name: &StreamName, from: i64) -> watch::Receiver<Tail> {
        let mut tails = self.tails();
        // One that is over is about to leave; one that began further on cannot say what is here.
        if let Some(tail) = tails.get(name)
            && let Some(reader) = Some(tail.subscribe()).filter(|reader| {
                let tail = reader.borrow();
                tail.over.is_none() && tail.start <= from
            })
        {
            return reader;
        }
        let (tail, reader) = watch::channel(Tail::new(from));
        tails.insert(name.clone(), tail.clone());
        drop(tails);
        let (shared_too, name) = (Arc::clone(shared), name.clone());
        shared.tasks.daemons.spawn_on(async move { run(&shared_too, name, tail).await }, &shared.handle);
        reader
    }

    /// Looks at a stream. Readers that ask for the same offset at the same time share one look.
    pub(super) async fn look(
        &self,
        shared: &Arc<Shared>,
        name: &StreamName,
        from: i64,
    ) -> Result<Option<Arc<StreamRun>>> {
        let place = (name.clone(), from);
        let look = {
            let mut looks = self.looks();
            match looks.get(&place).and_then(WeakShared::upgrade).filter(|look| look.peek().is_none()) {
                Some(look) => look,
                None => {
                    let (shared, name) = (Arc::clone(shared), name.clone());
                    let look: Look = Box::pin(async move {
                        let run = wait::briefly(&shared, || read(&shared, &name, from)).await;
                        shared.streams.looks().remove(&(name, from));
                        Ok(run?.map(Arc::new))
                    });
                    let look: SharedFuture<Look> = look.shared();
                    if let Some(weak) = look.downgrade() {
                        looks.insert(place, weak);
                    }
                    look
                }
            }
        };
        look.await
    }

    /// Takes the tail out, if it is still this one.
    fn remove(
        tails: &mut HashMap<StreamName, watch::Sender<Tail>>,
        name: &StreamName,
        tail: &watch::Sender<Tail>,
    ) {
        if tails.get(name).is_some_and(|other| other.same_channel(tail)) {
            tails.remove(name);
        }
    }

    fn tails(&self) -> MutexGuard<'_, HashMap<StreamName, watch::Sender<Tail>>> {
        self.tails.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn looks(&self) -> MutexGuard<'_, HashMap<(StreamName, i64), WeakShared<Look>>> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One look at the database.
pub(super) fn read<'a>(
    shared: &'a Shared,
    name: &'a StreamName,
    from: i64,
) -> impl Future<Output = std::result::Result<Option<StreamRun>, StoreError>> + 'a {
    shared.store.stream(name.workflow.as_str(), &name.key, from, PAGE)
}

/// Keeps a tail up to date until the stream is over or nobody reads it any more.
async fn run(shared: &Arc<Shared>, name: StreamName, tail: watch::Sender<Tail>) {
    tokio::select! {
        over = advance(shared, &name, &tail) => tail.send_modify(|tail| tail.over = Some(over)),
        () = deserted(shared, &name, &tail) => {}
        () = shared.tasks.stopped.cancelled() => {
            tail.send_modify(|tail| tail.over = Some(Err(wait::shutting_down())));
        }
    }
    Streams::remove(&mut shared.streams.tails(), &name, &tail);
}

/// Ends when there is no reader; none comes any more, because the tail cannot be found from then on.
async fn deserted(shared: &Shared, name: &StreamName, tail: &watch::Sender<Tail>) {
    loop {
        tail.closed().await;
        let mut tails = shared.streams.tails();
        if tail.receiver_count() == 0 {
            Streams::remove(&mut tails, name, tail);
            return;
        }
    }
}

/// Subscribe, look, wait; a value is pushed, and so is the producer's end.
async fn advance(shared: &Arc<Shared>, name: &StreamName, tail: &watch::Sender<Tail>) -> Result<StreamEnd> {
    let ended = shared.wakeups.subscribe(&Touched::Ended(name.workflow.clone()));
    let mut from = tail.borrow().next;
    let mut last_look = false;
    loop {
        let (id, key) = (name.workflow.as_str().to_owned(), (*name.key).to_owned());
        let appended = shared.wakeups.subscribe(&Touched::Stream { id, key, from });
        let hints = (appended.hint(), ended.hint());
        let Some(run) = wait::patiently(shared, || read(shared, name, from)).await? else {
            return Err(Error::no_workflow(name.workflow.as_str()));
        };
        let (is_empty, closed, full, terminal) = (run.values.is_empty(), run.closed, run.full, run.ended());
        let end = run.end();
        from = run.next();
        if !is_empty {
            tail.send_modify(|tail_now| tail_now.push(run, tail.receiver_count()));
        }
        // A status may be set from outside while the body still writes: so once more after it is seen.
        if closed || (terminal && is_empty && last_look) {
            return Ok(end);
        }
        last_look = terminal;
        if full || terminal {
            continue;
        }
        tokio::select! {
            () = hints.0 => {}
            () = hints.1 => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::mailbox::Stored;

    fn run(from: i64, values: usize, size: usize) -> StreamRun {
        let stored = Stored { value: "x".repeat(size), serialization: None };
        let rows = (from..).take(values).map(|offset| (offset, stored.clone())).collect();
        StreamRun::of(from, 1000, "PENDING", rows)
    }

    fn says(tail: &Tail, offset: i64) -> String {
        match tail.at(offset) {
            At::Run(run) => format!("run from {}", run.from),
            At::Later => "later".to_owned(),
            At::Gone => "gone".to_owned(),
            At::Over(_) => "over".to_owned(),
        }
    }

    #[test]
    fn a_tail_keeps_what_its_readers_may_still_want_and_the_newest_in_any_case() {
        let mut tail = Tail::new(5);
        assert_eq!(
            (says(&tail, 4), says(&tail, 5), says(&tail, 9)),
            ("gone".into(), "later".into(), "later".into())
        );
        tail.push(run(5, 2, 100), 2);
        tail.push(run(7, 1, 100), 2);
        assert_eq!(
            [5, 6, 7, 8].map(|at| says(&tail, at)),
            ["run from 5", "run from 5", "run from 7", "later"]
        );
        tail.push(run(8, 1, 10_000), 2);
        assert_eq!([7, 8, 9].map(|at| says(&tail, at)), ["gone", "run from 8", "later"]);
        tail.over = Some(Ok(run(9, 0, 0).end()));
        assert_eq!([8, 9, 100].map(|at| says(&tail, at)), ["run from 8", "over", "over"]);
    }
}
