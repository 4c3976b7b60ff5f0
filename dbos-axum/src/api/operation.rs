//! The table of routes.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request};
use axum::routing::{MethodFilter, MethodRouter, on};

use super::caller::Caller;
use super::exposed::Exposures;
use super::options::StartOptions;
use super::params::ByName;
use super::{events, messages, result, start, status, streams};
use crate::path::Path;
use crate::prefer::PreferWait;
use crate::principal::IntoPrincipal;
use crate::routes::{Route, Verb};

/// What can be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    Start,
    Status,
    Result,
    Events,
    Event,
    Send,
    SendToTopic,
    Cancel,
    Stream,
    Watch,
}

pub(crate) const ROUTES: &[Route<Operation>] = &[
    Route { method: Verb::Post, path: "/start/{name}", operation: Operation::Start },
    Route { method: Verb::Get, path: "/workflows/{id}", operation: Operation::Status },
    Route { method: Verb::Get, path: "/workflows/{id}/result", operation: Operation::Result },
    Route { method: Verb::Get, path: "/workflows/{id}/events", operation: Operation::Events },
    Route { method: Verb::Get, path: "/workflows/{id}/events/{key}", operation: Operation::Event },
    Route { method: Verb::Post, path: "/workflows/{id}/messages", operation: Operation::Send },
    Route { method: Verb::Post, path: "/workflows/{id}/messages/{topic}", operation: Operation::SendToTopic },
    Route { method: Verb::Post, path: "/workflows/{id}/cancel", operation: Operation::Cancel },
    Route { method: Verb::Get, path: "/workflows/{id}/streams/{key}", operation: Operation::Stream },
    Route { method: Verb::Get, path: "/workflows/{id}/watch", operation: Operation::Watch },
];

impl Operation {
    /// What answers it.
    pub(super) fn handler<E, S>(self, method: MethodFilter, exposures: &Arc<Exposures>) -> MethodRouter<S>
    where
        E: FromRequestParts<S> + IntoPrincipal + Send + Sync + 'static,
        S: Clone + Send + Sync + 'static,
    {
        match self {
            Self::Start => {
                let exposures = Arc::clone(exposures);
                let handler = move |Caller { ctx, .. }: Caller<E>,
                                    Path(ByName { name }): Path<ByName>,
                                    wait: PreferWait,
                                    options: StartOptions,
                                    request: Request| {
                    let exposures = Arc::clone(&exposures);
                    async move { start::start(&exposures, ctx, &name, options, wait, request).await }
                };
                on(method, handler)
            }
            Self::Status => on(method, status::show::<E>),
            Self::Result => on(method, result::show::<E>),
            Self::Events => on(method, events::all::<E>),
            Self::Event => on(method, events::one::<E>),
            Self::Send => on(method, messages::send::<E>),
            Self::SendToTopic => on(method, messages::send_to_topic::<E>),
            Self::Cancel => on(method, status::cancel::<E>),
            Self::Stream => on(method, streams::read::<E>),
            Self::Watch => on(method, streams::watch::<E>),
        }
    }
}
