//! What the operations do, for the OpenAPI document.

use http::StatusCode;

use super::Admin;
use super::changes::{ForkBody, Forked};
use super::filter::Wanted;
use super::operation::{Operation, ROUTES};
use super::queues::Metadata;
use super::rows::{Step, Workflow};
use super::upkeep::{Collect, Cutoff};
use crate::openapi::parameters::{integer, label, query};
use crate::openapi::schemas::{Present, Readiness};
use crate::openapi::{About, Described, OpenApi, SecurityScheme};
use crate::problem;

const TEXT: &str = "text/plain";

/// What the document says of the routes as a whole.
pub(super) fn about() -> About {
    About {
        title: "DBOS admin",
        description: "The routes of the DBOS admin servers, for operators. Instants are milliseconds since the Unix \
            epoch, as text.",
        security: Vec::new(),
    }
}

impl<E> Admin<E> {
    /// Says in the OpenAPI document how operators authenticate; of several schemes, one will do. `E` decides, whatever
    /// is said here.
    pub fn security(mut self, name: &str, scheme: SecurityScheme) -> Self {
        self.about.security.push((name.to_owned(), scheme));
        self
    }

    /// The OpenAPI 3.1 document of the router, as if it were mounted at the root. The router serves it to operators at
    /// `GET /openapi.json`, with the path where that was asked for as its server.
    pub fn openapi(&self) -> OpenApi {
        self.about.document(ROUTES, Operation::describe, "")
    }
}

impl Operation {
    /// What it does.
    fn describe(self) -> Described {
        match self {
            Self::Health => Described::new("health", "Whether this process answers.").open().answers_in(
                StatusCode::OK,
                TEXT,
                "It does.",
            ),
            Self::Ready => {
                Described::new("ready", "Whether this process takes work and its database answers.")
                    .open()
                    .answers::<Readiness>(StatusCode::OK, "It is ready.")
                    .answers::<Readiness>(StatusCode::SERVICE_UNAVAILABLE, "It is not.")
            }
            Self::Conductor => of_operators("conductor", "That these routes are there.")
                .answers::<Present>(StatusCode::OK, "They are."),
            Self::Deactivate => of_operators("deactivate", "Takes no more work, and finishes what it has.")
                .answers_in(StatusCode::OK, TEXT, "It is deactivated."),
            Self::DeactivateByGet => of_operators("deactivateByGet", "The same, with a bearer token only.")
                .answers_in(StatusCode::OK, TEXT, "It is deactivated.")
                .refuses(&[problem::UNAUTHENTICATED]),
            Self::Reactivate => of_operators("reactivate", "Takes work again.").answers_in(
                StatusCode::OK,
                TEXT,
                "It is active.",
            ),
            Self::Queues => of_operators("queues", "The queues and their limits.")
                .answers::<Vec<Metadata>>(StatusCode::OK, "The queues."),
            Self::Recover => of_operators("recover", "Puts the work of dead executors back on its queues.")
                .body::<Vec<String>>("The ids of the executors.")
                .answers::<Vec<String>>(StatusCode::OK, "The ids of the workflows.")
                .refuses(&[problem::INVALID_ARGUMENT, problem::INVALID_BODY]),
            Self::Collect => of_operators("collectGarbage", "Deletes what ended long ago.")
                .body::<Collect>("What is old: what ended before an instant, or is not among so many newest.")
                .ends(StatusCode::NO_CONTENT, "It is deleted.")
                .refuses(&[problem::INVALID_ARGUMENT, problem::INVALID_BODY]),
            Self::GlobalTimeout => {
                of_operators("globalTimeout", "Cancels what was started before an instant.")
                    .body::<Cutoff>("The instant.")
                    .ends(StatusCode::NO_CONTENT, "It is cancelled.")
                    .refuses(&[problem::INVALID_ARGUMENT, problem::INVALID_BODY])
            }
            Self::List => listing("listWorkflows", "Lists workflows."),
            Self::ListQueued => listing("listQueued", "Lists workflows on queues that have not ended."),
            Self::Show => {
                of_one("showWorkflow", "One workflow.").answers::<Workflow>(StatusCode::OK, "The workflow.")
            }
            Self::Steps => of_one("showSteps", "What a workflow has done.")
                .takes(query("limit", "At most so many.", integer(1, 10_000)))
                .takes(query("offset", "Not the first so many.", integer(0, i64::from(u32::MAX))))
                .answers::<Vec<Step>>(StatusCode::OK, "The steps."),
            Self::Cancel => of_one("cancelWorkflow", "Cancels a workflow.")
                .ends(StatusCode::NO_CONTENT, "It is cancelled, or has ended before."),
            Self::Resume => of_one("resumeWorkflow", "Lets a workflow go on that was cancelled or parked.")
                .ends(StatusCode::NO_CONTENT, "It goes on, or has ended well before."),
            Self::Restart => of_one("restartWorkflow", "Runs a copy of a workflow from its beginning.")
                .answers::<Forked>(StatusCode::OK, "The copy."),
            Self::Fork => of_one("forkWorkflow", "Runs a copy of a workflow from a step.")
                .body::<ForkBody>("From which step, and as what.")
                .answers::<Forked>(StatusCode::OK, "The copy.")
                .refuses(&[problem::INVALID_BODY, problem::ID_CONFLICT]),
        }
    }
}

fn of_operators(id: &'static str, summary: &'static str) -> Described {
    Described::new(id, summary)
        .plainly(StatusCode::FORBIDDEN, "The page of another site has sent the request.")
        .plainly(StatusCode::MISDIRECTED_REQUEST, "The routes do not answer for this host.")
}

/// These take whatever ids the programs of other languages have made.
fn of_one(id: &'static str, summary: &'static str) -> Described {
    of_operators(id, summary).in_path("id", label()).refuses(&[problem::NOT_FOUND])
}

fn listing(id: &'static str, summary: &'static str) -> Described {
    of_operators(id, summary)
        .details("What is missing or null does not narrow the listing.")
        .body_or_none::<Wanted>("Which workflows.")
        .answers::<Vec<Workflow>>(StatusCode::OK, "The workflows.")
        .refuses(&[problem::INVALID_ARGUMENT, problem::INVALID_BODY])
}
