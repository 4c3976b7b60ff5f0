//! How long ended workflows are kept.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::limits;
use crate::time::Timestamp;

/// Which ended workflows may be deleted: those that are older than something, or more than so many. With both, either
/// reason is enough.
///
/// A workflow that has not ended is never deleted, nor is one whose parent has not: the parent may still ask for its
/// result.
///
/// ```
/// use std::time::Duration;
///
/// use dbos_runtime::Retention;
///
/// let thirty_days = Retention::older_than(Duration::from_secs(30 * 24 * 3600));
/// let a_million = Retention::new().keep_newest(1_000_000);
/// # let _ = (thirty_days, a_million);
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is deleted until it is used"]
pub struct Retention {
    pub(crate) age: Option<Duration>,
    pub(crate) before: Option<Timestamp>,
    pub(crate) newest: Option<u32>,
    pub(crate) batch: u32,
    pub(crate) every_application: bool,
    pub(crate) interval: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            age: None,
            before: None,
            newest: None,
            batch: 1000,
            every_application: false,
            interval: Duration::from_secs(3600),
        }
    }
}

impl Retention {
    /// Nothing may be deleted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What ended longer ago than this.
    pub fn older_than(age: Duration) -> Self {
        Self { age: Some(age), ..Self::default() }
    }

    /// What ended before this instant.
    pub fn before(instant: Timestamp) -> Self {
        Self { before: Some(instant), ..Self::default() }
    }

    /// What ended before the so many that ended last.
    pub fn keep_newest(mut self, rows: u32) -> Self {
        self.newest = Some(rows);
        self
    }

    /// How many workflows one transaction deletes, 1 to 100 000; 1000 by default.
    pub fn batch(mut self, rows: u32) -> Self {
        self.batch = rows;
        self
    }

    /// Workflows of every application on the database; of this one, and unclaimed ones by default.
    pub fn every_application(mut self) -> Self {
        self.every_application = true;
        self
    }

    /// How often a runtime that was [given this](crate::Builder::retention) looks; about every hour by default.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.age.is_none() && self.before.is_none() && self.newest.is_none() {
            return Err(Error::invalid("a retention needs an age, an instant or a number of workflows"));
        }
        if self.newest == Some(0) {
            return Err(Error::invalid("the number of workflows to keep must be at least 1"));
        }
        if self.batch == 0 || self.batch > 100_000 {
            return Err(Error::invalid(format!("a batch of {} is not between 1 and 100000", self.batch)));
        }
        if self.interval < Duration::from_millis(10) {
            return Err(Error::invalid("the interval of a retention must be at least 10 ms"));
        }
        limits::duration("the interval of a retention", self.interval)?;
        limits::duration("the age of a retention", self.age.unwrap_or_default())
    }

    /// The age, where it is all that decides.
    pub(crate) fn only_age(&self) -> Option<Duration> {
        self.age.filter(|_| self.before.is_none() && self.newest.is_none())
    }

    /// The instant before which everything may go, as far as it follows from the clock.
    pub(crate) fn cutoff(&self, now: Timestamp) -> Option<Timestamp> {
        let aged = self.age.map(|age| {
            let millis = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            Timestamp::from_millis(now.as_millis().saturating_sub(millis))
        });
        aged.max(self.before)
    }
}

/// What one round of retention has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Collected {
    /// Workflows deleted, each with all that belongs to it.
    pub workflows: u64,
    /// Inputs, outputs and steps deleted that belonged to no workflow any more.
    pub orphans: u64,
    /// Whether another process was at it, so that this one left it alone.
    pub busy: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_of_two_cutoffs_counts() {
        let now = Timestamp::from_millis(10_000);
        let retention = Retention::older_than(Duration::from_secs(4));
        assert_eq!(retention.cutoff(now), Some(Timestamp::from_millis(6_000)));
        let both = Retention { before: Some(Timestamp::from_millis(7_000)), ..retention };
        assert_eq!(both.cutoff(now), Some(Timestamp::from_millis(7_000)));
        assert_eq!(Retention::new().keep_newest(3).cutoff(now), None);
    }

    #[test]
    fn a_retention_that_says_nothing_is_refused() {
        let age = || Retention::older_than(Duration::from_secs(1));
        let bad = [
            Retention::new(),
            Retention::new().keep_newest(0),
            age().batch(0),
            age().batch(100_001),
            age().interval(Duration::ZERO),
            Retention::older_than(Duration::MAX),
        ];
        for retention in bad {
            assert!(retention.check().is_err(), "{retention:?}");
        }
        assert!(age().check().is_ok());
    }
}
