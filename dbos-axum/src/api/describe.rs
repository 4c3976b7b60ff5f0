//! What the operations do, for the OpenAPI document.

use http::StatusCode;
use serde_json::Value;
use utoipa::openapi::path::Parameter;

use super::WorkflowApi;
use super::exposed::Exposures;
use super::operation::{Operation, ROUTES};
use super::options::StartOption;
use super::status::Status;
use crate::openapi::parameters::{
    idempotency_key, integer, last_event_id, one_of, position, prefer, query, text,
};
use crate::openapi::schemas::{Event, Events, Outcome, Page, Pending, Sent, Started, Unpublished};
use crate::openapi::{About, Described, OpenApi, SecurityScheme};
use crate::problem;

const ID: &str = "dbos-workflow-id";
const REPLAYED: &str = "idempotent-replayed";
const EXPIRES: &str = "idempotency-expires";
const LATER: &str = "retry-after";
const PREFERENCE: &str = "preference-applied";
const OF_A_STREAM: &[&str] = &[ID, "cache-control", "vary", "x-accel-buffering"];
/// What can be asked about a workflow of which an answer names the id.
const ABOUT_IT: &[&str] = &[
    "getWorkflow",
    "getResult",
    "getEvents",
    "getEvent",
    "sendMessage",
    "sendMessageToTopic",
    "cancelWorkflow",
];

/// What the document says of the API as a whole.
pub(super) fn about() -> About {
    About {
        title: "Workflows",
        description: "Durable workflows: started once per idempotency key, followed, answered and cancelled by those \
            who started them.",
        security: Vec::new(),
    }
}

impl<E> WorkflowApi<E> {
    /// Says in the OpenAPI document how callers authenticate; of several schemes, one will do. `E` decides, whatever
    /// is said here.
    pub fn security(mut self, name: &str, scheme: SecurityScheme) -> Self {
        self.about.security.push((name.to_owned(), scheme));
        self
    }

    /// The OpenAPI 3.1 document of the router, with the layer's [`api_at`](crate::DbosLayer::api_at) as its server.
    ///
    /// The router serves it to everybody at `GET /openapi.json`, with the path where that was asked for as its server.
    pub fn openapi(&self) -> OpenApi {
        self.about.document(ROUTES, |operation| operation.describe(&self.exposures), self.layer.api())
    }
}

impl Operation {
    /// What it does.
    fn describe(self, exposures: &Exposures) -> Described {
        let waiting = "With `Prefer: wait`, after it at the latest.";
        match self {
            Self::Start => start(exposures),
            Self::Status => Described::new("getWorkflow", "Where a workflow stands.")
                .answers::<Status>(StatusCode::OK, "Where it stands.")
                .refuses(&[problem::NOT_FOUND]),
            Self::Result => Described::new("getResult", "How a workflow ended.")
                .details("With `Prefer: wait` it waits for the end.")
                .takes(prefer())
                .answers::<Outcome>(StatusCode::OK, "It has ended, one way or another.")
                .headers(&[ID, PREFERENCE])
                .answers::<Pending>(StatusCode::ACCEPTED, "It has not ended.")
                .also(waiting)
                .headers(&[ID, LATER, PREFERENCE])
                .refuses(&[problem::NOT_FOUND]),
            Self::Events => Described::new("getEvents", "All that a workflow has published.")
                .answers::<Events>(StatusCode::OK, "Its events by their keys.")
                .headers(&[ID])
                .refuses(&[problem::NOT_FOUND]),
            Self::Event => Described::new("getEvent", "What a workflow has published under a key.")
                .details("With `Prefer: wait` it waits for it. A published `null` is a value.")
                .takes(prefer())
                .answers::<Event>(StatusCode::OK, "It is there.")
                .headers(&[ID, PREFERENCE])
                .answers::<Unpublished>(StatusCode::ACCEPTED, "It has not been published yet.")
                .also(waiting)
                .headers(&[ID, LATER, PREFERENCE])
                .refuses(&[problem::NOT_FOUND, problem::EVENT_NEVER_SET]),
            Self::Send => send(Described::new("sendMessage", "Sends a workflow a message without a topic.")),
            Self::SendToTopic => {
                send(Described::new("sendMessageToTopic", "Sends a workflow a message on a topic."))
            }
            Self::Cancel => Described::new("cancelWorkflow", "Cancels a workflow.")
                .details("It stops at its next step; a step that is running may finish, but is not recorded.")
                .answers::<Status>(StatusCode::ACCEPTED, "It is cancelled.")
                .refuses(&[problem::NOT_FOUND, problem::ALREADY_ENDED, problem::CROSS_SITE]),
            Self::Stream => stream(),
            Self::Watch => Described::new("watchWorkflow", "A workflow's status and steps, as they change.")
                .takes(last_event_id())
                .takes(after())
                .streams("Each change, then `end`.")
                .headers(OF_A_STREAM)
                .ends(StatusCode::NO_CONTENT, "The client has seen the end.")
                .headers(OF_A_STREAM)
                .plainly(StatusCode::NOT_ACCEPTABLE, "It is `text/event-stream` only.")
                .refuses(&[problem::NOT_FOUND]),
        }
    }
}

