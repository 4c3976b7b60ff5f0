//! Patches: new code beside old code, for workflows that began before it was there.

use std::sync::Arc;

use super::context::Ctx;
use super::durable::{Alone, Durable};
use super::execution::{Ahead, Execution};
use super::replay;
use crate::error::{DurableError, Error, ErrorKind};
use crate::limits;
use crate::model::step::StepRow;

/// The recorded name is this and the patch's own, the same in every SDK.
const PREFIX: &str = "DBOS.patch-";

/// A patch that has been asked for and not yet awaited.
pub type Patch<T, E> = Durable<'static, Alone, T, E>;

impl<S, E: DurableError> Ctx<S, E> {
    /// Whether this workflow runs the new code: `true` where no step has been recorded from here on, `false` where a
    /// workflow that began under the old code has one.
    ///
    /// The answer `true` is recorded, so it stays. Processes of the old and the new code have to share one
    /// [`application_version`](crate::Builder::application_version), or the new ones do not take up the old workflows.
    /// Await it at once, not beside other calls.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::PatchNondeterminism`] when other calls took step numbers before it was decided.
    ///
    /// # Examples
    ///
    /// ```
    /// # use dbos_runtime::{Ctx, Error};
    /// # async fn ship() -> Result<(), Error> { Ok(()) }
    /// # async fn weigh() -> Result<(), Error> { Ok(()) }
    /// async fn dispatch(ctx: Ctx, _: ()) -> Result<(), Error> {
    ///     if ctx.patch("weigh-first").await? {
    ///         ctx.step("weigh", || weigh()).await?;
    ///     }
    ///     ctx.step("ship", || ship()).await
    /// }
    /// ```
    pub fn patch(&self, name: &str) -> Patch<bool, E> {
        let marker = match marker(name) {
            Ok(marker) => marker,
            Err(error) => return Durable::refused(&self.execution, error),
        };
        let (taken, after) = match self.take_marker(&marker, Ahead::decides) {
            Ok(place) => place,
            Err(error) => return Durable::refused(&self.execution, error),
        };
        Durable::numbered(&self.execution, Ok(after), move |execution, after, _: Alone| async move {
            Ok(patch(&execution, taken, after, marker).await?)
        })
    }

    /// Takes the place of a [`patch`](Self::patch) once no workflow of the old code is left: passes over the recorded
    /// answers, and records none. When no workflow with such an answer is left either, it can go.
    pub fn deprecate_patch(&self, name: &str) -> Patch<(), E> {
        let place = marker(name).and_then(|marker| self.take_marker(&marker, |ahead| ahead == Ahead::Marker));
        match place {
            Err(error) => Durable::refused(&self.execution, error),
            Ok((taken, after)) => {
                Durable::numbered(&self.execution, Ok(after), move |execution, _, _: Alone| {
                    drop(taken.and_then(|number| execution.recorded(number)));
                    std::future::ready(Ok(()))
                })
            }
        }
    }

    /// The number of the marker, where one is to be taken, and the number that the next call will get.
    fn take_marker(
        &self,
        marker: &str,
        takes: impl FnOnce(Ahead) -> bool,
    ) -> Result<(Option<i32>, i32), Error> {
        // Decided here and not at the first poll: the history is at hand, and no other call can come between.
        let (ahead, next) = self.execution.ahead(marker)?;
        if takes(ahead) { Ok((Some(self.execution.claim(1)?), next + 1)) } else { Ok((None, next)) }
    }
}

fn marker(name: &str) -> Result<String, Error> {
    let marker = format!("{PREFIX}{name}");
    limits::name("patch name", name).and_then(|()| limits::name("patch name", &marker))?;
    Ok(marker)
}

async fn patch(
    execution: &Arc<Execution>,
    taken: Option<i32>,
    after: i32,
    marker: String,
) -> Result<bool, Error> {
    alone(execution, after, &marker)?;
    let Some(number) = taken else {
        return Ok(false);
    };
    let recorded = execution.recorded(number);
    if replay::look(recorded.as_ref(), &execution.fence.id, number, &marker)?.is_some() {
        return Ok(true);
    }
    execution.live()?;
    let now = execution.now();
    execution.record(vec![StepRow::marker(number, &marker, now, now)]).await?;
    // A replay answers without this wait: what was numbered meanwhile would be numbered otherwise then.
    alone(execution, after, &marker)?;
    Ok(true)
}

/// Refuses a patch beside which other calls have taken numbers.
fn alone(execution: &Execution, after: i32, marker: &str) -> Result<(), Error> {
    if execution.next() == after {
        return Ok(());
    }
    let name = marker.trim_start_matches(PREFIX);
    let message = format!("other calls took step numbers while the patch {name:?} was being decided");
    Err(Error::new(ErrorKind::PatchNondeterminism, message).about(&execution.fence.id))
}
