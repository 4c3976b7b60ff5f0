//! Where is this code running? A durable call made anywhere but in its own workflow's body could not be replayed.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::{Error, ErrorKind};

/// A place in which an execution's code is being polled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Body,
    Step,
    /// A step's body that holds a transaction.
    Transaction,
}

thread_local! {
    /// The execution whose code this thread is polling right now. Set for the length of a poll, so a task that the
    /// body spawned, or a call made after the poll, finds nothing.
    static HERE: Cell<Option<(u64, Place)>> = const { Cell::new(None) };
}

/// Whether the calling code is the body of this execution.
pub(crate) fn in_body_of(execution: u64) -> Result<(), Error> {
    let why = match HERE.get() {
        Some((here, Place::Body)) if here == execution => return Ok(()),
        Some((here, Place::Step | Place::Transaction)) if here == execution => {
            "inside a step: its result is recorded as one, whole"
        }
        Some(_) => "inside another workflow",
        None => "outside the workflow's own body, for example in a task that it spawned",
    };
    Err(Error::new(ErrorKind::Misplaced, format!("a durable call was made {why}")))
}

/// Refuses a write from inside a transaction step: where the database has one writer, it would wait for the transaction
/// that waits for it.
pub(crate) fn outside_of_transactions() -> Result<(), Error> {
    if matches!(HERE.get(), Some((_, Place::Transaction))) {
        return Err(Error::new(
            ErrorKind::Misplaced,
            "the runtime was asked to write inside a transaction step",
        ));
    }
    Ok(())
}

/// Refuses in a workflow's body what is not recorded as a step, so that a replay would do it again. `instead` says where
/// it belongs.
pub(crate) fn outside_of_bodies(instead: &str) -> Result<(), Error> {
    if matches!(HERE.get(), Some((_, Place::Body))) {
        return Err(Error::new(
            ErrorKind::Misplaced,
            format!("this is not possible inside a workflow: {instead}"),
        ));
    }
    outside_of_transactions()
}

/// A future whose polls count as code of an execution.
pub(crate) struct Scoped<F> {
    here: (u64, Place),
    future: Pin<Box<F>>,
}

impl<F: Future> Scoped<F> {
    pub(crate) fn new(execution: u64, place: Place, future: F) -> Self {
        Self { here: (execution, place), future: Box::pin(future) }
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _entered = Entered(HERE.replace(Some(self.here)));
        self.future.as_mut().poll(cx)
    }
}

/// Puts the previous place back, also when the poll panics.
struct Entered(Option<(u64, Place)>);

impl Drop for Entered {
    fn drop(&mut self) {
        HERE.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_body_of_the_same_execution_counts() {
        assert!(in_body_of(1).is_err());
        let inner = Scoped::new(1, Place::Step, async { in_body_of(1).unwrap_err().to_string() });
        let body = Scoped::new(1, Place::Body, async {
            assert!(in_body_of(1).is_ok());
            assert!(in_body_of(2).is_err());
            let inside = inner.await;
            assert!(in_body_of(1).is_ok(), "the place is restored after a step's poll");
            inside
        });
        assert!(body.await.contains("inside a step"));
        assert!(in_body_of(1).is_err());
    }
}
