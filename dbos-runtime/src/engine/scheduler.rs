//! Fires schedules: one task with a plan of what is due next, which it compares with the database now and then.
//!
//! Every process of an application does the same. The id of a run follows from its time, so the first insert counts and
//! the others find it there. The database has the last word on a tick: is its schedule still the one of the plan, and
//! has its time come?

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::cron::Cron;
use super::schedules::{TICKS_AT_ONCE, tick};
use super::shared::Shared;
use crate::error::Result;
use crate::model::schedule::{Due, Firing, ScheduleRow};
use crate::store::error::StoreError;
use crate::time::Timestamp;

/// After a look that failed; doubled each time.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);

/// What the loop woke up for.
enum Event {
    Look,
    Fire,
    Stop,
}

pub(crate) struct Scheduler {
    shared: Arc<Shared>,
    plan: Plan,
    /// Whether the plan has to be compared with the database before anything is fired.
    stale: bool,
    look_at: Instant,
    backoff: Duration,
}

impl Scheduler {
    /// A scheduler that has looked once.
    pub(crate) async fn start(shared: &Arc<Shared>) -> Self {
        let mut scheduler = Self {
            shared: Arc::clone(shared),
            plan: Plan::default(),
            stale: true,
            look_at: Instant::now(),
            backoff: FIRST_BACKOFF,
        };
        scheduler.look().await;
        scheduler
    }

    pub(crate) async fn run(mut self) {
        loop {
            match self.event().await {
                Event::Stop => return,
                Event::Look => self.look().await,
                Event::Fire => self.fire().await,
            }
        }
    }

    async fn event(&self) -> Event {
        let shared = &self.shared;
        let due = self.plan.next().filter(|_| !self.stale).map(|next| next.since(shared.clock.now()));
        tokio::select! {
            biased;
            () = shared.tasks.draining.cancelled() => Event::Stop,
            () = shared.rescheduled.notified() => Event::Look,
            () = tokio::time::sleep_until(self.look_at) => Event::Look,
            () = tokio::time::sleep(due.unwrap_or_default()), if due.is_some() => Event::Fire,
        }
    }

    /// Brings the plan up to date.
    async fn look(&mut self) {
        if !self.shared.is_active() {
            // A process that is active again begins anew: what was due in between was for others to fire.
            self.plan = Plan::default();
            self.look_at = Instant::now() + self.shared.config.schedule_poll;
            return;
        }
        let asked = std::time::Instant::now();
        match self.shared.store.active_schedules().await {
            Ok((now, rows)) => {
                self.shared.clock.anchor(now, asked);
                self.plan.update(rows, now, |name| self.shared.registry.known(name));
                self.stale = false;
                self.look_at = Instant::now() + self.shared.config.schedule_poll;
                self.backoff = FIRST_BACKOFF;
            }
            Err(error) => self.retry("the schedules could not be read", &error),
        }
    }

    /// Enqueues the runs whose time has come.
    async fn fire(&mut self) {
        let mut due = self.plan.due(self.shared.clock.now());
        let shared = Arc::clone(&self.shared);
        due.retain_mut(|due| {
            let sealed = shared.store.codec().seal_ticks(&mut due.ticks);
            sealed.map_err(|error| self.skip(std::slice::from_ref(due), &error)).is_ok()
        });
        if due.is_empty() || !self.shared.is_active() {
            return;
        }
        match self.shared.store.fire(&due, Firing::Live).await {
            Ok(fired) => {
                if fired.created > 0 {
                    self.announce(&due);
                }
                for due in &due {
                    if fired.schedules.contains(&due.schedule.row_id) {
                        self.plan.fired(due);
                    } else {
                        // Paused, deleted or changed since the last look.
                        self.stale = true;
                        self.look_at = Instant::now();
                    }
                }
            }
            Err(StoreError::Rejected(_)) if due.len() > 1 => self.fire_each(&due).await,
            Err(error @ StoreError::Rejected(_)) => self.skip(&due, &error),
            Err(error) => self.retry("scheduled runs could not be enqueued", &error),
        }
    }

    /// The database refuses the ticks together: only the culprit's are left out.
    async fn fire_each(&mut self, due: &[Due]) {
        for due in due {
            let due = std::slice::from_ref(due);
            match self.shared.store.fire(due, Firing::Live).await {
                Ok(_) => due.iter().for_each(|due| self.plan.fired(due)),
                Err(error @ StoreError::Rejected(_)) => self.skip(due, &error),
                Err(error) => return self.retry("scheduled runs could not be enqueued", &error),
            }
        }
        self.announce(due);
    }

    /// Says that there is something on the queues of these ticks.
    fn announce(&self, due: &[Due]) {
        due.iter().for_each(|due| self.shared.wakeups.announce_queue(due.queue()));
    }

