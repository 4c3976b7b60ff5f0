//! The workflow that makes a delivery the application's own: taken once, then carried out however long that takes.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use dbos_runtime::{Ctx, Error, ErrorKind, Target, Timestamp, Workflow, WorkflowRef};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::deliver::{Launch, Message};

pub(super) const NAME: &str = "dbos.webhook";
pub(super) const INBOX: WorkflowRef<Parcel, ()> = WorkflowRef::named(NAME);

/// The waits between two looks for a workflow that is not there yet, from the first to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// The workflow `dbos.webhook`, which [`Webhooks`](super::Webhooks) starts for each delivery. Register it with the
/// application's own:
///
/// ```
/// use dbos_axum::webhooks;
/// use dbos_runtime::Dbos;
///
/// let builder = Dbos::builder("shop").register(webhooks::inbox());
/// # drop(builder);
/// ```
pub fn inbox<S>() -> Inbox<S> {
    Inbox(PhantomData)
}

/// The type of [`inbox`], for an application with the state `S`.
pub struct Inbox<S>(PhantomData<fn() -> S>);

impl<S> fmt::Debug for Inbox<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inbox")
    }
}

/// What was delivered, as it is stored.
#[derive(Serialize, Deserialize)]
pub struct Parcel(pub(super) Task);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Task {
    /// The time is the one at which it is given up, however often the process was restarted.
    Send {
        message: Message,
        until: Timestamp,
    },
    Start(Launch),
}

/// Without what was sent.
impl fmt::Debug for Parcel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parcel")
    }
}

impl<S> Target for Inbox<S> {
    type Input = Parcel;
    type Output = ();
    type Error = Error;

    fn name(&self) -> &str {
        NAME
    }
}

impl<S: Send + Sync + 'static> Workflow for Inbox<S> {
    type State = S;

    // Part of the application's version: changed whenever the steps change.
    fn fingerprint(&self) -> &'static str {
        "dbos.webhook/1"
    }

    async fn run(ctx: Ctx<S>, Parcel(task): Parcel) -> Result<(), Error> {
        match task {
            Task::Send { message, until } => forward(&ctx, &message, until).await,
            Task::Start(launch) => {
                let id = launch.id(ctx.workflow_id())?;
                // Its owner is this workflow's.
                let start = ctx.start(launch.workflow, launch.input).id(id);
                match &launch.queue {
                    Some(queue) => start.queue(queue).await?,
                    None => start.await?,
                };
                Ok(())
            }
        }
    }
}

/// Sends a message as soon as its destination exists. When that takes too long, the workflow ends with the error.
async fn forward<S: Send + Sync + 'static>(
    ctx: &Ctx<S>,
    message: &Message,
    until: Timestamp,
) -> Result<(), Error> {
    let key = ctx.workflow_id();
    let deliver = ctx.step_with("deliver", |step| async move {
        let mut wait = FIRST_WAIT;
        loop {
            let send = step.send(&message.to, &message.body).idempotency_key(key.as_str());
            let sent = match &message.topic {
                Some(topic) => send.topic(topic).await,
                None => send.await,
            };
            let missing = match sent {
                Err(error) if error.kind() == ErrorKind::NonExistentWorkflow => error,
                sent => return sent,
            };
            let left = until.since(step.now());
            if left.is_zero() {
                tracing::error!(workflow.id = %key, %missing, "a delivery is given up");
                return Err(missing);
            }
            tracing::debug!(workflow.id = %key, wait_ms = wait.as_millis(), "a delivery waits for its workflow");
            tokio::select! {
                () = sleep(wait.min(left)) => {}
                () = step.cancellation().cancelled() => return Err(missing),
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    });
    deliver.await
}
