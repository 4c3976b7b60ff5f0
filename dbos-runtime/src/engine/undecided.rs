//! A start whose row is on its way into the database: whoever asked for it, somebody runs it once it is there.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::execution::{Completion, Execution, Facts};
use super::registry::Body;
use super::run;
use super::shared::Shared;
use crate::error::Result;
use crate::model::tenant;
use crate::model::workflow::{Fence, NewWorkflow};
use crate::model::write::Receipt;
use crate::trace::Trace;

/// A start between the hand-over of its row and the receipt.
///
/// Its caller may leave in between, for example because a client hung up. The row may be committed all the same, and
/// must not be left without anybody who runs it: so a dropped one is decided in a task of its own.
pub(super) struct Undecided {
    shared: Arc<Shared>,
    launch: Option<Launch>,
    receipt: Option<oneshot::Receiver<Receipt>>,
}

/// What is needed to run a workflow once its row is there.
struct Launch {
    body: Body,
    fence: Fence,
    facts: Facts,
    input: String,
}

pub(super) enum Decided {
    Created(Arc<Completion>),
    Other(Option<Receipt>),
}

impl Undecided {
    pub(super) fn prepare(shared: &Arc<Shared>, new: &NewWorkflow) -> Result<Self> {
        let facts = Facts {
            name: new.name.clone(),
            user: new.user.clone(),
            roles: new.roles.clone(),
            tenant: tenant::of_attributes(new.attributes.as_deref()),
            deadline: new.deadline,
            history: Vec::new(),
            format: new.format.clone(),
            trace: Trace::of_attributes(new.attributes.as_deref()),
            queue: None,
        };
        let launch = Launch {
            body: shared.registry.body_of(
                &new.name,
                new.class_name.as_deref(),
                new.config_name.as_deref(),
            )?,
            fence: Fence { id: new.id.clone(), token: new.token.clone() },
            facts,
            input: new.input.clone(),
        };
        Ok(Self { shared: Arc::clone(shared), launch: Some(launch), receipt: None })
    }

    pub(super) async fn decide(mut self, receipt: oneshot::Receiver<Receipt>) -> Decided {
        let receipt = self.receipt.insert(receipt).await.ok();
        let launch = self.launch.take();
        match (receipt, launch) {
            (Some(Receipt::Done), Some(launch)) => Decided::Created(launch.run(&self.shared)),
            (receipt, _) => Decided::Other(receipt),
        }
    }
}

impl Drop for Undecided {
    fn drop(&mut self) {
        let (Some(launch), Some(receipt)) = (self.launch.take(), self.receipt.take()) else { return };
        let shared = Arc::clone(&self.shared);
        // On the runtime's own handle: a future may be dropped where there is no runtime.
        let decide = async move {
            if matches!(receipt.await, Ok(Receipt::Done)) {
                launch.run(&shared);
            }
        };
        self.shared.tasks.workflows.spawn_on(decide, &self.shared.handle);
    }
}

impl Launch {
    fn run(self, shared: &Arc<Shared>) -> Arc<Completion> {
        let execution = Execution::new(Arc::clone(shared), self.fence, self.facts);
        shared.running.add(&execution);
        let completion = Arc::clone(&execution.completion);
        shared.tasks.workflows.spawn_on(run::drive(execution, self.body, self.input), &shared.handle);
        completion
    }
}
