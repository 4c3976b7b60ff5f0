//! Who may do what with a workflow.

use dbos_runtime::WorkflowInfo;

use crate::principal::Principal;

/// What somebody would like to do with a workflow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Action {
    /// See its status, its outcome, its events and its streams.
    Read,
    /// Send it a message.
    Send,
    /// Cancel it.
    Cancel,
}

/// Decides, workflow by workflow, who may do what. What it refuses is answered like a workflow that is not there.
///
/// # Examples
///
/// ```
/// use dbos_axum::{AccessPolicy, Action, OwnersOnly, Principal};
/// use dbos_runtime::WorkflowInfo;
///
/// /// Support sees everything and changes nothing.
/// struct Support;
///
/// impl AccessPolicy for Support {
///     fn allows(&self, who: &Principal, to: Action, workflow: &WorkflowInfo) -> bool {
///         let support = who.roles().iter().any(|role| role == "support");
///         (support && to == Action::Read) || OwnersOnly.allows(who, to, workflow)
///     }
/// }
/// ```
pub trait AccessPolicy: Send + Sync + 'static {
    /// Whether that caller may do that with that workflow.
    fn allows(&self, who: &Principal, to: Action, workflow: &WorkflowInfo) -> bool;
}

/// A workflow is its owner's: the user and the tenant on whose behalf it was started. The default.
///
/// Its children, its forks and what else it starts are that owner's too. What nobody in particular has started is open to callers who are nobody in particular, and to them alone.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct OwnersOnly;

impl AccessPolicy for OwnersOnly {
    fn allows(&self, who: &Principal, _: Action, workflow: &WorkflowInfo) -> bool {
        workflow.authenticated_user.as_deref() == who.user()
            && workflow.authenticated_tenant() == who.tenant()
    }
}

/// A workflow is its owner's to look at, and nobody's to change: its owner sees its status, its outcome, its events and its
/// streams, but neither sends it messages nor cancels it.
///
/// For workflows that take somebody else's word, such as a payment provider's, and for those whose cancellation would
/// leave something undone. The application itself goes around it with [`DbosCtx::as_system`](crate::DbosCtx::as_system).
///
/// # Examples
///
/// ```
/// use dbos_axum::{DbosLayer, ReadOnly};
/// use dbos_runtime::Dbos;
///
/// fn layer(dbos: Dbos) -> DbosLayer {
///     DbosLayer::new(dbos).policy(ReadOnly)
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ReadOnly;

impl AccessPolicy for ReadOnly {
    fn allows(&self, who: &Principal, to: Action, workflow: &WorkflowInfo) -> bool {
        to == Action::Read && OwnersOnly.allows(who, to, workflow)
    }
}

/// Every caller may do everything with every workflow whose id they know.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct AnyOwner;

impl AccessPolicy for AnyOwner {
    fn allows(&self, _: &Principal, _: Action, _: &WorkflowInfo) -> bool {
        true
    }
}