    fn skip(&mut self, due: &[Due], error: &(dyn std::error::Error + 'static)) {
        for due in due {
            tracing::error!(
                error,
                schedule = %due.schedule.name,
                "scheduled runs are left out: they cannot be stored"
            );
            self.plan.fired(due);
        }
    }

    /// What was missed until the database answers again is fired then, as far as its schedule is still active.
    fn retry(&mut self, what: &str, error: &StoreError) {
        tracing::warn!(error = error as &dyn std::error::Error, "{what}; the next look tries again");
        self.stale = true;
        self.look_at = Instant::now() + self.backoff.mul_f64(0.5 + rand::random::<f64>());
        self.backoff = (self.backoff * 2).min(LONGEST_BACKOFF);
    }
}

/// The active schedules by their row ids, each with its next time.
#[derive(Default)]
struct Plan {
    entries: BTreeMap<String, Entry>,
    /// Schedules that cannot be fired here, with the reason, so that each is reported once.
    skipped: HashMap<String, String>,
}

struct Entry {
    schedule: ScheduleRow,
    cron: Cron,
    next: Option<Timestamp>,
}

impl Plan {
    /// Takes the schedules as they are now. One that is new to the plan begins now, or where it was left if it makes up
    /// for what it missed; one with another definition begins now: nothing of it was missed before it was there.
    fn update(&mut self, rows: Vec<ScheduleRow>, now: Timestamp, registered: impl Fn(&str) -> Result<()>) {
        let mut before = std::mem::take(&mut self.entries);
        let mut skipped = HashMap::new();
        for schedule in rows {
            let id = schedule.row_id.clone();
            let known = before.remove(&id);
            let changed = known.is_some();
            if let Some(entry) = known.filter(|entry| entry.schedule.fires_like(&schedule)) {
                self.entries.insert(id, Entry { schedule, ..entry });
                continue;
            }
            let from = if changed { now } else { left_at(&schedule, now) };
            match begin(schedule, now, from, &registered) {
                Ok(entry) => drop(self.entries.insert(id, entry)),
                Err((schedule, why)) => {
                    if self.skipped.get(&id) != Some(&why) {
                        tracing::warn!(schedule, "a schedule is not fired by this process: {why}");
                    }
                    skipped.insert(id, why);
                }
            }
        }
        self.skipped = skipped;
    }

    fn next(&self) -> Option<Timestamp> {
        self.entries.values().filter_map(|entry| entry.next).min()
    }

    /// What is due, as much as one statement takes; each schedule gets its share.
    fn due(&self, now: Timestamp) -> Vec<Due> {
        let late = || self.entries.values().filter(|entry| entry.next.is_some_and(|next| next <= now));
        let share = (TICKS_AT_ONCE / late().count().max(1)).max(1);
        let due = |entry: &Entry| {
            let times = std::iter::successors(entry.next, |time| entry.cron.next_after(*time));
            let times = times.take_while(|time| *time <= now).take(share);
            // The context was found to be an input when the schedule was taken into the plan.
            let ticks = times.filter_map(|time| tick(&entry.schedule, &entry.cron, time).ok()).collect();
            Due { schedule: entry.schedule.clone(), ticks }
        };
        late().take(TICKS_AT_ONCE).map(due).collect()
    }

