//! Steps: run once, recorded, answered from the record ever after.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use tracing::field::Empty;

use super::context::Ctx;
use super::durable::Durable;
use super::execution::Execution;
use super::guard::{Place, Scoped};
use super::replay;
use super::retry::Retry;
use crate::error::{DurableError, Error, ErrorKind};
use crate::limits;
use crate::model::step::StepRow;
use crate::payload;
use crate::time::Timestamp;
use crate::trace;

/// A step that has been called and not yet awaited.
pub type Step<'a, T, E> = Durable<'a, StepOptions<E>, T, E>;

/// Says of an error whether another attempt may help.
type Predicate<E> = Box<dyn Fn(&E) -> bool + Send + Sync>;

/// What can still be set on a [`Step`].
pub struct StepOptions<E> {
    retry: Option<Retry>,
    retry_if: Option<Predicate<E>>,
    timeout: Option<Duration>,
}

impl<E> Default for StepOptions<E> {
    fn default() -> Self {
        Self { retry: None, retry_if: None, timeout: None }
    }
}

impl<E> std::fmt::Debug for StepOptions<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StepOptions")
            .field("retry", &self.retry)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// What a step's body may know of its step, and what it may do for its workflow while it runs.
#[derive(Clone)]
pub struct StepCtx {
    pub(super) execution: Arc<Execution>,
    pub(super) number: i32,
    attempt: u32,
    attempts: u32,
    key: Arc<str>,
    cancellation: CancellationToken,
    /// Whether the attempt has ended, whichever way.
    pub(super) over: Arc<AtomicBool>,
}

impl std::fmt::Debug for StepCtx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StepCtx")
            .field("number", &self.number)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// Tells what an attempt leaves behind that it is over, also when it was dropped.
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl StepCtx {
    /// The step's number in its workflow, from 1.
    pub fn number(&self) -> i32 {
        self.number
    }

    /// Which attempt this is, from 0.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How many attempts there may be in all.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The same text in every attempt, after every crash, and for no other step: hand it to the service that the body
    /// calls, and a repeated call has one effect.
    pub fn idempotency_key(&self) -> &str {
        &self.key
    }

    /// The time by the database's clock. It is not recorded: after a crash the body sees a later one.
    pub fn now(&self) -> Timestamp {
        self.execution.now()
    }

    /// Cancelled when the attempt is out of time or the workflow has to stop.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.cancellation
    }
}

impl<S, E: DurableError> Ctx<S, E> {
    /// Calls `body` as a step: at least once, and never again once its result is recorded.
    ///
    /// A crash repeats at most the step in flight. The result, also an error, is recorded and answers every replay.
    /// One attempt unless [`retry`](Step::retry) says otherwise. A panic of the body is its error.
    ///
    /// # Errors
    ///
    /// The body's error; [`ErrorKind::UnexpectedStep`] when another step is recorded at this number, and the control
    /// signals (cancelled, lost ownership, shutting down), after which the workflow should return.
    ///
    /// # Cancel safety
    ///
    /// Dropping the call drops the body in the middle. A result that is on its way to the database is still recorded.
    ///
    /// # Examples
    ///
    /// ```
    /// # use dbos_runtime::{Ctx, Error, Retry};
    /// # async fn fetch() -> Result<u32, Error> { Ok(7) }
    /// async fn body(ctx: Ctx, _: ()) -> Result<u32, Error> {
    ///     ctx.step("fetch", || fetch()).retry(Retry::times(3)).await
    /// }
    /// ```
    pub fn step<'a, T, F, Fut>(&self, name: &str, mut body: F) -> Step<'a, T, E>
    where
        T: Serialize + DeserializeOwned + Send + 'a,
        F: FnMut() -> Fut + Send + 'a,
        Fut: Future<Output = Result<T, E>> + Send + 'a,
    {
        self.step_with(name, move |_| body())
    }

