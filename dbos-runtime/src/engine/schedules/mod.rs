//! Management of schedules from outside of workflows.

mod definition;
mod info;
mod recorded;
mod ticks;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::cron::Cron;
use super::scheduler::Scheduler;
use super::shared::{INTERNAL_QUEUE, Shared};
use super::{guard, wait};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::WorkflowId;
use crate::limits;
use crate::model::schedule::{Due, Firing, NewSchedule, ScheduleRow};
use crate::time::Timestamp;

pub use self::definition::Schedule;
pub use self::info::{ScheduleFilter, ScheduleInfo, ScheduleStatus};
pub use self::recorded::RecordedSchedules;

pub(crate) use self::ticks::{TICKS_AT_ONCE, tick, triggered};

/// Times that one backfill may enqueue.
const MOST_BACKFILLED: usize = 100_000;

/// The schedules of the database. Made by [`Dbos::schedules`](crate::Dbos::schedules).
///
/// ```
/// use dbos_runtime::{Dbos, Error, Schedule, ScheduleFilter};
/// # use dbos_runtime::{Ctx, Timestamp, workflow};
/// # #[workflow] async fn report(_ctx: Ctx, _: (Timestamp, String)) -> Result<(), Error> { Ok(()) }
///
/// async fn example(dbos: Dbos) -> Result<(), Error> {
///     let schedules = dbos.schedules();
///     schedules.create(Schedule::new("report", "@daily").workflow(report).context("emea")).await?;
///     schedules.pause("report").await?;
///     // A day in the past, again or for the first time: what has run already does not run twice.
///     schedules.backfill("report", "2026-11-01".parse()?, "2026-11-02".parse()?).await?;
///     assert_eq!(schedules.list(&ScheduleFilter::new()).await?.len(), 1);
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Schedules {
    pub(crate) shared: Arc<Shared>,
}

impl Schedules {
    /// Creates a schedule. It is active at once.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`] for an expression, a time zone or a name that breaks a rule,
    /// [`ErrorKind::NotRegistered`] for a workflow that is not registered here, [`ErrorKind::NotFound`] for a queue that
    /// does not exist, [`ErrorKind::NameInUse`] when there is a schedule of the name, [`ErrorKind::Unavailable`] when the
    /// database does not answer.
    pub async fn create(&self, schedule: Schedule) -> Result<()> {
        guard::outside_of_transactions()?;
        self.insert(schedule.define()?).await
    }

    pub(crate) async fn insert(&self, mut new: NewSchedule) -> Result<()> {
        self.check(&new).await?;
        let shared = &self.shared;
        shared.store.codec().seal_schedule(&mut new)?;
        let (row_id, owner) = wait::briefly(shared, || shared.store.create_schedule(&new)).await?;
        if row_id == new.row_id {
            shared.rescheduled.notify_one();
            return Ok(());
        }
        Err(self.in_use(&new.name, owner.as_deref()))
    }

    /// Creates schedules, or gives those of the same names these definitions. All of them or, on an error, none. An
    /// existing schedule keeps its id, its last time, and whether it is paused.
    ///
    /// # Errors
    ///
    /// As for [`create`](Self::create), but that a name is in use only when another application has it.
    /// [`ErrorKind::Misplaced`] inside a workflow.
    pub async fn apply(&self, schedules: impl IntoIterator<Item = Schedule>) -> Result<()> {
        guard::outside_of_bodies("schedules are applied by the program, before or beside its workflows")?;
        let new = schedules.into_iter().map(Schedule::define).collect::<Result<Vec<_>>>()?;
        self.upsert(new).await
    }

