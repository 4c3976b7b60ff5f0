//! Debouncing: many calls, one run, when it has been quiet for a while.

use std::sync::Arc;
use std::time::Duration;

use super::execution::Execution;
use super::options::Options;
use super::shared::{INTERNAL_QUEUE, Shared};
use super::{replay, step, wait};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::WorkflowId;
use crate::limits;
use crate::model::debounce::{Bounce, BounceStep, Bounced, STEP};
use crate::model::workflow::{self, NewWorkflow};

/// What a start says about being debounced.
#[derive(Clone, Debug)]
pub(crate) struct Debounced {
    pub(crate) key: String,
    pub(crate) period: Duration,
    pub(crate) at_most: Option<Duration>,
}

/// What a bounce leads to.
pub(crate) enum Next {
    /// This workflow was moved; the call is done.
    Moved(WorkflowId),
    /// Nobody holds the key: the workflow is to be enqueued.
    Enqueue,
    /// Whoever held the key was just let go: once more.
    Again,
}

impl Debounced {
    pub(crate) fn check(&self, options: &Options) -> Result<()> {
        limits::text("debounce key", &self.key)?;
        limits::duration("a debounce period", self.period)?;
        if self.period.is_zero() || self.at_most.is_some_and(|most| most.is_zero()) {
            return Err(Error::invalid("a debounce period must be longer than nothing"));
        }
        let against = [
            ("a deduplication id", options.deduplication_id.is_some()),
            ("a delay", options.delay.is_some()),
            ("a priority", options.priority.is_some()),
            ("a partition key", options.partition_key.is_some()),
            ("attaching to a duplicate", options.attach_to_duplicate),
            ("refusing an existing workflow", options.refuse_existing),
        ];
        match against.into_iter().find(|(_, given)| *given) {
            Some((what, _)) => Err(Error::invalid(format!("{what} and debouncing do not go together"))),
            None => Ok(()),
        }
    }

    /// The queue that the workflow waits on, unless another is said.
    pub(crate) const QUEUE: &str = INTERNAL_QUEUE;

    /// Every SDK spells it so; two workflows whose spellings meet are told apart by their names.
    pub(crate) fn deduplication_id(&self, name: &str) -> String {
        format!("{name}-{}", self.key)
    }

    /// Makes a row that later calls can move.
    pub(crate) fn apply(&self, new: &mut NewWorkflow, shared: &Shared) {
        let (id, now) = (self.deduplication_id(&new.name), shared.clock.now());
        if let workflow::Entry::Queued(queued) = &mut new.entry {
            let deadline = self.at_most.map(|most| now.after(most));
            let quiet = now.after(self.period);
            queued.delay_until = Some(deadline.map_or(quiet, |deadline| quiet.min(deadline)));
            queued.deduplication_id = Some(id);
            queued.debounce = Some(workflow::Debounce { deadline });
        }
    }

    /// Moves the delayed workflow of an earlier call, if there is one.
    pub(crate) async fn bounce(
        &self,
        shared: &Shared,
        new: &NewWorkflow,
        caller: Option<(&Arc<Execution>, i32)>,
    ) -> Result<Next> {
        let queued = new.queued().ok_or_else(|| Error::invalid("a debounced workflow needs a queue"))?;
        let (mut input, mut format) = (new.input.clone(), new.format.clone());
        shared.store.codec().seal_text(&mut input, &mut format)?;
        let bounce = Bounce {
            name: new.name.clone(),
            class_name: new.class_name.clone(),
            config_name: new.config_name.clone(),
            queue: queued.queue.clone(),
            deduplication_id: self.deduplication_id(&new.name),
            application: queued.application.clone(),
            input,
            format,
            delay_until: shared.clock.now().after(self.period),
            step: None,
        };
        let found = match caller {
            Some((execution, number)) => recorded(execution, number, bounce).await?,
            None => {
                let found = wait::briefly(shared, || shared.store.bounce(&bounce)).await?;
                found.unwrap_or_default()
            }
        };
        next(&found, new)
    }
}

/// The bounce as a step of a workflow: update and record are one commit.
async fn recorded(execution: &Arc<Execution>, number: i32, bounce: Bounce) -> Result<Bounced> {
    let row = execution.recorded(number);
    if let Some(row) = replay::look(row.as_ref(), &execution.fence.id, number, STEP)? {
        return step::answer(row, execution);
    }
    execution.live()?;
    let shared = &execution.shared;
    let step = BounceStep { fence: execution.fence.clone(), number, at: execution.now() };
    let bounce = Bounce { step: Some(step), ..bounce };
    if let Some(found) = wait::patiently(shared, || shared.store.bounce(&bounce)).await? {
        return Ok(found);
    }
    // Not ours any more; or our own record, whose acknowledgement was lost.
    execution.still_owner().await?;
    let row = execution.reread(number).await?;
    match replay::look(row.as_ref(), &execution.fence.id, number, STEP)? {
        Some(row) => step::answer(row, execution),
        None => Err(Error::new(ErrorKind::Database, "a debounce could not be recorded")),
    }
}

fn next(found: &Bounced, new: &NewWorkflow) -> Result<Next> {
    if let Some(id) = &found.bounced_workflow_id {
        return Ok(Next::Moved(WorkflowId::trusted(id.as_str())));
    }
    let Some(holder) = &found.holder_workflow_id else { return Ok(Next::Enqueue) };
    let application = new.queued().and_then(|queued| queued.application.as_deref());
    let ours = found.holder_application_name.is_none()
        || application.is_none()
        || found.holder_application_name.as_deref() == application;
    if found.holder_is_debounced == Some(true)
        && found.holder_workflow_name.as_deref() == Some(&new.name)
        && ours
    {
        return Ok(Next::Again);
    }
    let message = format!("workflow {holder} holds the debounce key, and is none that could be moved");
    Err(Error::new(ErrorKind::QueueDeduplicated, message).about(&WorkflowId::trusted(holder.as_str())))
}