    /// Like [`step`](Self::step), with a body that is told about its step.
    pub fn step_with<'a, T, F, Fut>(&self, name: &str, body: F) -> Step<'a, T, E>
    where
        T: Serialize + DeserializeOwned + Send + 'a,
        F: FnMut(StepCtx) -> Fut + Send + 'a,
        Fut: Future<Output = Result<T, E>> + Send + 'a,
    {
        if let Err(error) = limits::name("step name", name) {
            return Durable::refused(&self.execution, error);
        }
        let name = name.to_owned();
        Durable::build(&self.execution, 1, move |execution, number, options| {
            run(execution, number, name, options, body)
        })
    }

    /// Like [`step`](Self::step), for a body that can be called only once because it gives away what it captured. It has
    /// one attempt.
    pub fn step_once<'a, T, F, Fut>(&self, name: &str, body: F) -> Durable<'a, (), T, E>
    where
        T: Serialize + DeserializeOwned + Send + 'a,
        F: FnOnce(StepCtx) -> Fut + Send + 'a,
        Fut: Future<Output = Result<T, E>> + Send + 'a,
    {
        if let Err(error) = limits::name("step name", name) {
            return Durable::refused(&self.execution, error);
        }
        let name = name.to_owned();
        let mut body = Some(body);
        Durable::build(&self.execution, 1, move |execution, number, ()| {
            let once = move |step| {
                let body = body.take();
                async move {
                    match body {
                        Some(body) => body(step).await,
                        None => {
                            Err(Error::new(ErrorKind::StepNondeterminism, "a step that runs once ran twice")
                                .into())
                        }
                    }
                }
            };
            run(execution, number, name, StepOptions::default(), once)
        })
    }
}

impl<T, E> Step<'_, T, E> {
    /// Tries again after an error, as the policy says.
    pub fn retry(self, policy: Retry) -> Self {
        self.with(|options| options.retry = Some(policy))
    }

    /// Tries again only after errors for which this holds; any other is recorded at once.
    pub fn retry_if(self, predicate: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        self.with(|options| options.retry_if = Some(Box::new(predicate)))
    }

    /// How long each attempt may take. An attempt out of time is cancelled, dropped, and counts as failed with
    /// [`ErrorKind::StepTimeout`].
    pub fn timeout(self, per_attempt: Duration) -> Self {
        self.with(|options| options.timeout = Some(per_attempt))
    }
}

async fn run<T, E, F, Fut>(
    execution: Arc<Execution>,
    number: i32,
    name: String,
    options: StepOptions<E>,
    body: F,
) -> Result<T, E>
where
    T: Serialize + DeserializeOwned + Send,
    E: DurableError,
    F: FnMut(StepCtx) -> Fut + Send,
    Fut: Future<Output = Result<T, E>> + Send,
{
    let recorded = execution.recorded(number);
    if let Some(row) = replay::look(recorded.as_ref(), &execution.fence.id, number, &name)? {
        return answer(row, &execution);
    }
    if options.timeout.is_some_and(|timeout| timeout.is_zero()) {
        return Err(Error::invalid("a step's time limit must be longer than nothing").into());
    }
    execution.live()?;
    let started = execution.now();
    let span = tracing::info_span!(
        "step",
        otel.name = %name,
        dbos.operation.r#type = "step",
        dbos.operation.name = %name,
        dbos.operation.workflow_id = %execution.fence.id,
        otel.status_code = Empty,
    );
    let result = attempts(&execution, number, &name, &options, body).instrument(span.clone()).await;
    trace::ended(&span, result.is_ok());
    drop(span);
    execution.live()?;
    let row = StepRow::marker(number, name, started, execution.now());
    match result {
        Ok(value) => {
            let output = match payload::encode(&value) {
                Ok(output) => output,
                Err(error) => {
                    execution.record(vec![row.with_error(payload::encode_error(&error))]).await?;
                    return Err(error.into());
                }
            };
            execution.record(vec![row.with_output(output)]).await?;
            Ok(value)
        }
        Err(error) => {
            execution.record(vec![row.with_error(payload::encode_error(&error))]).await?;
            Err(error)
        }
    }
}

