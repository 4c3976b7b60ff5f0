//! Questions about schedules.

use super::{Answer, Store};
use crate::failpoint::{self, Boundary, Side};
use crate::model::schedule::{Due, Fired, Firing, NewSchedule, ScheduleRow, ScheduleScope};
use crate::time::Timestamp;

impl Store {
    /// Inserts a schedule, or finds the one of its name: the row id and the application of what is there now.
    pub(crate) async fn create_schedule(&self, new: &NewSchedule) -> Answer<(String, Option<String>)> {
        failpoint::pass(Boundary::Schedule, Side::Before);
        let held = ask!(self, backend => backend.create_schedule(new).await)?;
        failpoint::pass(Boundary::Schedule, Side::After);
        Ok(held)
    }

    /// Inserts schedules, or gives those of their names the new definitions. All of them or, when another application
    /// holds one of the names, none; then the name comes back. The schedules are in the order of their names.
    pub(crate) async fn apply_schedules(&self, new: &[NewSchedule]) -> Answer<Option<String>> {
        failpoint::pass(Boundary::Schedule, Side::Before);
        let refused = ask!(self, backend => backend.apply_schedules(new).await)?;
        failpoint::pass(Boundary::Schedule, Side::After);
        Ok(refused)
    }

    /// The schedule of a name.
    pub(crate) async fn schedule(&self, name: &str) -> Answer<Option<ScheduleRow>> {
        let mut found = ask!(self, backend => backend.schedule(name).await)?;
        found.iter_mut().for_each(|row| self.codec().open_schedule(row));
        Ok(found)
    }

    /// Schedules by name.
    pub(crate) async fn schedules(&self, scope: &ScheduleScope) -> Answer<Vec<ScheduleRow>> {
        let mut rows = ask!(self, backend => backend.schedules(scope).await)?;
        rows.iter_mut().for_each(|row| self.codec().open_schedule(row));
        Ok(rows)
    }

    /// The database's time, and the schedules that this application fires.
    pub(crate) async fn active_schedules(&self) -> Answer<(Timestamp, Vec<ScheduleRow>)> {
        let (now, mut rows) = ask!(self, backend => backend.active_schedules().await)?;
        rows.iter_mut().for_each(|row| self.codec().open_schedule(row));
        Ok((now, rows))
    }

    /// Pauses or resumes a schedule; how many rows that was.
    pub(crate) async fn set_schedule_status(&self, name: &str, status: &str) -> Answer<u64> {
        failpoint::pass(Boundary::Schedule, Side::Before);
        let changed = ask!(self, backend => backend.set_schedule_status(name, status).await)?;
        failpoint::pass(Boundary::Schedule, Side::After);
        Ok(changed)
    }

    /// Deletes a schedule; how many rows that was.
    pub(crate) async fn delete_schedule(&self, name: &str) -> Answer<u64> {
        failpoint::pass(Boundary::Schedule, Side::Before);
        let deleted = ask!(self, backend => backend.delete_schedule(name).await)?;
        failpoint::pass(Boundary::Schedule, Side::After);
        Ok(deleted)
    }

    /// Enqueues the runs of these ticks, those that are not there yet. Live ones move the schedule's last tick too.
    pub(crate) async fn fire(&self, due: &[Due], firing: Firing) -> Answer<Fired> {
        failpoint::pass(Boundary::Fire, Side::Before);
        let fired = ask!(self, backend => backend.fire(due, firing).await)?;
        failpoint::pass(Boundary::Fire, Side::After);
        Ok(fired)
    }
}
