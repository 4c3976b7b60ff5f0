//! The table of routes.

use std::sync::Arc;

use axum::extract::Request;
use axum::routing::{MethodFilter, MethodRouter, on};
use serde::Deserialize;

use super::receiver::Receiver;
use crate::path::Path;
use crate::routes::{Route, Verb};

/// What can come in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    Hook,
    HookBelow,
    Callback,
}

pub(crate) const ROUTES: &[Route<Operation>] = &[
    Route { method: Verb::Post, path: "/hooks/{source}", operation: Operation::Hook },
    Route { method: Verb::Post, path: "/hooks/{source}/{*tail}", operation: Operation::HookBelow },
    Route { method: Verb::Post, path: "/callbacks/{token}", operation: Operation::Callback },
];

/// The parameters of the paths, by name: a router around this one may have some of its own.
#[derive(Deserialize)]
struct BySource {
    source: String,
}

#[derive(Deserialize)]
struct BelowSource {
    source: String,
    tail: String,
}

#[derive(Deserialize)]
struct ByToken {
    token: String,
}

impl Operation {
    /// What answers it.
    pub(super) fn handler<S>(self, method: MethodFilter, receiver: &Arc<Receiver>) -> MethodRouter<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let receiver = Arc::clone(receiver);
        match self {
            Self::Hook => on(method, async move |Path(at): Path<BySource>, request: Request| {
                receiver.hook(&at.source, String::new(), request).await
            }),
            Self::HookBelow => on(method, async move |Path(at): Path<BelowSource>, request: Request| {
                receiver.hook(&at.source, at.tail, request).await
            }),
            Self::Callback => on(method, async move |Path(at): Path<ByToken>, request: Request| {
                receiver.callback(&at.token, request).await
            }),
        }
    }
}