fn start(exposures: &Exposures) -> Described {
    let start =
        Described::new("startWorkflow", "Starts a workflow, or finds the one that the key has started.")
            .details("With `Prefer: wait` it waits for the end.")
            .takes(idempotency_key())
            .takes(prefer())
            .body::<Value>("The workflow's input.")
            .answers::<Outcome>(StatusCode::OK, "It has ended, one way or another.")
            .headers(&[ID, REPLAYED, EXPIRES, PREFERENCE])
            .answers::<Started>(StatusCode::ACCEPTED, "It is at work.")
            .headers(&[ID, REPLAYED, EXPIRES, LATER, PREFERENCE, "location"])
            .leads_to("$response.body#/workflow_id", ABOUT_IT)
            .refuses(&[
                problem::NOT_EXPOSED,
                problem::NOT_AUTHORIZED,
                problem::CROSS_SITE,
                problem::INVALID_BODY,
            ])
            .refuses(&[problem::KEY_INVALID, problem::KEY_REUSED, problem::KEY_IN_USE, problem::ID_CONFLICT]);
    let start = if exposures.key_required { start.refuses(&[problem::KEY_MISSING]) } else { start };
    let start = match exposures.names() {
        Some(names) => start.in_path("name", one_of(names)),
        None => start,
    };
    exposures.options().into_iter().fold(start, |start, option| {
        let (description, schema) = match option {
            StartOption::Delay => (
                "It is not claimed before so many milliseconds have passed. It needs a queue.",
                integer(0, 1 << 40),
            ),
            StartOption::Queue => ("The queue that it waits on.", text()),
            StartOption::DeduplicationId => {
                ("At most one workflow on the queue has it. It needs a queue.", text().min_length(Some(1)))
            }
            StartOption::Priority => {
                ("Its place on the queue, lower first. It needs a queue.", integer(1, i64::from(i32::MAX)))
            }
        };
        let start = start.takes(query(option.parameter(), description, schema));
        if option == StartOption::DeduplicationId { start.refuses(&[problem::DEDUPLICATED]) } else { start }
    })
}

fn stream() -> Described {
    let from = "Where a client begins that has nothing yet: `tail` skips what is there.";
    Described::new("readStream", "A workflow's stream, live as server-sent events, or a page of it.")
        .details("`Accept` decides which. An event's id is the offset of its value; `end` comes last.")
        .takes(last_event_id())
        .takes(after())
        .takes(query("from", from, one_of(vec!["tail".to_owned()])))
        .takes(query(
            "access_token",
            "A token for this stream, for clients that cannot send headers.",
            text(),
        ))
        .takes(prefer())
        .streams("The values from there on.")
        .answers::<Page>(StatusCode::OK, "A page of values. With `Prefer: wait` it waits for one.")
        .headers(OF_A_STREAM)
        .headers(&[PREFERENCE])
        .ends(StatusCode::NO_CONTENT, "The client has seen the end.")
        .headers(OF_A_STREAM)
        .plainly(StatusCode::NOT_ACCEPTABLE, "It is `text/event-stream` or `application/json`.")
        .refuses(&[problem::NOT_FOUND, problem::UNAUTHENTICATED])
}

fn after() -> Parameter {
    query("after", "As `Last-Event-ID`, for clients that cannot send it.", position())
}

fn send(send: Described) -> Described {
    send.details("Under an idempotency key it arrives once, however often the request comes.")
        .takes(idempotency_key())
        .body::<Value>("The message.")
        .answers::<Sent>(StatusCode::ACCEPTED, "It is sent.")
        .headers(&[ID, REPLAYED])
        .refuses(&[problem::NOT_FOUND, problem::KEY_INVALID, problem::CROSS_SITE])
}
