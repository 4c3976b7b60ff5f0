//! What a delivery means to the application.

use std::fmt;

use dbos_runtime::{Arguments, Error, Start, Target, WorkflowId};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::principal::IntoPrincipal;
use crate::problem::{self, Problem};
use crate::scope::{SUB, segment};

/// The user of what nobody owns.
const USER: &str = "dbos.webhook";

/// What is to be done about a delivery; the closure of a source returns one.
///
/// # Examples
///
/// ```
/// use dbos_axum::webhooks::Deliver;
/// # use dbos_runtime::{Ctx, Error, workflow};
/// # #[workflow] async fn refund(_: Ctx, charge: String) -> Result<(), Error> { Ok(()) }
/// use serde::Deserialize;
/// use serde_json::Value;
///
/// #[derive(Deserialize)]
/// struct Event {
///     r#type: String,
///     order: String,
///     data: Value,
/// }
///
/// fn deliver(event: Event) -> Deliver {
///     match event.r#type.as_str() {
///         "payment.succeeded" => Deliver::send(event.order, "payment", &event.data),
///         "charge.disputed" => Deliver::start(refund, event.order),
///         _ => Deliver::ignore(),
///     }
/// }
/// # drop(deliver);
/// ```
#[must_use = "nothing is delivered unless the closure of the source returns it"]
pub struct Deliver {
    pub(super) order: Result<Order, Problem>,
}

pub(super) enum Order {
    Send(Message),
    Start(Launch),
    Ignore,
}

/// A message to a workflow.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Message {
    pub(super) to: WorkflowId,
    pub(super) topic: Option<String>,
    pub(super) body: Value,
}

/// A workflow that is to be started.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Launch {
    pub(super) workflow: Named,
    pub(super) input: Arguments,
    pub(super) id: Option<WorkflowId>,
    pub(super) queue: Option<String>,
    pub(super) owner: Owner,
}

/// On whose behalf a workflow runs.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Owner {
    pub(super) user: String,
    pub(super) tenant: Option<String>,
    pub(super) roles: Vec<String>,
}

impl Owner {
    /// Nobody who could ask for it over HTTP: no principal has an empty tenant. The ids of deliveries can be guessed.
    pub(super) fn nobody() -> Self {
        Self { user: USER.to_owned(), tenant: Some(String::new()), roles: Vec::new() }
    }

    /// The start, on their behalf.
    pub(super) fn own<T, E>(&self, start: Start<T, E>) -> Start<T, E> {
        let start = start.authenticated_user(&self.user).authenticated_roles(&self.roles);
        match &self.tenant {
            Some(tenant) => start.authenticated_tenant(tenant),
            None => start,
        }
    }
}

/// A workflow without its types.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Named {
    name: String,
    class: Option<String>,
    instance: Option<String>,
}

impl Target for Named {
    type Input = Arguments;
    type Output = Value;
    type Error = Error;

    fn name(&self) -> &str {
        &self.name
    }

    fn class_name(&self) -> Option<&str> {
        self.class.as_deref()
    }

    fn config_name(&self) -> Option<&str> {
        self.instance.as_deref()
    }
}

impl Launch {
    /// The id of the workflow that this delivery starts. No delivery's own id has the separator, so the two never meet,
    /// nor do the ids of their children.
    pub(super) fn id(&self, delivery: &WorkflowId) -> Result<WorkflowId, Error> {
        match &self.id {
            Some(id) => Ok(id.clone()),
            None => WorkflowId::parse(format!("{delivery}{SUB}{}", segment(self.workflow.name()))),
        }
    }
}