    /// These ticks are done.
    fn fired(&mut self, due: &Due) {
        if let (Some(entry), Some(last)) = (self.entries.get_mut(&due.schedule.row_id), due.ticks.last()) {
            entry.next = entry.cron.next_after(last.at);
        }
    }
}

/// The instant up to which a schedule has been fired, or needs not be.
fn left_at(schedule: &ScheduleRow, now: Timestamp) -> Timestamp {
    let left = schedule.last_fired_at.as_deref().and_then(|text| text.parse().ok());
    left.filter(|left: &Timestamp| schedule.automatic_backfill && *left < now).unwrap_or(now)
}

/// A place in the plan for what comes after `from`, or the schedule's name and why it has none.
fn begin(
    schedule: ScheduleRow,
    now: Timestamp,
    from: Timestamp,
    registered: impl Fn(&str) -> Result<()>,
) -> std::result::Result<Entry, (String, String)> {
    let ready = || {
        registered(&schedule.workflow)?;
        let cron = Cron::parse(&schedule.cron, schedule.time_zone.as_deref())?;
        tick(&schedule, &cron, now)?;
        Ok::<_, crate::error::Error>(cron)
    };
    let cron = ready().map_err(|error| (schedule.name.clone(), error.to_string()))?;
    let next = cron.next_after(from);
    Ok(Entry { schedule, cron, next })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn row(id: &str, cron: &str) -> ScheduleRow {
        ScheduleRow {
            row_id: id.to_owned(),
            name: format!("s-{id}"),
            workflow: "w".to_owned(),
            class_name: None,
            cron: cron.to_owned(),
            status: ScheduleRow::ACTIVE.to_owned(),
            context: "null".to_owned(),
            sealed: None,
            time_zone: None,
            queue: None,
            automatic_backfill: false,
            last_fired_at: None,
            application: None,
        }
    }

    fn due(plan: &Plan, now: &str) -> Vec<(String, usize)> {
        plan.due(at(now)).into_iter().map(|due| (due.schedule.row_id, due.ticks.len())).collect()
    }

    const ANY: fn(&str) -> Result<()> = |_| Ok(());

    // M385
    #[test]
    fn only_another_definition_begins_anew() {
        let mut plan = Plan::default();
        plan.update(vec![row("a", "* * * * *")], at("2026-01-01T00:00:30Z"), ANY);
        assert_eq!(plan.next(), Some(at("2026-01-01T00:01:00Z")));
        let later = at("2026-01-01T00:05:30Z");
        let same = ScheduleRow {
            last_fired_at: Some("2026-01-01T00:00:00+00:00".to_owned()),
            automatic_backfill: true,
            ..row("a", "* * * * *")
        };
        plan.update(vec![same], later, ANY);
        assert_eq!(due(&plan, "2026-01-01T00:05:30Z"), [("a".to_owned(), 5)], "what was missed is still due");
        let changes: [fn(&mut ScheduleRow); 6] = [
            |row| row.cron = "0 * * * *".to_owned(),
            |row| row.time_zone = Some("Asia/Tokyo".to_owned()),
            |row| row.context = "1".to_owned(),
            |row| row.workflow = "other".to_owned(),
            |row| row.queue = Some("q".to_owned()),
            |row| row.class_name = Some("C".to_owned()),
        ];
        for change in changes {
            let mut plan = Plan::default();
            let left = ScheduleRow {
                last_fired_at: Some("2026-01-01T00:00:00+00:00".to_owned()),
                automatic_backfill: true,
                ..row("a", "* * * * *")
            };
            plan.update(vec![left.clone()], at("2026-01-01T00:00:30Z"), ANY);
            let mut changed = left;
            change(&mut changed);
            plan.update(vec![changed], later, ANY);
            assert_eq!(due(&plan, "2026-01-01T00:05:30Z"), [], "it begins at the change");
            assert!(plan.next() >= Some(at("2026-01-01T00:06:00Z")));
        }
        plan.update(vec![], later, ANY);
        assert_eq!(plan.next(), None);
    }

    // M403
    #[test]
    fn what_was_missed_is_made_up_for_from_either_spelling() {
        for text in ["2026-01-01T00:00:00+00:00", "2026-01-01T00:00:00.000Z", "2026-01-01T09:00:00+09:00"] {
            let mut plan = Plan::default();
            let last_fired_at = Some(text.to_owned());
            let missed = ScheduleRow { automatic_backfill: true, last_fired_at, ..row("a", "* * * * *") };
            plan.update(vec![missed], at("2026-01-01T00:03:30Z"), ANY);
            assert_eq!(due(&plan, "2026-01-01T00:03:30Z"), [("a".to_owned(), 3)], "{text}");
        }
    }

    #[test]
    fn a_long_absence_is_made_up_for_in_portions_that_all_share() {
        let mut plan = Plan::default();
        plan.update(vec![row("a", "* * * * * *"), row("b", "* * * * *")], at("2026-01-01T00:00:00Z"), ANY);
        let now = "2026-01-01T01:00:00Z";
        let (mut portions, mut fired) = (0, 0);
        while !plan.due(at(now)).is_empty() {
            let due = plan.due(at(now));
            assert_eq!(due.len(), if portions == 0 { 2 } else { 1 });
            fired += due.iter().map(|due| due.ticks.len()).sum::<usize>();
            due.iter().for_each(|due| plan.fired(due));
            portions += 1;
        }
        assert_eq!((portions, fired), (8, 3660));
    }

    #[test]
    fn what_cannot_be_fired_here_stands_in_nobodys_way() {
        let mut plan = Plan::default();
        let rows = vec![
            row("a", "@reboot"),
            ScheduleRow { time_zone: Some("Mars/X".to_owned()), ..row("b", "* * * * *") },
            ScheduleRow { context: "gASV".to_owned(), ..row("c", "* * * * *") },
            ScheduleRow { workflow: "elsewhere".to_owned(), ..row("d", "* * * * *") },
            row("e", "* * * * *"),
        ];
        let known = |name: &str| {
            if name == "w" { Ok(()) } else { Err(crate::error::Error::invalid("not registered")) }
        };
        plan.update(rows, at("2026-01-01T00:00:00Z"), known);
        assert_eq!(due(&plan, "2026-01-01T00:01:00Z"), [("e".to_owned(), 1)]);
        assert_eq!(plan.skipped.len(), 4);
    }
}
