//! One look at the database for the page: a bounded number of statements, each over an index.

use std::time::Duration;

use dbos_runtime::{
    Dbos, Error, Filter, GroupBy, StepAggregate, StepAggregates, Timestamp, WorkflowAggregate,
    WorkflowAggregates, WorkflowStatus,
};

/// The span of the rates. They are of the last one that is over.
pub(super) const WINDOW: Duration = Duration::from_secs(60);

const EVERY_STATUS: [WorkflowStatus; 7] = [
    WorkflowStatus::Pending,
    WorkflowStatus::Success,
    WorkflowStatus::Error,
    WorkflowStatus::Cancelled,
    WorkflowStatus::Enqueued,
    WorkflowStatus::Delayed,
    WorkflowStatus::MaxRecoveryAttemptsExceeded,
];

/// What changes from moment to moment.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    pub(super) in_flight: Vec<WorkflowAggregate>,
    pub(super) delayed: Vec<WorkflowAggregate>,
    pub(super) latest_version: Option<String>,
}

/// What happened in a window that is over: looked up once for each.
#[derive(Clone, Debug)]
pub(super) struct Minute {
    pub(super) until: Timestamp,
    pub(super) started: Vec<WorkflowAggregate>,
    pub(super) dequeued: Vec<WorkflowAggregate>,
    pub(super) ended: Vec<WorkflowAggregate>,
    pub(super) steps: Vec<StepAggregate>,
}

/// The end of the last window that was over at that instant.
pub(super) fn end_of_window(now: Timestamp) -> Timestamp {
    let span = millis(WINDOW);
    Timestamp::from_millis(now.as_millis().div_euclid(span) * span)
}

pub(super) async fn moment(dbos: &Dbos) -> Result<Moment, Error> {
    let of = |statuses: &[WorkflowStatus]| Filter::new().statuses(statuses.iter().copied());
    let in_flight = of(&[WorkflowStatus::Enqueued, WorkflowStatus::Pending]);
    Ok(Moment {
        in_flight: counted(dbos, &[GroupBy::Name, GroupBy::Queue, GroupBy::Status], in_flight).await?,
        delayed: counted(dbos, &[GroupBy::Name, GroupBy::Queue], of(&[WorkflowStatus::Delayed])).await?,
        latest_version: dbos.versions().latest().await?.map(|version| version.name),
    })
}

pub(super) async fn minute(dbos: &Dbos, until: Timestamp) -> Result<Minute, Error> {
    let from = Timestamp::from_millis(until.as_millis() - millis(WINDOW));
    // Bounds include themselves.
    let last = Timestamp::from_millis(until.as_millis() - 1);
    let names = [GroupBy::Name, GroupBy::Queue];
    let started = Filter::new().created_after(from).created_before(last);
    let dequeued = Filter::new().queued().statuses(EVERY_STATUS).dequeued_after(from).dequeued_before(last);
    let ended = Filter::new().completed_after(from).completed_before(last);
    let steps = StepAggregates::new().by_name().by_status().completed_after(from).completed_before(last);
    Ok(Minute {
        until,
        started: counted(dbos, &names, started).await?,
        dequeued: counted(dbos, &names, dequeued).await?,
        ended: counted(dbos, &[GroupBy::Name, GroupBy::Queue, GroupBy::Status], ended).await?,
        steps: dbos.workflows().step_aggregates(&steps).await?,
    })
}

async fn counted(dbos: &Dbos, groups: &[GroupBy], filter: Filter) -> Result<Vec<WorkflowAggregate>, Error> {
    dbos.workflows().aggregates(&WorkflowAggregates::by(groups.iter().copied()).filter(filter)).await
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_a_whole_minute_that_is_over() {
        for (now, end) in [(0, 0), (59_999, 0), (60_000, 60_000), (119_999, 60_000), (-1, -60_000)] {
            assert_eq!(end_of_window(Timestamp::from_millis(now)).as_millis(), end, "{now}");
        }
    }
}
