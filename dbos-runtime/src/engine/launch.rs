//! A start that this process runs itself as soon as its row is in the database.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::execution::{Completion, Execution, Facts};
use super::registry::Body;
use super::run;
use super::shared::Shared;
use crate::error::Result;
use crate::model::tenant;
use crate::model::workflow::{Fence, NewWorkflow};
use crate::model::write::{Receipt, Write};
use crate::trace::Trace;

/// What is needed to run a workflow once its row is there.
pub(super) struct Launch {
    shared: Arc<Shared>,
    body: Body,
    fence: Fence,
    facts: Facts,
    input: String,
}

/// What became of a start.
pub(super) enum Decided {
    /// The row is new, and its body is under way.
    Created(Arc<Completion>),
    Other(Receipt),
}

impl Launch {
    pub(super) fn prepare(shared: &Arc<Shared>, new: &NewWorkflow) -> Result<Self> {
        let body =
            shared.registry.body_of(&new.name, new.class_name.as_deref(), new.config_name.as_deref())?;
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
        let fence = Fence { id: new.id.clone(), token: new.token.clone() };
        Ok(Self { shared: Arc::clone(shared), body, fence, facts, input: new.input.clone() })
    }

    /// Inserts the row, and runs the workflow if it is new. `None` when the journal was shut down first.
    ///
    /// The body is started where the receipt comes in, in the journal. So the row never is without anybody who runs it,
    /// though the caller may leave in between, because a client hung up for example; and the body need not wait for the
    /// caller to wake up.
    pub(super) async fn start(self, write: Write, patience: Option<Instant>) -> Option<Decided> {
        let (told, decided) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let reply = move |receipt| {
            let decided = match receipt {
                Receipt::Done => Decided::Created(self.run()),
                receipt => Decided::Other(receipt),
            };
            let _ = told.send(decided);
        };
        shared.journal.hand_over(write, patience, reply).await?;
        decided.await.ok()
    }

    fn run(self) -> Arc<Completion> {
        let execution = Execution::new(Arc::clone(&self.shared), self.fence, self.facts);
        self.shared.running.add(&execution);
        let completion = Arc::clone(&execution.completion);
        let body = run::drive(execution, self.body, self.input);
        self.shared.tasks.workflows.spawn_on(body, &self.shared.handle);
        completion
    }
}
