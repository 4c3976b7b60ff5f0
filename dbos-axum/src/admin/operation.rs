//! The table of routes.

use axum::extract::FromRequestParts;
use axum::routing::{MethodFilter, MethodRouter, on};

use super::{changes, health, listing, queues, upkeep};
use crate::principal::IntoPrincipal;
use crate::routes::{Route, Verb};

/// What can be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    Health,
    Ready,
    Conductor,
    Deactivate,
    DeactivateByGet,
    Reactivate,
    Queues,
    Recover,
    Collect,
    GlobalTimeout,
    List,
    ListQueued,
    Show,
    Steps,
    Cancel,
    Resume,
    Restart,
    Fork,
}

const fn get(path: &'static str, operation: Operation) -> Route<Operation> {
    Route { method: Verb::Get, path, operation }
}

const fn post(path: &'static str, operation: Operation) -> Route<Operation> {
    Route { method: Verb::Post, path, operation }
}

pub(crate) const ROUTES: &[Route<Operation>] = &[
    get("/dbos-healthz", Operation::Health),
    get("/readyz", Operation::Ready),
    get("/conductor", Operation::Conductor),
    get("/deactivate", Operation::DeactivateByGet),
    post("/deactivate", Operation::Deactivate),
    post("/reactivate", Operation::Reactivate),
    get("/dbos-workflow-queues-metadata", Operation::Queues),
    post("/dbos-workflow-recovery", Operation::Recover),
    post("/dbos-garbage-collect", Operation::Collect),
    post("/dbos-global-timeout", Operation::GlobalTimeout),
    post("/workflows", Operation::List),
    post("/queues", Operation::ListQueued),
    get("/workflows/{id}", Operation::Show),
    get("/workflows/{id}/steps", Operation::Steps),
    post("/workflows/{id}/cancel", Operation::Cancel),
    post("/workflows/{id}/resume", Operation::Resume),
    post("/workflows/{id}/restart", Operation::Restart),
    post("/workflows/{id}/fork", Operation::Fork),
];

impl Operation {
    /// What answers it. All but the first two take an [`Operator`](super::operator::Operator) first.
    pub(super) fn handler<E, S>(self, method: MethodFilter) -> MethodRouter<S>
    where
        E: FromRequestParts<S> + IntoPrincipal + Send + Sync + 'static,
        S: Clone + Send + Sync + 'static,
    {
        match self {
            Self::Health => on(method, health::health),
            Self::Ready => on(method, health::ready::<E>),
            Self::Conductor => on(method, health::conductor::<E>),
            Self::Deactivate => on(method, health::deactivate::<E>),
            Self::DeactivateByGet => on(method, health::deactivate_by_get::<E>),
            Self::Reactivate => on(method, health::reactivate::<E>),
            Self::Queues => on(method, queues::metadata::<E>),
            Self::Recover => on(method, upkeep::recover::<E>),
            Self::Collect => on(method, upkeep::collect::<E>),
            Self::GlobalTimeout => on(method, upkeep::global_timeout::<E>),
            Self::List => on(method, listing::list::<E>),
            Self::ListQueued => on(method, listing::list_queued::<E>),
            Self::Show => on(method, listing::show::<E>),
            Self::Steps => on(method, listing::steps::<E>),
            Self::Cancel => on(method, changes::cancel::<E>),
            Self::Resume => on(method, changes::resume::<E>),
            Self::Restart => on(method, changes::restart::<E>),
            Self::Fork => on(method, changes::fork::<E>),
        }
    }
}
