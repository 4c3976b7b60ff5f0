//! A durable call: built, perhaps configured, awaited.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;

use super::execution::Execution;
use super::guard;
use crate::error::Error;

/// One durable call of a workflow, which took its step number when it was built.
///
/// Awaiting it replays the recorded result, or does the work and records it. Calls may be built in one order and
/// awaited in another, or together with `join!`: the numbers stay those of the building. `O` holds the options that can
/// still be set.
///
/// # Cancel safety
///
/// A call that is dropped before its result was recorded counts as not made, but its number is used up; drop it the
/// same way in every run. What had been handed to the database is finished.
#[must_use = "a durable call does nothing until it is awaited"]
pub struct Durable<'a, O, T, E> {
    execution: Arc<Execution>,
    state: State<'a, O, T, E>,
}

/// There is nothing to set on such a call, and it takes no part in a [`select`](crate::Ctx::select): it is decided where
/// it is called, or its effect cannot be held back.
#[derive(Debug, Default)]
pub struct Alone(());

type Run<'a, O, T, E> = Box<dyn FnOnce(O) -> BoxFuture<'a, Result<T, E>> + Send + 'a>;

enum State<'a, O, T, E> {
    Built(O, Run<'a, O, T, E>),
    Refused(Error),
    Running(BoxFuture<'a, Result<T, E>>),
    Done,
}

impl<'a, O: Default, T, E> Durable<'a, O, T, E> {
    /// A call that takes `numbers` step numbers, and runs with the first one.
    pub(crate) fn build<F>(
        execution: &Arc<Execution>,
        numbers: i32,
        run: impl FnOnce(Arc<Execution>, i32, O) -> F + Send + 'a,
    ) -> Self
    where
        F: Future<Output = Result<T, E>> + Send + 'a,
    {
        Self::numbered(execution, execution.claim(numbers), run)
    }

    /// A call whose number was taken before.
    pub(crate) fn numbered<F>(
        execution: &Arc<Execution>,
        number: Result<i32, Error>,
        run: impl FnOnce(Arc<Execution>, i32, O) -> F + Send + 'a,
    ) -> Self
    where
        F: Future<Output = Result<T, E>> + Send + 'a,
    {
        let state = match number {
            Err(error) => State::Refused(error),
            Ok(number) => {
                let execution = Arc::clone(execution);
                State::Built(O::default(), Box::new(move |options| Box::pin(run(execution, number, options))))
            }
        };
        Self { execution: Arc::clone(execution), state }
    }

    /// A call that is refused when it is awaited, and takes no number.
    pub(crate) fn refused(execution: &Arc<Execution>, error: Error) -> Self {
        Self { execution: Arc::clone(execution), state: State::Refused(error) }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut O)) -> Self {
        if let State::Built(options, _) = &mut self.state {
            change(options);
        }
        self
    }
}

impl<O: Unpin, T, E: From<Error>> Future for Durable<'_, O, T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, E>> {
        let this = &mut *self;
        // At every poll: a call that was moved into another task must not go on there.
        if let Err(error) = guard::in_body_of(this.execution.serial) {
            this.state = State::Done;
            return Poll::Ready(Err(error.into()));
        }
        let mut running = match std::mem::replace(&mut this.state, State::Done) {
            State::Built(options, run) => run(options),
            State::Running(running) => running,
            State::Refused(_) if this.execution.gives_up_on_the_body() => return Poll::Pending,
            State::Refused(error) => return Poll::Ready(Err(error.into())),
            State::Done => return Poll::Pending,
        };
        let poll = running.as_mut().poll(cx);
        if poll.is_pending() {
            this.state = State::Running(running);
        }
        poll
    }
}

impl<O, T, E> fmt::Debug for Durable<'_, O, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durable").field("workflow_id", &self.execution.fence.id).finish_non_exhaustive()
    }
}
