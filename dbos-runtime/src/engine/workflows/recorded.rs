//! The same verbs inside a workflow: each is one of its steps, so that a replay sees what the first run saw.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::engine::context::Ctx;
use crate::engine::durable::Durable;
use crate::engine::execution::Execution;
use crate::engine::recorded::recorded;
use crate::engine::shared::Shared;
use crate::engine::wait;
use crate::error::{Error, Result};
use crate::ids::WorkflowId;
use crate::model::filter::{Filter, StepFilter};
use crate::model::info::{StepInfo, WorkflowInfo};
use crate::payload;

/// The workflows of the database, seen from inside a workflow. Made by [`Ctx::workflows`].
///
/// What a verb found or did is recorded, and a replay is given the same.
///
/// ```
/// use dbos_runtime::{Ctx, Error, Filter, workflow};
///
/// #[workflow]
/// async fn backlog(ctx: Ctx, queue: String) -> Result<usize, Error> {
///     Ok(ctx.workflows().list_queued(Filter::new().queues([queue])).await?.len())
/// }
/// # let _ = backlog;
/// ```
pub struct RecordedWorkflows<E> {
    pub(crate) execution: Arc<Execution>,
    pub(crate) error: PhantomData<fn() -> E>,
}

impl<S, E> Ctx<S, E> {
    /// The workflows of the database: listed, looked into and managed by recorded steps.
    pub fn workflows(&self) -> RecordedWorkflows<E> {
        RecordedWorkflows { execution: Arc::clone(&self.execution), error: PhantomData }
    }
}

impl<E: From<Error> + 'static> RecordedWorkflows<E> {
    /// The workflows that the filter selects; see [`Workflows::list`](crate::Workflows::list).
    pub fn list(&self, filter: Filter) -> Durable<'static, (), Vec<WorkflowInfo>, E> {
        self.listed("DBOS.listWorkflows", filter)
    }

    /// Those on a queue; see [`Workflows::list_queued`](crate::Workflows::list_queued).
    pub fn list_queued(&self, filter: Filter) -> Durable<'static, (), Vec<WorkflowInfo>, E> {
        self.listed("DBOS.listQueuedWorkflows", filter.queued())
    }

    /// The facts of one workflow; see [`Workflows::info`](crate::Workflows::info).
    pub fn info(
        &self,
        id: impl TryInto<WorkflowId, Error: Into<Error>>,
    ) -> Durable<'static, (), WorkflowInfo, E> {
        self.question("DBOS.getStatus", id.try_into().map_err(Into::into), |shared, id| async move {
            let found = wait::patiently(&shared, || shared.store.whole(id.as_str())).await?;
            found.ok_or_else(|| Error::no_workflow(id.as_str()))
        })
    }

    /// The recorded steps of a workflow; see [`Workflows::steps`](crate::Workflows::steps).
    pub fn steps(
        &self,
        id: impl TryInto<WorkflowId, Error: Into<Error>>,
        filter: StepFilter,
    ) -> Durable<'static, (), Vec<StepInfo>, E> {
        let asked = id.try_into().map_err(Into::into).and_then(|id| Ok((id, filter.page()?)));
        self.question("DBOS.listWorkflowSteps", asked, move |shared, (id, (limit, offset))| async move {
            wait::patiently(&shared, || shared.store.steps(id.as_str(), limit, offset, filter.output)).await
        })
    }

    /// Replaces a workflow's attributes; see [`Workflows::update_attributes`](crate::Workflows::update_attributes).
    pub fn update_attributes(
        &self,
        id: impl TryInto<WorkflowId, Error: Into<Error>>,
        attributes: Option<&Map<String, Value>>,
    ) -> Durable<'static, (), bool, E> {
        let asked = id
            .try_into()
            .map_err(Into::into)
            .and_then(|id| Ok((id, attributes.map(payload::attributes).transpose()?)));
        self.question("DBOS.updateWorkflowAttributes", asked, |shared, (id, attributes)| async move {
            let set = || shared.store.set_attributes(id.as_str(), attributes.as_deref());
            wait::patiently(&shared, set).await
        })
    }

    /// Puts attributes to those of a workflow; see [`Workflows::merge_attributes`](crate::Workflows::merge_attributes).
    pub fn merge_attributes(
        &self,
        id: impl TryInto<WorkflowId, Error: Into<Error>>,
        attributes: &Map<String, Value>,
    ) -> Durable<'static, (), bool, E> {
        let asked =
            id.try_into().map_err(Into::into).and_then(|id| Ok((id, payload::attributes(attributes)?)));
        self.question("DBOS.updateWorkflowAttributes", asked, |shared, (id, attributes)| async move {
            wait::patiently(&shared, || shared.store.merge_attributes(id.as_str(), &attributes)).await
        })
    }

    fn listed(&self, name: &'static str, filter: Filter) -> Durable<'static, (), Vec<WorkflowInfo>, E> {
        let asked = filter.check().map(|()| filter);
        self.question(name, asked, |shared, filter| async move {
            wait::patiently(&shared, || shared.store.list(&filter)).await
        })
    }

    /// One recorded question or order. What is wrong with it is told without taking a number.
    pub(crate) fn question<A, T, F>(
        &self,
        name: &'static str,
        asked: Result<A>,
        put: impl FnOnce(Arc<Shared>, A) -> F + Send + 'static,
    ) -> Durable<'static, (), T, E>
    where
        A: Send + 'static,
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let asked = match asked {
            Ok(asked) => asked,
            Err(error) => return Durable::refused(&self.execution, error),
        };
        Durable::build(&self.execution, 1, move |execution, number, ()| async move {
            let shared = Arc::clone(&execution.shared);
            recorded(&execution, number, name, || put(shared, asked)).await.map_err(E::from)
        })
    }
}

impl<E> fmt::Debug for RecordedWorkflows<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedWorkflows").finish_non_exhaustive()
    }
}