impl Deliver {
    /// Sends a message to the workflow of that id. The topic is a name, or `None` for messages without one.
    ///
    /// An id or a topic that breaks the rules for them is answered with 400.
    pub fn send<'t, T: Serialize + ?Sized>(
        to: impl TryInto<WorkflowId, Error: Into<Error>>,
        topic: impl Into<Option<&'t str>>,
        body: &T,
    ) -> Self {
        let message = || {
            let (to, topic) = (to.try_into().map_err(Into::into)?, topic.into());
            // The rule for a topic is that for an id.
            if topic.is_some_and(|topic| WorkflowId::parse(topic).is_err()) {
                let rule = "A topic is 1 to 512 bytes without control characters, and without white space around it.";
                return Err(Problem::of(problem::INVALID_ARGUMENT).with_detail(rule));
            }
            // As the one argument of a call, whatever its type.
            let body = Arguments::of(&(body,))
                .map_err(|error| unencodable(&error))?
                .positional
                .pop()
                .unwrap_or_default();
            Ok(Order::Send(Message { to, topic: topic.map(ToOwned::to_owned), body }))
        };
        Self { order: message() }
    }

    /// Starts a workflow, once for a delivery. Its id is made from the delivery's, unless [`id`](Self::id) is said.
    #[expect(clippy::needless_pass_by_value, reason = "a start reads as the call of the workflow")]
    pub fn start<W: Target>(workflow: W, input: W::Input) -> Self {
        let launch = || {
            let named = Named {
                name: workflow.name().to_owned(),
                class: workflow.class_name().map(ToOwned::to_owned),
                instance: workflow.config_name().map(ToOwned::to_owned),
            };
            let input = Arguments::of(&input).map_err(|error| unencodable(&error))?;
            Ok(Order::Start(Launch { workflow: named, input, id: None, queue: None, owner: Owner::nobody() }))
        };
        Self { order: launch() }
    }

    /// Does nothing: for events that are of no interest. Their sender gets the same answer as for all others.
    pub fn ignore() -> Self {
        Self { order: Ok(Order::Ignore) }
    }

    /// The id of the workflow that is to be started. Deliveries with one id start one workflow between them.
    ///
    /// An id that breaks the rules for ids is answered with 400. Nothing to do with what is sent.
    pub fn id(mut self, id: impl TryInto<WorkflowId, Error: Into<Error>>) -> Self {
        if let Ok(Order::Start(launch)) = &mut self.order {
            match id.try_into() {
                Ok(id) => launch.id = Some(id),
                Err(error) => self.order = Err(Problem::from(error.into())),
            }
        }
        self
    }

    /// On whose behalf the workflow that is to be started runs: then they see it in the
    /// [API about workflows](crate::WorkflowApi). Unless said, nobody does. Nothing to do with what is sent.
    pub fn owner(mut self, who: &impl IntoPrincipal) -> Self {
        if let Ok(Order::Start(launch)) = &mut self.order {
            let who = who.principal();
            if let Some(user) = who.user() {
                let (tenant, roles) = (who.tenant().map(ToOwned::to_owned), who.roles().to_vec());
                launch.owner = Owner { user: user.to_owned(), tenant, roles };
            }
        }
        self
    }

    /// The queue on which the workflow that is to be started waits. Nothing to do with what is sent.
    pub fn queue(mut self, queue: &str) -> Self {
        if let Ok(Order::Start(launch)) = &mut self.order {
            launch.queue = Some(queue.to_owned());
        }
        self
    }
}

/// What the application hands over is its own, so this is nothing that the sender could mend.
fn unencodable(error: &Error) -> Problem {
    tracing::error!(%error, "what a delivery is mapped to cannot be stored as JSON");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR)
}

impl fmt::Debug for Deliver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.order {
            Ok(Order::Send(message)) => f
                .debug_struct("Send")
                .field("to", &message.to)
                .field("topic", &message.topic)
                .finish_non_exhaustive(),
            Ok(Order::Start(launch)) => {
                f.debug_struct("Start").field("workflow", &launch.workflow.name).finish_non_exhaustive()
            }
            Ok(Order::Ignore) => f.write_str("Ignore"),
            Err(problem) => f.debug_tuple("Refused").field(problem).finish(),
        }
    }
}

/// What a source's closure may return: a [`Deliver`], or a `Result` of one with any error that is a [`Problem`].
pub trait IntoDeliver {
    /// What is to be done, or the problem with which the delivery is answered.
    ///
    /// # Errors
    ///
    /// The problem.
    fn into_deliver(self) -> Result<Deliver, Problem>;
}

impl IntoDeliver for Deliver {
    fn into_deliver(self) -> Result<Deliver, Problem> {
        Ok(self)
    }
}

impl<E: Into<Problem>> IntoDeliver for Result<Deliver, E> {
    fn into_deliver(self) -> Result<Deliver, Problem> {
        self.map_err(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use dbos_runtime::WorkflowRef;
    use serde_json::json;

    use super::*;

    const REPORT: WorkflowRef<(String, bool), Value> = WorkflowRef::named("report");

    #[test]
    fn what_is_handed_over_survives_being_stored() {
        let Ok(Order::Send(message)) = Deliver::send("w-1", "topic", &("a", 1)).order else {
            panic!("no message")
        };
        let stored = serde_json::to_value(&message).unwrap();
        assert_eq!(stored, json!({"to": "w-1", "topic": "topic", "body": ["a", 1]}));

        let start = Deliver::start(REPORT, ("2026-11".to_owned(), true)).queue("reports");
        let Ok(Order::Start(launch)) = start.order else { panic!("no start") };
        let stored = serde_json::to_value(&launch).unwrap();
        assert_eq!(stored["input"], json!({"positionalArgs": ["2026-11", true], "namedArgs": {}}));
        let back: Launch = serde_json::from_value(stored).unwrap();
        assert_eq!(back.input, launch.input);
        let delivery = WorkflowId::parse("wh:shop:d-1").unwrap();
        assert_eq!(back.id(&delivery).unwrap().as_str(), "wh:shop:d-1!report");
    }

    #[test]
    fn what_cannot_be_handed_over_is_a_problem() {
        let status = |deliver: Deliver| deliver.order.err().map(|problem| problem.status().as_u16());
        assert_eq!(status(Deliver::send("w-1", None, &f64::NAN)), Some(500));
        assert_eq!(status(Deliver::send("", None, &1)), Some(400));
        assert_eq!(status(Deliver::send("w-1", "", &1)), Some(400));
        assert_eq!(status(Deliver::send("w-1", "t".repeat(513).as_str(), &1)), Some(400));
        assert_eq!(status(Deliver::send("x".repeat(513), None, &1)), Some(400));
        assert_eq!(status(Deliver::start(REPORT, (String::new(), true)).id(" ")), Some(400));
        assert_eq!(status(Deliver::start(REPORT, (String::new(), true)).id("r-1")), None);
        assert_eq!(status(Deliver::ignore().id(" ")), None);
    }
}
