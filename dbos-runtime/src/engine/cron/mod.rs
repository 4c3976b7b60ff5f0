//! When a schedule is due: a cron expression in a time zone.
//!
//! Days follow the Unix tradition: Sunday is 0 or 7, and where both the day of the month and the day of the week are
//! restricted, either will do. The clocks of a zone are followed like this: an expression is due at every instant whose
//! local time it names, so in a repeated hour it is due twice. What it names in a skipped hour is due once, at the first
//! instant after; not so an expression for every hour, which misses nothing.

mod fields;

use std::str::FromStr as _;

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

use crate::error::{Error, Result};
use crate::time::Timestamp;

/// A cron expression in a time zone.
#[derive(Clone, Debug)]
pub(crate) struct Cron {
    pattern: croner::Cron,
    every_hour: bool,
    zone: TimeZone,
}

impl Cron {
    /// Reads an expression; without a zone its times are UTC.
    pub(crate) fn parse(text: &str, zone: Option<&str>) -> Result<Self> {
        let invalid = |why: String| Error::invalid(format!("cron expression {text:?} cannot be used: {why}"));
        let plain = fields::plain(text).map_err(invalid)?;
        let pattern = croner::Cron::from_str(&plain.pattern).map_err(|error| invalid(error.to_string()))?;
        if !ever(&plain.pattern) {
            return Err(invalid("it names no date that exists".to_owned()));
        }
        Ok(Self { pattern, every_hour: plain.every_hour, zone: time_zone(zone)? })
    }

    /// The first instant after this one at which it is due; nothing at the end of the calendar.
    pub(crate) fn next_after(&self, instant: Timestamp) -> Option<Timestamp> {
        let seconds = instant.as_millis().div_euclid(1000).checked_add(1)?;
        let mut from = jiff::Timestamp::from_second(seconds).ok()?;
        // A stretch of time in which the clock runs evenly, then the next one.
        loop {
            let offset = self.zone.to_offset(from);
            let found = self.pattern.find_next_occurrence(&offset.to_datetime(from), true).ok()?;
            let Some(turn) = self.zone.following(from).next() else {
                return instant_of(offset, found);
            };
            let end = turn.timestamp();
            if found < offset.to_datetime(end) {
                return instant_of(offset, found);
            }
            let skipped = found < turn.offset().to_datetime(end);
            if skipped && !self.every_hour {
                return Some(Timestamp::from_millis(end.as_millisecond()));
            }
            from = end;
        }
    }

    /// An instant in the zone, as the other SDKs write it: `2026-11-22T08:17:28-05:00`.
    pub(crate) fn iso(&self, instant: Timestamp) -> String {
        let Ok(instant) = jiff::Timestamp::from_second(instant.as_millis().div_euclid(1000)) else {
            return instant.as_millis().to_string();
        };
        let offset = self.zone.to_offset(instant);
        let seconds = offset.seconds();
        let (sign, seconds) = (if seconds < 0 { '-' } else { '+' }, seconds.unsigned_abs());
        let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let local = offset.to_datetime(instant).strftime("%Y-%m-%dT%H:%M:%S").to_string();
        let rest = if rest == 0 { String::new() } else { format!(":{rest:02}") };
        format!("{local}{sign}{hours:02}:{minutes:02}{rest}")
    }
}

/// The times after an instant, as they are written in the zone.
#[cfg(feature = "failpoints")]
pub(crate) fn cron_times(text: &str, zone: &str, after: Timestamp, count: usize) -> Result<Vec<String>> {
    let cron = Cron::parse(text, Some(zone))?;
    let times = std::iter::successors(cron.next_after(after), |time| cron.next_after(*time));
    Ok(times.take(count).map(|time| cron.iso(time)).collect())
}

