//! The table of routes.

use axum::extract::FromRequestParts;
use axum::routing::{MethodFilter, MethodRouter, on};

use super::{status, streams};
use crate::principal::IntoPrincipal;
use crate::routes::{Route, Verb};

/// What can be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    Status,
    Cancel,
    Stream,
    Watch,
}

pub(crate) const ROUTES: &[Route<Operation>] = &[
    Route { method: Verb::Get, path: "/workflows/{id}", operation: Operation::Status },
    Route { method: Verb::Post, path: "/workflows/{id}/cancel", operation: Operation::Cancel },
    Route { method: Verb::Get, path: "/workflows/{id}/streams/{key}", operation: Operation::Stream },
    Route { method: Verb::Get, path: "/workflows/{id}/watch", operation: Operation::Watch },
];

impl Operation {
    /// What answers it.
    pub(super) fn handler<E, S>(self, method: MethodFilter) -> MethodRouter<S>
    where
        E: FromRequestParts<S> + IntoPrincipal + Send + Sync + 'static,
        S: Clone + Send + Sync + 'static,
    {
        match self {
            Self::Status => on(method, status::show::<E>),
            Self::Cancel => on(method, status::cancel::<E>),
            Self::Stream => on(method, streams::read::<E>),
            Self::Watch => on(method, streams::watch::<E>),
        }
    }
}
