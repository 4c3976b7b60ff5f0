//! Durable sleep: the instant of waking is recorded, and kept by every later execution.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::context::Ctx;
use super::durable::Durable;
use super::execution::Execution;
use super::replay;
use crate::error::{DurableError, Error};
use crate::limits;
use crate::model::step::StepRow;
use crate::payload;
use crate::time::{JITTER, Timestamp};

/// The recorded name, the same in every SDK.
pub(crate) const NAME: &str = "DBOS.sleep";

impl<S, E: DurableError> Ctx<S, E> {
    /// Sleeps through crashes and restarts: never shorter than asked, and a restart does not begin anew.
    ///
    /// Nothing is held while it sleeps. A zero duration returns at once and is not a step.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for more than 100 years; a control signal when
    /// the workflow has to stop.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use dbos_runtime::{Ctx, Error};
    /// async fn remind(ctx: Ctx, _: ()) -> Result<(), Error> {
    ///     ctx.sleep(Duration::from_secs(3 * 24 * 3600)).await
    /// }
    /// ```
    pub fn sleep(&self, duration: Duration) -> Durable<'static, (), (), E> {
        if let Err(error) = limits::duration("a sleep", duration) {
            return Durable::refused(&self.execution, error);
        }
        let numbers = i32::from(!duration.is_zero());
        Durable::build(&self.execution, numbers, move |execution, number, ()| async move {
            if numbers == 1 { Ok(sleep(&execution, number, duration).await?) } else { Ok(()) }
        })
    }
}

async fn sleep(execution: &Arc<Execution>, number: i32, duration: Duration) -> Result<(), Error> {
    let begun = Instant::now();
    let mut fresh = None;
    let wake = match recorded(execution, number)? {
        Some(wake) => wake,
        None => {
            execution.live()?;
            let now = execution.now();
            let wake = now.after(duration);
            execution.record_now(row(number, now, wake, wake)).await?;
            fresh = Some(duration);
            wake
        }
    };
    // A clock that shows milliseconds shows when one begins; the sleep is over once that of waking has ended.
    execution.sleep_until(wake.after(Duration::from_millis(1))).await?;
    // The clock may have been set on a little meanwhile.
    let missing = fresh.unwrap_or_default().saturating_sub(begun.elapsed()).min(JITTER);
    execution.sleep_until(execution.now().after(missing)).await
}

/// The recorded instant of waking, if the step is recorded.
pub(crate) fn recorded(execution: &Execution, number: i32) -> Result<Option<Timestamp>, Error> {
    let row = execution.recorded(number);
    let Some(row) = replay::look(row.as_ref(), &execution.fence.id, number, NAME)? else {
        return Ok(None);
    };
    let seconds: f64 = payload::decode(row.output.as_deref().unwrap_or("null"))?;
    #[expect(clippy::cast_possible_truncation, reason = "a float beyond the range saturates")]
    Ok(Some(Timestamp::from_millis((seconds * 1000.0).round() as i64)))
}

/// The step's row: the instant of waking in seconds, as Python records it.
pub(crate) fn row(number: i32, started: Timestamp, wake: Timestamp, completed: Timestamp) -> StepRow {
    let millis = wake.as_millis();
    StepRow::marker(number, NAME, started, completed).with_output(format!(
        "{}.{:03}",
        millis / 1000,
        millis % 1000
    ))
}
