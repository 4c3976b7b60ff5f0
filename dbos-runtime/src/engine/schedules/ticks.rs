//! The runs that a schedule asks for.

use serde_json::value::RawValue;

use crate::engine::cron::Cron;
use crate::error::{Error, ErrorKind, Result};
use crate::model::schedule::{ScheduleRow, Tick};
use crate::payload::{self, Format};
use crate::time::Timestamp;

/// Ticks of one statement.
pub(crate) const TICKS_AT_ONCE: usize = 500;

/// The run of a scheduled time. Its id follows from the schedule's name and the time, so it is the same in every process.
pub(crate) fn tick(schedule: &ScheduleRow, cron: &Cron, at: Timestamp) -> Result<Tick> {
    let text = cron.iso(at);
    Ok(Tick {
        id: format!("sched-{}-{text}", schedule.name),
        at,
        input: input(schedule, at)?,
        format: format(schedule),
        text,
    })
}

/// A run by hand. The clock of the database counts milliseconds; chance tells runs of the same one apart.
pub(crate) fn triggered(schedule: &ScheduleRow, now: Timestamp) -> Result<Tick> {
    let text = now.to_string();
    let micros = rand::random_range(0..1000);
    let text = format!("{}{micros:03}+00:00", text.trim_end_matches('Z'));
    Ok(Tick {
        id: format!("sched-{}-trigger-{text}", schedule.name),
        at: now,
        input: input(schedule, now)?,
        format: format(schedule),
        text,
    })
}

/// Runs are stored as their schedule is: one of another program stays readable for it.
fn format(schedule: &ScheduleRow) -> Format {
    if schedule.sealed.is_some() { Format::Default } else { Format::Portable }
}

/// The two arguments of a run: the time, and the context as it is stored.
fn input(schedule: &ScheduleRow, at: Timestamp) -> Result<String> {
    let context = RawValue::from_string(schedule.context.trim().to_owned()).map_err(|_| {
        let message = format!("the context of schedule {:?} is not JSON", schedule.name);
        Error::new(ErrorKind::Serialization, message)
    })?;
    payload::encode_input(&(at.to_string(), context))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(context: &str) -> ScheduleRow {
        ScheduleRow {
            row_id: "r".to_owned(),
            name: "nightly".to_owned(),
            workflow: "w".to_owned(),
            class_name: None,
            cron: "0 2 * * *".to_owned(),
            status: ScheduleRow::ACTIVE.to_owned(),
            context: context.to_owned(),
            sealed: None,
            time_zone: None,
            queue: None,
            automatic_backfill: false,
            last_fired_at: None,
            application: None,
        }
    }

    #[test]
    fn a_run_is_named_after_its_time_in_the_zone() {
        let cron = Cron::parse("0 2 * * *", Some("America/New_York")).unwrap();
        let tick = tick(&schedule(" {\"a\": 1}\n"), &cron, "2026-11-22T07:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(tick.id, "sched-nightly-2026-11-22T02:00:00-05:00");
        assert_eq!(tick.text, "2026-11-22T02:00:00-05:00");
        assert_eq!(tick.input, r#"{"positionalArgs":["2026-11-22T07:00:00.000Z",{"a": 1}],"namedArgs":{}}"#);
    }

    #[test]
    fn a_run_by_hand_is_named_after_the_moment() {
        let now = Timestamp::from_millis(1_795_353_448_123);
        let tick = triggered(&schedule("null"), now).unwrap();
        let id = tick.id.strip_prefix("sched-nightly-trigger-2026-11-22T13:17:28.123").unwrap();
        assert_eq!((id.len(), id.ends_with("+00:00")), (9, true), "{id}");
        assert_eq!(tick.text.parse::<Timestamp>().unwrap(), now);
    }

    // B81
    #[test]
    fn a_context_in_a_foreign_format_is_no_input() {
        let error = triggered(&schedule("gASVBQAAAAAAAACMAXiULg=="), Timestamp::from_millis(0)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Serialization);
    }
}
