//! Changing what is attached to a workflow.

use serde_json::{Map, Value};

use super::Workflows;
use crate::engine::{guard, wait};
use crate::error::{Error, Result};
use crate::ids::WorkflowId;
use crate::payload;

impl Workflows {
    /// Replaces the attributes of a workflow, in whatever state it is; `None` clears them. Those that are the runtimes'
    /// stay unless they are named: the ones that begin with `dbos.`, as the user's tenant does. Says whether there is such
    /// a workflow.
    ///
    /// Attributes are a JSON object of at most 64 KiB, without NUL in its texts.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for others,
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the database does not answer.
    pub async fn update_attributes(
        &self,
        id: impl TryInto<WorkflowId, Error: Into<Error>>,
        attributes: Option<&Map<String, Value>>,
    ) -> Result<bool> {
        guard::outside_of_transactions()?;
        let id = id.try_into().map_err(Into::into)?;
        let attributes = attributes.map(payload::attributes).transpose()?;
        let shared = &self.shared;
        wait::briefly(shared, || shared.store.set_attributes(id.as_str(), attributes.as_deref())).await
    }

    /// Puts these attributes to those that the workflow has, in place of equally named ones. What others merge at the
    /// same time stays. Says whether there is such a workflow.
    ///
    /// # Errors
    ///
    /// As [`update_attributes`](Self::update_attributes).
    pub async fn merge_attributes(
        &self,
        id: impl TryInto<WorkflowId, Error: Into<Error>>,
        attributes: &Map<String, Value>,
    ) -> Result<bool> {
        guard::outside_of_transactions()?;
        let id = id.try_into().map_err(Into::into)?;
        let attributes = payload::attributes(attributes)?;
        let shared = &self.shared;
        wait::briefly(shared, || shared.store.merge_attributes(id.as_str(), &attributes)).await
    }
}
