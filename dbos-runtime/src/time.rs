//! The one place that asks for the time.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Result};

/// An instant in milliseconds since the Unix epoch, by the database's clock.
///
/// Stored as that number. It is also read from a date and time as text, which is how other languages store theirs and
/// how a scheduled workflow is told its time.
///
/// ```
/// use dbos_runtime::Timestamp;
///
/// let at: Timestamp = "2026-11-22T08:17:28-05:00".parse()?;
/// assert_eq!(at, "2026-11-22T13:17:28".parse()?, "without an offset it is UTC");
/// assert_eq!(at.to_string(), "2026-11-22T13:17:28.000Z");
/// # Ok::<(), dbos_runtime::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The instant that lies `millis` after the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This instant moved by a duration; stops at the end of time instead of wrapping.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long until this instant, seen from `now`; nothing when it has passed.
    pub fn since(self, now: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(now.0)).unwrap_or(0))
    }
}

/// As portable JSON writes it, in UTC with milliseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(f, "{instant:.3}"),
            // Beyond the year 9999.
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

/// Reads an ISO 8601 date and time; one without an offset is UTC.
impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let zoned = text.parse::<jiff::Timestamp>().ok();
        let utc = || jiff::tz::Offset::UTC.to_timestamp(text.parse::<jiff::civil::DateTime>().ok()?).ok();
        zoned.or_else(utc).map(|instant| Self(instant.as_millisecond())).ok_or_else(|| {
            Error::invalid(format!("{text:?} is not a date and time such as 2026-11-22T08:17:28Z"))
        })
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Millis(i64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Millis(millis) => Ok(Self(millis)),
            Form::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// The database's clock, kept by this process's monotonic one.
///
/// Anchored when a database is opened and again with each sweep. Between two anchors it runs on [`Instant`], so a step
/// of the machine's wall clock moves no timer, and two skewed machines agree on every stored instant.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    /// The database's milliseconds at `started`.
    base: AtomicI64,
    /// What it has shown last.
    latest: AtomicI64,
}

/// By how much the clock is set for reasons of its own, such as a slow answer. What is more was done to the database's
/// clock, or the machine has slept.
pub(crate) const JITTER: Duration = Duration::from_secs(1);

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Clock {
    pub(crate) fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), base: AtomicI64::new(millis(wall)), latest: AtomicI64::new(0) }
    }

    /// Takes account of what the database said, some time between the question and now. A clock that may be right is left
    /// alone: otherwise it would jump to and fro as answers come sooner or later.
    pub(crate) fn anchor(&self, database: Timestamp, asked: Instant) {
        let now = self.elapsed();
        let asked = millis(asked.saturating_duration_since(self.started)).min(now);
        let right = database.0.saturating_sub(now)..=database.0.saturating_sub(asked);
        let _ = self.base.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |base| {
            Some(base.clamp(*right.start(), *right.end()))
        });
    }

    /// Does not go back, unless the database's clock was set back.
    pub(crate) fn now(&self) -> Timestamp {
        let now = self.base.load(Ordering::Relaxed).saturating_add(self.elapsed());
        let latest = self.latest.fetch_max(now, Ordering::Relaxed);
        if latest.saturating_sub(now) > millis(JITTER) {
            self.latest.store(now, Ordering::Relaxed);
            return Timestamp(now);
        }
        Timestamp(now.max(latest))
    }

    fn elapsed(&self) -> i64 {
        millis(self.started.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_in_the_past_is_not_waited_for() {
        let now = Timestamp::from_millis(1_000);
        assert_eq!(Timestamp::from_millis(900).since(now), Duration::ZERO);
        assert_eq!(Timestamp::from_millis(1_500).since(now), Duration::from_millis(500));
    }

    #[test]
    fn an_instant_is_read_from_every_spelling() {
        let instant = Timestamp::from_millis(1_795_353_448_000);
        for text in [
            "1795353448000",
            "\"2026-11-22T13:17:28Z\"",
            "\"2026-11-22T13:17:28.000Z\"",
            "\"2026-11-22T08:17:28-05:00\"",
            "\"2026-11-22T13:17:28.000000+00:00\"",
            "\"2026-11-22T13:17:28\"",
            "\"2026-11-22 13:17:28\"",
        ] {
            assert_eq!(serde_json::from_str::<Timestamp>(text).unwrap(), instant, "{text}");
        }
        assert_eq!(serde_json::to_string(&instant).unwrap(), "1795353448000");
        for text in ["\"\"", "\"soon\"", "null", "\"2026-13-01T00:00:00Z\""] {
            assert!(serde_json::from_str::<Timestamp>(text).is_err(), "{text}");
        }
        assert_eq!(Timestamp::from_millis(i64::MAX).to_string(), "9223372036854775807 ms");
    }

    #[test]
    fn the_end_of_time_does_not_wrap() {
        assert_eq!(Timestamp::from_millis(5).after(Duration::MAX).as_millis(), i64::MAX);
    }

    #[test]
    fn the_clock_follows_the_database() {
        let clock = Clock::new();
        for database in [1_000_000, 9_000_000_000_000, 5] {
            let asked = Instant::now();
            clock.anchor(Timestamp::from_millis(database), asked);
            let now = clock.now().as_millis();
            let most = database + millis(asked.elapsed());
            assert!((database..=most + 1).contains(&now), "{now} is not between {database} and {most}");
        }
    }

    #[test]
    fn an_answer_that_comes_late_does_not_move_the_clock() {
        let ago = |millis| Instant::now().checked_sub(Duration::from_millis(millis)).unwrap();
        let clock = Clock { started: ago(2_000), base: AtomicI64::new(0), latest: AtomicI64::new(0) };
        clock.anchor(Timestamp::from_millis(1_000_000), Instant::now());
        let right = clock.base.load(Ordering::Relaxed);
        for (said, asked) in [(1_000, 1_500), (500, 1_900), (1_500, 1_800)] {
            let database = right + clock.elapsed() - said;
            clock.anchor(Timestamp::from_millis(database), ago(u64::try_from(asked).unwrap()));
            assert_eq!(clock.base.load(Ordering::Relaxed), right, "said {said} ms ago, asked {asked} ms ago");
        }
        // One that contradicts it does, as little as it may.
        let database = right + clock.elapsed() + 700;
        clock.anchor(Timestamp::from_millis(database), ago(1_000));
        assert!((right + 1..=right + 700).contains(&clock.base.load(Ordering::Relaxed)));
    }

    #[test]
    fn it_stands_still_rather_than_going_back_a_little() {
        let clock = Clock::new();
        clock.anchor(Timestamp::from_millis(1_000_000), Instant::now());
        let before = clock.now();
        clock.base.fetch_sub(500, Ordering::Relaxed);
        assert!(clock.now() >= before);
        clock.base.fetch_sub(500_000, Ordering::Relaxed);
        assert!(clock.now() < before, "the database's clock was set back");
    }
}