    async fn upsert(&self, mut new: Vec<NewSchedule>) -> Result<()> {
        for new in &mut new {
            self.check(new).await?;
            self.shared.store.codec().seal_schedule(new)?;
        }
        // In one order in every process, so that two that apply at once do not wait for each other in a circle.
        new.sort_by(|one, other| one.name.cmp(&other.name));
        let names: BTreeSet<&str> = new.iter().map(|new| new.name.as_str()).collect();
        if names.len() < new.len() {
            return Err(Error::invalid("two of the schedules have the same name"));
        }
        if new.is_empty() {
            return Ok(());
        }
        let shared = &self.shared;
        let refused = wait::briefly(shared, || shared.store.apply_schedules(&new)).await?;
        if let Some(name) = refused {
            return Err(self.in_use(&name, Some("another application")));
        }
        shared.rescheduled.notify_one();
        Ok(())
    }

    /// The schedule of a name, whichever application it belongs to.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] when the database does not answer.
    pub async fn get(&self, name: &str) -> Result<Option<ScheduleInfo>> {
        Ok(self.row(name).await?.map(Into::into))
    }

    /// Schedules, by name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`] for a filter that breaks a limit, [`ErrorKind::Unavailable`] when the database does
    /// not answer.
    pub async fn list(&self, filter: &ScheduleFilter) -> Result<Vec<ScheduleInfo>> {
        let (shared, scope) = (&self.shared, filter.check()?);
        let rows = wait::briefly(shared, || shared.store.schedules(scope)).await?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    /// Stops a schedule from firing, in every process from this moment on. Says whether there is one of the name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] when the database does not answer.
    pub async fn pause(&self, name: &str) -> Result<bool> {
        self.set_status(name, ScheduleRow::PAUSED).await
    }

    /// Lets a paused schedule fire again, from now on; one with
    /// [automatic backfill](Schedule::automatic_backfill) makes up for the pause. Says whether there is one of the name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] when the database does not answer.
    pub async fn resume(&self, name: &str) -> Result<bool> {
        self.set_status(name, ScheduleRow::ACTIVE).await
    }

    /// Deletes a schedule; its runs stay. Says whether there was one of the name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] when the database does not answer.
    pub async fn delete(&self, name: &str) -> Result<bool> {
        let shared = self.writing(name)?;
        let deleted = wait::briefly(shared, || shared.store.delete_schedule(name)).await?;
        shared.rescheduled.notify_one();
        Ok(deleted > 0)
    }

    /// Runs a schedule's workflow now, once more, also when it is paused. The run's id comes back.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] when there is no schedule of the name, [`ErrorKind::Serialization`] when its context is
    /// in the format of another language, [`ErrorKind::Misplaced`] inside a workflow, [`ErrorKind::Unavailable`] when
    /// the database does not answer.
    pub async fn trigger(&self, name: &str) -> Result<WorkflowId> {
        guard::outside_of_bodies("a step can do it, or start the workflow itself")?;
        let schedule = self.existing(name).await?;
        let tick = triggered(&schedule, self.shared.clock.now())?;
        let mut ids = self.enqueue(Due { schedule, ticks: vec![tick] }).await?;
        ids.pop().ok_or_else(|| no_schedule(name))
    }

    /// Runs a schedule's workflow for every time that lies after `from` and before `to`, also when it is paused. A time
    /// that has its run already is left alone, so that a backfill can be repeated; all ids come back.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`] when `to` is before `from`, or when there are more than 100 000 times between them.
    /// [`ErrorKind::NotFound`] when there is no schedule of the name, [`ErrorKind::Serialization`] when its context is
    /// in the format of another language, [`ErrorKind::Misplaced`] inside a workflow, [`ErrorKind::Unavailable`] when
    /// the database does not answer.
    ///
    /// # Cancel safety
    ///
    /// Dropped or failed, it may have enqueued some of the runs, the first ones first.
    pub async fn backfill(&self, name: &str, from: Timestamp, to: Timestamp) -> Result<Vec<WorkflowId>> {
        guard::outside_of_bodies("a step can do it")?;
        if to < from {
            return Err(Error::invalid(format!("a backfill from {from} cannot end before, at {to}")));
        }
        let schedule = self.existing(name).await?;
        let cron = Cron::parse(&schedule.cron, schedule.time_zone.as_deref())?;
        let times = std::iter::successors(cron.next_after(from), |time| cron.next_after(*time));
        let times: Vec<Timestamp> = times.take_while(|time| *time < to).take(MOST_BACKFILLED + 1).collect();
        if times.len() > MOST_BACKFILLED {
            let message =
                format!("between {from} and {to} schedule {name:?} has more than {MOST_BACKFILLED} times");
            return Err(Error::invalid(message));
        }
        let mut ids = Vec::with_capacity(times.len());
        for times in times.chunks(TICKS_AT_ONCE) {
            let ticks = times.iter().map(|time| tick(&schedule, &cron, *time)).collect::<Result<Vec<_>>>()?;
            let enqueued = self.enqueue(Due { schedule: schedule.clone(), ticks }).await?;
            if enqueued.is_empty() {
                return Err(no_schedule(name));
            }
            ids.extend(enqueued);
        }
        Ok(ids)
    }

    /// Enqueues the runs of one schedule; their ids, or none if it has gone.
    async fn enqueue(&self, mut due: Due) -> Result<Vec<WorkflowId>> {
        self.shared.store.codec().seal_ticks(&mut due.ticks)?;
        let (shared, due) = (&self.shared, [due]);
        let fired = wait::briefly(shared, || shared.store.fire(&due, Firing::Asked)).await?;
        if fired.created > 0 {
            due.iter().for_each(|due| shared.wakeups.announce_queue(due.queue()));
        }
        if fired.schedules.is_empty() {
            return Ok(Vec::new());
        }
        Ok(due.into_iter().flat_map(|due| due.ticks).map(|tick| WorkflowId::trusted(tick.id)).collect())
    }

    async fn row(&self, name: &str) -> Result<Option<ScheduleRow>> {
        limits::name("schedule name", name)?;
        wait::briefly(&self.shared, || self.shared.store.schedule(name)).await
    }

    async fn existing(&self, name: &str) -> Result<ScheduleRow> {
        self.row(name).await?.ok_or_else(|| no_schedule(name))
    }

    async fn set_status(&self, name: &str, status: &str) -> Result<bool> {
        let shared = self.writing(name)?;
        let changed = wait::briefly(shared, || shared.store.set_schedule_status(name, status)).await?;
        shared.rescheduled.notify_one();
        Ok(changed > 0)
    }

    fn writing(&self, name: &str) -> Result<&Shared> {
        guard::outside_of_transactions()?;
        limits::name("schedule name", name)?;
        Ok(&self.shared)
    }

    /// What can only be said once everything is registered. Of a workflow of another program nothing is known here.
    async fn check(&self, new: &NewSchedule) -> Result<()> {
        let shared = &self.shared;
        let client = shared.identity.executor.is_none();
        if client || !new.own {
            return Ok(());
        }
        shared.registry.known(&new.workflow)?;
        if let Some(queue) = new.queue.as_deref().filter(|queue| *queue != INTERNAL_QUEUE)
            && wait::briefly(shared, || shared.store.queue(queue)).await?.is_none()
        {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no queue of the name {queue:?}")));
        }
        Ok(())
    }

    fn in_use(&self, name: &str, owner: Option<&str>) -> Error {
        let own = owner.is_none_or(|owner| Some(owner) == self.shared.identity.application.as_deref());
        let message = if own {
            format!("there is a schedule of the name {name:?}")
        } else {
            format!("another application on this database has a schedule of the name {name:?}")
        };
        Error::new(ErrorKind::NameInUse, message)
    }

    /// At a launch: applies the schedules that the program brings along, and begins to fire.
    pub(crate) async fn take_up(&self) -> Result<()> {
        self.upsert(self.shared.config.schedules.clone()).await?;
        let scheduler = Scheduler::start(&self.shared).await;
        self.shared.tasks.daemons.spawn(scheduler.run());
        Ok(())
    }
}

fn no_schedule(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no schedule of the name {name:?}"))
}

impl fmt::Debug for Schedules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedules").finish_non_exhaustive()
    }
}
