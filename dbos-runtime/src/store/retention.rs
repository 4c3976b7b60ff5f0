//! Changes to workflows by those who look after them: attributes, expiry, deletion of what is old.

use tokio::sync::mpsc::Sender;

use super::{Answer, Store};
use crate::failpoint::{self, Boundary, Side};
use crate::ids::WorkflowId;
use crate::model::queue::PLACES_AHEAD;
use crate::model::retention::{Collected, Retention};
use crate::time::Timestamp;

impl Store {
    /// Replaces a workflow's attributes, JSON text of an object; whether there was such a workflow.
    pub(crate) async fn set_attributes(&self, id: &str, attributes: Option<&str>) -> Answer<bool> {
        failpoint::pass(Boundary::Attributes, Side::Before);
        let found = ask!(self, backend => backend.set_attributes(id, attributes).await)?;
        failpoint::pass(Boundary::Attributes, Side::After);
        Ok(found)
    }

    /// Puts these members into a workflow's attributes and leaves the others; whether there was such a workflow.
    pub(crate) async fn merge_attributes(&self, id: &str, attributes: &str) -> Answer<bool> {
        failpoint::pass(Boundary::Attributes, Side::Before);
        let found = ask!(self, backend => backend.merge_attributes(id, attributes).await)?;
        failpoint::pass(Boundary::Attributes, Side::After);
        Ok(found)
    }

    /// Cancels this application's workflows that were inserted by then and have not ended; their ids.
    pub(crate) async fn cancel_inserted_by(&self, instant: Timestamp) -> Answer<Vec<String>> {
        failpoint::pass(Boundary::Cancel, Side::Before);
        let millis = instant.as_millis();
        // A burst that is there by then has places ahead of the clock.
        let placed = millis.saturating_add(PLACES_AHEAD);
        let cancelled = ask!(self, backend => backend.cancel_inserted_by(millis, placed).await)?;
        failpoint::pass(Boundary::Cancel, Side::After);
        Ok(cancelled)
    }

    /// Deletes what ended before the cutoff, and what the newest rows leave behind. Each batch that is gone is told, and
    /// no other follows once nobody hears of it.
    pub(crate) async fn collect(
        &self,
        retention: &Retention,
        cutoff: Option<Timestamp>,
        gone: &Sender<Vec<WorkflowId>>,
    ) -> Answer<Collected> {
        failpoint::pass(Boundary::Collect, Side::Before);
        let cutoff = cutoff.map(Timestamp::as_millis);
        let collected = ask!(self, backend => backend.collect(retention, cutoff, gone).await)?;
        failpoint::pass(Boundary::Collect, Side::After);
        Ok(collected)
    }
}
