//! The same verbs inside a workflow: each is one of its steps, so that a replay sees what the first run saw.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Schedule, ScheduleFilter, ScheduleInfo, Schedules};
use crate::engine::context::Ctx;
use crate::engine::durable::Durable;
use crate::engine::execution::Execution;
use crate::engine::recorded::recorded;
use crate::error::{DurableError, Error};
use crate::ids;

/// The schedules of the database, seen from inside a workflow. Made by [`Ctx::schedules`].
///
/// What a verb found or did, a refusal too, is recorded, and a replay is given the same. The verbs and their errors are
/// those of [`Schedules`].
pub struct RecordedSchedules<E> {
    execution: Arc<Execution>,
    error: PhantomData<fn() -> E>,
}

impl<S, E> Ctx<S, E> {
    /// The schedules of the database: made, looked at and paused by recorded steps.
    pub fn schedules(&self) -> RecordedSchedules<E> {
        RecordedSchedules { execution: Arc::clone(&self.execution), error: PhantomData }
    }
}

impl<E: DurableError> RecordedSchedules<E> {
    /// Creates a schedule.
    pub fn create(&self, schedule: Schedule) -> Durable<'static, (), (), E> {
        Durable::build(&self.execution, 1, |execution, number, ()| async move {
            let schedules = Schedules { shared: Arc::clone(&execution.shared) };
            let order = || async {
                let mut new = schedule.define()?;
                new.row_id = ids::made_by(&execution.fence.id, number);
                schedules.insert(new).await
            };
            Ok(recorded(&execution, number, "DBOS.createSchedule", order).await?)
        })
    }

    /// The schedule of a name.
    pub fn get(&self, name: impl Into<String>) -> Durable<'static, (), Option<ScheduleInfo>, E> {
        let name = name.into();
        self.step("DBOS.getSchedule", async move |schedules| schedules.get(&name).await)
    }

    /// Schedules, by name.
    pub fn list(&self, filter: ScheduleFilter) -> Durable<'static, (), Vec<ScheduleInfo>, E> {
        self.step("DBOS.listSchedules", async move |schedules| schedules.list(&filter).await)
    }

    /// Stops a schedule from firing. Says whether there is one of the name.
    pub fn pause(&self, name: impl Into<String>) -> Durable<'static, (), bool, E> {
        let name = name.into();
        self.step("DBOS.pauseSchedule", async move |schedules| schedules.pause(&name).await)
    }

    /// Lets a paused schedule fire again. Says whether there is one of the name.
    pub fn resume(&self, name: impl Into<String>) -> Durable<'static, (), bool, E> {
        let name = name.into();
        self.step("DBOS.resumeSchedule", async move |schedules| schedules.resume(&name).await)
    }

    /// Deletes a schedule. Says whether there was one of the name.
    pub fn delete(&self, name: impl Into<String>) -> Durable<'static, (), bool, E> {
        let name = name.into();
        self.step("DBOS.deleteSchedule", async move |schedules| schedules.delete(&name).await)
    }

    fn step<T, F>(
        &self,
        name: &'static str,
        question: impl FnOnce(Schedules) -> F + Send + 'static,
    ) -> Durable<'static, (), T, E>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        Durable::build(&self.execution, 1, move |execution, number, ()| async move {
            let schedules = Schedules { shared: Arc::clone(&execution.shared) };
            Ok(recorded(&execution, number, name, || question(schedules)).await?)
        })
    }
}

impl<E> fmt::Debug for RecordedSchedules<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedSchedules").finish_non_exhaustive()
    }
}
