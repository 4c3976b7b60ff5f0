//! Races between durable calls: the first one wins, and the winner is recorded.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;

use super::context::Ctx;
use super::durable::Durable;
use super::events::{GetEventOptions, PublishOptions};
use super::execution::Execution;
use super::held::Branch;
use super::replay;
use super::signals::RecvOptions;
use super::step::StepOptions;
use crate::error::{DurableError, Error, ErrorKind};
use crate::model::step::StepRow;
use crate::model::write::Effects;
use crate::payload;

const SELECT: &str = "DBOS.select";

/// A race that has been set up and not yet awaited.
pub type Select<'a, T, E> = Durable<'a, Branches<'a, T, E>, T, E>;

/// The calls that race.
pub struct Branches<'a, T, E>(Vec<BoxFuture<'a, Result<T, E>>>);

impl<T, E> Default for Branches<'_, T, E> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, E> fmt::Debug for Branches<'_, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Branches").field(&self.0.len()).finish()
    }
}

/// The kinds of calls that may lose a race and leave nothing behind, told by their options: steps, sleeps, receives,
/// reads, results. A start or a send is none of them: once begun, it may have happened.
///
/// ```compile_fail
/// # use dbos_runtime::{Ctx, Error};
/// # async fn body(ctx: Ctx, _: ()) -> Result<(), Error> {
/// ctx.select().on(ctx.send(ctx.workflow_id(), "hello"), |()| ()).await
/// # }
/// ```
pub trait Raceable: sealed::Sealed {}

mod sealed {
    pub trait Sealed {}
}

impl sealed::Sealed for () {}
impl Raceable for () {}
impl<E> sealed::Sealed for StepOptions<E> {}
impl<E> Raceable for StepOptions<E> {}
impl sealed::Sealed for RecvOptions {}
impl Raceable for RecvOptions {}
impl sealed::Sealed for GetEventOptions {}
impl Raceable for GetEventOptions {}

impl sealed::Sealed for PublishOptions {}
impl Raceable for PublishOptions {}

impl<S, E: DurableError> Ctx<S, E> {
    /// Races durable calls against one another: the first to end wins, its result is the race's, and a replay lets the
    /// same one win. Add the calls with [`on`](Select::on).
    ///
    /// The winner and its own result are recorded together; nothing of a loser is. A call that fails first has won too:
    /// its error is the race's. Of calls that end at the same time the first added wins. Losing steps have their
    /// [cancellation token](crate::StepCtx::cancellation) fired and are dropped, and a losing receive takes no message.
    ///
    /// A `tokio::select!` over durable calls is no replacement: its choice is not recorded, and a replay may choose
    /// otherwise.
    ///
    /// # Errors
    ///
    /// The winner's error; [`ErrorKind::InvalidArgument`] without any call. A control signal wins no race and records
    /// nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use dbos_runtime::{Ctx, Error};
    /// enum Next {
    ///     Paid(u64),
    ///     Withdrawn,
    ///     Late,
    /// }
    ///
    /// async fn order(ctx: Ctx, _: ()) -> Result<u64, Error> {
    ///     let week = Duration::from_secs(7 * 24 * 3600);
    ///     let next = ctx
    ///         .select()
    ///         .on(ctx.recv("payment").timeout(week * 2), |cents| Next::Paid(cents.unwrap_or(0)))
    ///         .on(ctx.recv::<()>("withdrawal").timeout(week * 2), |_| Next::Withdrawn)
    ///         .on(ctx.sleep(week), |()| Next::Late)
    ///         .await?;
    ///     Ok(if let Next::Paid(cents) = next { cents } else { 0 })
    /// }
    /// ```
    pub fn select<'a, T: Send + 'a>(&self) -> Select<'a, T, E> {
        Durable::build(&self.execution, 1, |execution, number, branches: Branches<'a, T, E>| {
            run(execution, number, branches.0)
        })
    }
}