/// A recorded step's answer.
pub(crate) fn answer<T: DeserializeOwned, E: DurableError>(
    row: &StepRow,
    execution: &Execution,
) -> Result<T, E> {
    payload::readable(row.serialization.as_deref())?;
    match (&row.error, &row.output) {
        (Some(error), None) => Err(payload::decode_error(error)),
        (None, Some(output)) => Ok(payload::decode(output)?),
        _ => Err(Error::new(
            ErrorKind::Serialization,
            format!("step {} of workflow {} is recorded without a result", row.number, execution.fence.id),
        )
        .about(&execution.fence.id)
        .into()),
    }
}

async fn attempts<T, E, F, Fut>(
    execution: &Arc<Execution>,
    number: i32,
    name: &str,
    options: &StepOptions<E>,
    mut body: F,
) -> Result<T, E>
where
    E: DurableError,
    F: FnMut(StepCtx) -> Fut + Send,
    Fut: Future<Output = Result<T, E>> + Send,
{
    let attempts = options.retry.as_ref().map_or(1, Retry::attempts);
    let key: Arc<str> = format!("{}-{number}", execution.fence.id).into();
    let mut failures = Vec::new();
    let mut attempt = 0;
    loop {
        let cancellation = execution.interrupt.child_token();
        let (execution_too, key) = (Arc::clone(execution), Arc::clone(&key));
        let over = Arc::default();
        let step = StepCtx { execution: execution_too, number, attempt, attempts, key, cancellation, over };
        let error = match once(execution, name, options.timeout, step, &mut body).await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let Some(retry) = &options.retry else {
            return Err(error);
        };
        if options.retry_if.as_ref().is_some_and(|again| !again(&error)) || execution.latched().is_some() {
            return Err(error);
        }
        failures.push(error.to_string());
        let Some(wait) = retry.wait_after(attempt) else {
            let message = format!("step {name:?} failed {attempts} times; the last error: {error}");
            return Err(Error::new(ErrorKind::MaxStepRetriesExceeded, message)
                .with_attempts(failures)
                .into());
        };
        tracing::warn!(step.name = name, attempt, wait_ms = wait.as_millis(), %error, "a step is tried again");
        execution.sleep_until(execution.now().after(wait)).await?;
        attempt += 1;
    }
}

/// One attempt: in the step's place, with its panic caught and its time bounded.
async fn once<T, E, F, Fut>(
    execution: &Execution,
    name: &str,
    timeout: Option<Duration>,
    step: StepCtx,
    body: &mut F,
) -> Result<T, E>
where
    E: DurableError,
    F: FnMut(StepCtx) -> Fut + Send,
    Fut: Future<Output = Result<T, E>> + Send,
{
    let cancellation = step.cancellation.clone();
    let _over = Over(Arc::clone(&step.over));
    let attempt = async { body(step).await };
    let mut attempt = Scoped::new(execution.serial, Place::Step, AssertUnwindSafe(attempt).catch_unwind());
    // Declared after the body, so dropped before it: a body that is dropped in the middle hears of it first.
    let dropped = cancellation.clone().drop_guard();
    let finished = match timeout {
        None => (&mut attempt).await,
        Some(limit) => tokio::select! {
            biased;
            // By reference: `select!` drops what it owns before the other branch runs.
            finished = &mut attempt => finished,
            () = tokio::time::sleep(limit) => {
                // Told first, dropped after: what the body handed to a blocking thread hears of it.
                cancellation.cancel();
                let message = format!("step {name:?} took longer than {} s", limit.as_secs_f64());
                return Err(Error::new(ErrorKind::StepTimeout, message).into());
            }
        },
    };
    dropped.disarm();
    finished.unwrap_or_else(|panic| Err(payload::panicked(&*panic, &format!("step {name:?}")).into()))
}
