//! Numbers over many workflows.

use super::Workflows;
use crate::engine::wait;
use crate::error::{Error, Result};
use crate::model::aggregate::{
    GroupBy, Metrics, StepAggregate, StepAggregates, WorkflowAggregate, WorkflowAggregates,
};
use crate::model::filter::Filter;
use crate::time::Timestamp;

impl Workflows {
    /// Counts workflows, group by group, with the age of the oldest and the longest times.
    ///
    /// ```
    /// use dbos_runtime::{Dbos, Error, GroupBy, WorkflowAggregates};
    ///
    /// async fn report(dbos: &Dbos) -> Result<(), Error> {
    ///     let by_status = WorkflowAggregates::by([GroupBy::Name, GroupBy::Status]);
    ///     for group in dbos.workflows().aggregates(&by_status).await? {
    ///         println!("{:?} {:?}: {}", group.name, group.status, group.count);
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`list`](Self::list).
    pub async fn aggregates(&self, asked: &WorkflowAggregates) -> Result<Vec<WorkflowAggregate>> {
        asked.check()?;
        let shared = &self.shared;
        wait::unhurriedly(shared, || shared.store.aggregates(asked)).await
    }

    /// Counts recorded steps, group by group, with the longest time.
    ///
    /// # Errors
    ///
    /// As [`list`](Self::list).
    pub async fn step_aggregates(&self, asked: &StepAggregates) -> Result<Vec<StepAggregate>> {
        asked.check()?;
        let shared = &self.shared;
        wait::unhurriedly(shared, || shared.store.step_aggregates(asked)).await
    }

    /// How many workflows were inserted and steps completed from one instant until before another, by name.
    ///
    /// # Errors
    ///
    /// As [`list`](Self::list).
    pub async fn metrics(&self, from: Timestamp, until: Timestamp) -> Result<Metrics> {
        if until <= from {
            return Err(Error::invalid("a time range ends before it begins"));
        }
        let last = Timestamp::from_millis(until.as_millis() - 1);
        let filter = Filter::new().created_after(from).created_before(last);
        let workflows = self.aggregates(&WorkflowAggregates::by([GroupBy::Name]).filter(filter)).await?;
        let steps = StepAggregates::new().by_name().completed_after(from).completed_before(last);
        let steps = self.step_aggregates(&steps).await?;
        Ok(Metrics {
            workflows: workflows
                .into_iter()
                .filter_map(|group| group.name.map(|name| (name, group.count)))
                .collect(),
            steps: steps.into_iter().filter_map(|group| group.name.map(|name| (name, group.count))).collect(),
        })
    }
}
