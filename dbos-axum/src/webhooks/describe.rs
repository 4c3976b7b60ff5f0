//! What the operations do, for the OpenAPI document.

use http::StatusCode;
use serde_json::Value;

use super::Webhooks;
use super::operation::{Operation, ROUTES};
use crate::openapi::schemas::{Delivered, Sent};
use crate::openapi::{About, Described, OpenApi};
use crate::problem;

impl Webhooks {
    /// The OpenAPI 3.1 document of the router, as if it were mounted at the root. It is not served: senders have their
    /// own.
    pub fn openapi(&self) -> OpenApi {
        let about = About {
            title: "Webhooks",
            description: "Deliveries of other services, taken once each. How one is signed is its source's affair.",
            security: Vec::new(),
        };
        about.document(ROUTES, Operation::describe, "")
    }
}

impl Operation {
    /// What it does.
    fn describe(self) -> Described {
        match self {
            Self::Hook => hook("deliver", "Takes a delivery of a source."),
            Self::HookBelow => hook("deliverBelow", "Takes a delivery of a source, at a path of its own."),
            Self::Callback => taken("answer", "Takes the answer of somebody who was given its address.")
                .body::<Value>("The answer.")
                .answers::<Sent>(StatusCode::ACCEPTED, "It is taken, or was before.")
                .refuses(&[problem::NOT_FOUND])
                .plainly(StatusCode::NOT_FOUND, "Nobody gives out addresses here."),
        }
    }
}

fn hook(id: &'static str, summary: &'static str) -> Described {
    taken(id, summary)
        .details("A source may refuse an event with problems of its own besides.")
        .answers::<Delivered>(StatusCode::ACCEPTED, "It is taken, was before, or is of no interest.")
        .refuses(&[problem::DELIVERY_INVALID, problem::MALFORMED_JSON])
        .refuses(&[problem::NOT_FOUND, problem::ID_CONFLICT])
        .plainly(StatusCode::NOT_FOUND, "There is no such source.")
        .plainly(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large.")
        .plainly(StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body is not announced as JSON in plain UTF-8.")
}

fn taken(id: &'static str, summary: &'static str) -> Described {
    Described::new(id, summary)
        .refuses(&[problem::DELIVERY_UNVERIFIED])
        .plainly(StatusCode::REQUEST_TIMEOUT, "The body takes too long to come.")
        .plainly(StatusCode::TOO_MANY_REQUESTS, "Too many come at a time.")
}