/// Whether an expression names a date at all. Nine years that begin with a leap year have every date on every weekday
/// that it can fall on, but for 29 February, of which the weekday alone would be due on other dates too.
fn ever(pattern: &str) -> bool {
    const BEGIN: DateTime = DateTime::constant(2096, 1, 1, 0, 0, 0, 0);
    croner::Cron::from_str(&format!("{pattern} 2096-2104"))
        .is_ok_and(|within| within.find_next_occurrence(&BEGIN, true).is_ok())
}

fn instant_of(offset: Offset, local: DateTime) -> Option<Timestamp> {
    offset.to_timestamp(local).ok().map(|instant| Timestamp::from_millis(instant.as_millisecond()))
}

/// A zone of the IANA database by its exact name, which is how the other SDKs look it up.
fn time_zone(name: Option<&str>) -> Result<TimeZone> {
    let Some(name) = name else { return Ok(TimeZone::UTC) };
    let unknown = |hint: &str| Error::invalid(format!("time zone {name:?} is not known{hint}"));
    let zone = TimeZone::get(name).map_err(|_| unknown("; an example of one is \"Europe/Berlin\""))?;
    match zone.iana_name() {
        Some(exact) if exact == name => Ok(zone),
        Some(exact) => Err(unknown(&format!("; there is {exact:?}"))),
        None => Err(unknown("")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// The next instants after a moment, as they are written in the zone.
    fn ticks(text: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let cron = Cron::parse(text, Some(zone)).unwrap();
        let next = |instant: &Timestamp| cron.next_after(*instant);
        std::iter::successors(next(&at(after)), next).take(count).map(|tick| cron.iso(tick)).collect()
    }

    // B54, B55, B56
    #[test]
    fn days_follow_the_unix_tradition() {
        // 2026-01-01 is a Thursday.
        let cases: [(&str, &[&str]); 14] = [
            ("0 0 * * 1", &["01-05", "01-12"]),
            ("0 0 0 * * 1", &["01-05", "01-12"]),
            ("0 0 * * 0", &["01-04", "01-11"]),
            ("0 0 * * 7", &["01-04", "01-11"]),
            ("0 0 * * SUN", &["01-04", "01-11"]),
            ("0 0 0 13 * 5", &["01-02", "01-09", "01-13"]),
            ("0 0 */2 * 1", &["01-03", "01-05", "01-07"]),
            ("0 0 13 * ?", &["01-13", "02-13"]),
            ("0 0 L * *", &["01-31", "02-28"]),
            ("0 0 15W * *", &["01-15", "02-16"]),
            ("0 0 * * 5#2", &["01-09", "02-13"]),
            ("0 0 * * L5", &["01-30", "02-27"]),
            ("0 0 1 * 0-6", &["01-02", "01-03"]),
            ("0 0 * * FRI-MON", &["01-02", "01-03", "01-04", "01-05", "01-09"]),
        ];
        for (text, days) in cases {
            let expected: Vec<String> = days.iter().map(|day| format!("2026-{day}T00:00:00+00:00")).collect();
            assert_eq!(ticks(text, "UTC", "2026-01-01T00:00:00Z", days.len()), expected, "{text}");
        }
    }

    // B57
    #[test]
    fn a_date_that_never_comes_is_refused() {
        for text in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 31W 2 *"] {
            let error = Cron::parse(text, None).expect_err(text).to_string();
            assert!(error.contains("no date that exists"), "{error}");
        }
        assert_eq!(ticks("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", 1), ["2104-02-29T00:00:00+00:00"]);
    }

    // B59
    #[test]
    fn a_time_zone_has_its_exact_name() {
        for (zone, part) in [
            ("", "not known"),
            ("Mars/X", "not known"),
            ("UTC+2", "not known"),
            ("europe/berlin", "there is \"Europe/Berlin\""),
        ] {
            let error = Cron::parse("* * * * *", Some(zone)).expect_err(zone).to_string();
            assert!(error.contains(part), "{zone}: {error}");
        }
        assert!(Cron::parse("* * * * *", Some("Etc/GMT-2")).is_ok());
    }

    // B58, F28
    #[test]
    fn the_clocks_of_a_zone_are_followed() {
        const NEW_YORK: &str = "America/New_York";
        let cases: [(&str, &str, &str, &[&str]); 11] = [
            // Skipped: 02:00 to 03:00 of 8 March.
            (
                "30 2 * * *",
                NEW_YORK,
                "2026-03-08T05:00:00Z",
                &["03-08T03:00:00-04:00", "03-09T02:30:00-04:00"],
            ),
            (
                "*/15 2 * * *",
                NEW_YORK,
                "2026-03-08T05:00:00Z",
                &["03-08T03:00:00-04:00", "03-09T02:00:00-04:00"],
            ),
            (
                "45 1-3 * * *",
                NEW_YORK,
                "2026-03-08T05:00:00Z",
                &["03-08T01:45:00-05:00", "03-08T03:00:00-04:00", "03-08T03:45:00-04:00"],
            ),
            (
                "45 * * * *",
                NEW_YORK,
                "2026-03-08T06:00:00Z",
                &["03-08T01:45:00-05:00", "03-08T03:45:00-04:00"],
            ),
            // Repeated: 01:00 to 02:00 of 1 November.
            (
                "30 1 * * *",
                NEW_YORK,
                "2026-11-01T04:00:00Z",
                &["11-01T01:30:00-04:00", "11-01T01:30:00-05:00", "11-02T01:30:00-05:00"],
            ),
            (
                "*/30 * * * *",
                NEW_YORK,
                "2026-11-01T04:30:00Z",
                &[
                    "11-01T01:00:00-04:00",
                    "11-01T01:30:00-04:00",
                    "11-01T01:00:00-05:00",
                    "11-01T01:30:00-05:00",
                    "11-01T02:00:00-05:00",
                ],
            ),
            (
                "0 2 * * *",
                "Europe/Berlin",
                "2026-03-28T20:00:00Z",
                &["03-29T03:00:00+02:00", "03-30T02:00:00+02:00"],
            ),
            (
                "0 2 * * *",
                "Europe/Berlin",
                "2026-10-24T20:00:00Z",
                &["10-25T02:00:00+02:00", "10-25T02:00:00+01:00", "10-26T02:00:00+01:00"],
            ),
            // Half an hour: 02:00 to 02:30 is skipped, 01:30 to 02:00 repeated.
            (
                "0 */2 * * *",
                "Australia/Lord_Howe",
                "2026-10-03T15:00:00Z",
                &["10-04T02:30:00+11:00", "10-04T04:00:00+11:00"],
            ),
            (
                "45 1 * * *",
                "Australia/Lord_Howe",
                "2026-04-04T13:00:00Z",
                &["04-05T01:45:00+11:00", "04-05T01:45:00+10:30", "04-06T01:45:00+10:30"],
            ),
            ("59 59 23 31 12 *", "UTC", "2026-12-31T23:59:58.999Z", &["12-31T23:59:59+00:00"]),
        ];
        for (text, zone, after, expected) in cases {
            let expected: Vec<String> = expected.iter().map(|tick| format!("2026-{tick}")).collect();
            assert_eq!(ticks(text, zone, after, expected.len()), expected, "{text} in {zone}");
        }
    }

    // F28
    #[test]
    fn the_calendar_goes_on_after_2038_and_ends_quietly() {
        assert_eq!(
            ticks("0 0 1 7 *", "America/New_York", "2038-01-20T00:00:00Z", 2),
            ["2038-07-01T00:00:00-04:00", "2039-07-01T00:00:00-04:00"]
        );
        let cron = Cron::parse("* * * * *", None).unwrap();
        assert_eq!(cron.next_after(Timestamp::from_millis(i64::MAX)), None);
        assert_eq!(cron.next_after(at("9999-12-30T00:00:00Z")), None);
    }
}