impl<'a, T: Send + 'a, E: From<Error> + Send + 'a> Select<'a, T, E> {
    /// Adds a call, and what its result means if it wins.
    pub fn on<O, U>(self, call: Durable<'a, O, U, E>, arm: impl FnOnce(U) -> T + Send + 'a) -> Self
    where
        O: Raceable + Default + Unpin + Send + 'a,
        U: 'a,
    {
        self.with(|branches| branches.0.push(Box::pin(async move { call.await.map(arm) })))
    }
}

async fn run<T, E>(
    execution: Arc<Execution>,
    number: i32,
    mut calls: Vec<BoxFuture<'_, Result<T, E>>>,
) -> Result<T, E>
where
    T: Send,
    E: DurableError,
{
    if calls.is_empty() {
        return Err(Error::invalid("a race needs at least one call").into());
    }
    let recorded = execution.recorded(number);
    if let Some(row) = replay::look(recorded.as_ref(), &execution.fence.id, number, SELECT)? {
        let winner: usize = payload::decode(row.output.as_deref().unwrap_or("null"))?;
        if winner >= calls.len() {
            return Err(fewer(&execution, number, winner, calls.len()).into());
        }
        return calls.swap_remove(winner).await;
    }
    execution.live()?;
    let started = execution.now();
    let branches = calls.into_iter().enumerate().map(|(place, call)| {
        let victory = StepRow::marker(number, SELECT, started, started).with_output(place.to_string());
        let branch = Branch::new(victory);
        let call = branch.scope(call);
        (branch, call)
    });
    let mut branches: Vec<_> = branches.collect();
    let (winner, result) = poll_fn(|cx| first(&mut branches, cx)).await;
    let (branch, _) = branches.swap_remove(winner);
    // The losers stop before the winner is known to anybody.
    drop(branches);
    decide(&execution, &branch, result.is_err()).await?;
    result
}

/// Polls the calls in order until one has ended.
fn first<F: Future + Unpin>(
    branches: &mut [(Arc<Branch>, F)],
    cx: &mut Context<'_>,
) -> Poll<(usize, F::Output)> {
    // One that has a write under way may have won already: the others do not run on behind its back.
    if let Some(place) = branches.iter().position(|(branch, _)| branch.is_deciding())
        && let Some(end) = poll_one(branches, place, cx)
    {
        return end;
    }
    (0..branches.len()).find_map(|place| poll_one(branches, place, cx)).unwrap_or(Poll::Pending)
}

/// Polls one call. `None`: the others may be polled too.
fn poll_one<F: Future + Unpin>(
    branches: &mut [(Arc<Branch>, F)],
    place: usize,
    cx: &mut Context<'_>,
) -> Option<Poll<(usize, F::Output)>> {
    let (branch, call) = branches.get_mut(place)?;
    match std::pin::Pin::new(call).poll(cx) {
        Poll::Ready(output) => Some(Poll::Ready((place, output))),
        Poll::Pending => branch.is_deciding().then_some(Poll::Pending),
    }
}

/// Records the winner with what it held back.
async fn decide(execution: &Arc<Execution>, branch: &Branch, failed: bool) -> Result<(), Error> {
    if branch.is_decided() {
        return Ok(());
    }
    execution.live()?;
    let held = branch.take();
    if held.is_none() && failed {
        // Nothing to be recorded: the call was refused, or the database is away. That is no outcome of a race.
        return Ok(());
    }
    let victory = branch.victory(execution.now());
    let record = match held {
        Some(mut record) => {
            record.steps.push(victory);
            record
        }
        None => execution.of_steps(vec![victory], Effects::default()),
    };
    execution.write(record).await
}

fn fewer(execution: &Execution, number: i32, winner: usize, calls: usize) -> Error {
    let id = &execution.fence.id;
    let message = format!(
        "call {winner} is recorded as the winner of the race at step {number} of workflow {id}, but there are only {calls}"
    );
    Error::new(ErrorKind::UnexpectedStep, message).about(id)
}
