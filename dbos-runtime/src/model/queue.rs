//! Queues: what may be claimed from one, and how much at a time.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::limits;
use crate::model::peer::Peers;

/// The queue on which recovered work waits to be claimed; every SDK has it.
pub(crate) const INTERNAL_QUEUE: &str = "_dbos_internal_queue";

/// Names with this prefix belong to the runtime.
const RESERVED: &str = "_dbos_";

/// A queue with its limits. Registered in code ([`Builder::queue`](crate::Builder::queue)) or at run time
/// ([`Queues`](crate::Queues)); kept in the database, where every process and SDK reads it.
///
/// Workflows leave a queue by priority, then by age. Unless said otherwise, nothing limits how many run.
///
/// ```
/// use std::time::Duration;
/// use dbos_runtime::Queue;
///
/// // Ten at a time in all processes together, five in each, at most fifty starts in half a minute.
/// let queue = Queue::new("fulfilment")
///     .concurrency(10)
///     .worker_concurrency(5)
///     .rate_limit(50, Duration::from_secs(30));
/// assert_eq!(queue.concurrency, Some(10));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Queue {
    /// The queue's name: 1 to 256 bytes, unique on the database.
    pub name: String,
    /// How many may run at once, in all processes together.
    pub concurrency: Option<u32>,
    /// How many may run at once in each process.
    pub worker_concurrency: Option<u32>,
    /// How many may start within a time, in all processes together.
    pub rate_limit: Option<RateLimit>,
    /// How many of one partition key may run at once, in all processes together.
    pub partition_concurrency: Option<u32>,
    /// How many of one partition key may run at once in each process.
    pub partition_worker_concurrency: Option<u32>,
    /// How many of one partition key may start within a time.
    pub partition_rate_limit: Option<RateLimit>,
    /// How often each process looks at the queue when no hint came.
    pub polling_interval: Duration,
}

/// At most `limit` starts within any `period`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimit {
    /// How many.
    pub limit: u32,
    /// Within which time.
    pub period: Duration,
}

impl Queue {
    /// A queue without limits.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            concurrency: None,
            worker_concurrency: None,
            rate_limit: None,
            partition_concurrency: None,
            partition_worker_concurrency: None,
            partition_rate_limit: None,
            polling_interval: Duration::from_secs(1),
        }
    }

    /// How many may run at once, in all processes together. One keeps the order strictly; zero pauses the queue.
    #[must_use]
    pub fn concurrency(self, most: impl Into<Option<u32>>) -> Self {
        Self { concurrency: most.into(), ..self }
    }

    /// How many may run at once in each process. Zero pauses the queue.
    #[must_use]
    pub fn worker_concurrency(self, most: impl Into<Option<u32>>) -> Self {
        Self { worker_concurrency: most.into(), ..self }
    }

    /// At most so many starts within any such time, in all processes together.
    #[must_use]
    pub fn rate_limit(self, limit: u32, period: Duration) -> Self {
        Self { rate_limit: Some(RateLimit { limit, period }), ..self }
    }

    /// How many of one partition key may run at once, in all processes together. A limit by partition makes the queue a
    /// partitioned one: every workflow on it needs a partition key.
    #[must_use]
    pub fn partition_concurrency(self, most: impl Into<Option<u32>>) -> Self {
        Self { partition_concurrency: most.into(), ..self }
    }

    /// How many of one partition key may run at once in each process.
    #[must_use]
    pub fn partition_worker_concurrency(self, most: impl Into<Option<u32>>) -> Self {
        Self { partition_worker_concurrency: most.into(), ..self }
    }

    /// At most so many starts of one partition key within any such time.
    #[must_use]
    pub fn partition_rate_limit(self, limit: u32, period: Duration) -> Self {
        Self { partition_rate_limit: Some(RateLimit { limit, period }), ..self }
    }

    /// How often each process looks at the queue when no hint came; a second by default. Work enqueued by a process of
    /// this crate comes with a hint; other programs' work is found by looking.
    #[must_use]
    pub fn polling_interval(self, interval: Duration) -> Self {
        Self { polling_interval: interval, ..self }
    }

    /// Whether the queue has a limit by partition.
    pub fn is_partitioned(&self) -> bool {
        self.partition_concurrency.is_some()
            || self.partition_worker_concurrency.is_some()
            || self.partition_rate_limit.is_some()
    }

    /// Whether processes share a budget, which has to be spent against one view of the database.
    pub(crate) fn is_shared_out(&self) -> bool {
        self.concurrency.is_some()
            || self.rate_limit.is_some()
            || self.partition_concurrency.is_some()
            || self.partition_rate_limit.is_some()
    }

    pub(crate) fn has_rate_limit(&self) -> bool {
        self.rate_limit.is_some() || self.partition_rate_limit.is_some()
    }

    pub(crate) fn check(&self) -> Result<()> {
        name("queue name", &self.name)?;
        let limits = [
            ("concurrency", self.concurrency, 0),
            ("worker concurrency", self.worker_concurrency, 0),
            ("partition concurrency", self.partition_concurrency, 1),
            ("partition worker concurrency", self.partition_worker_concurrency, 1),
        ];
        for (field, limit, least) in limits {
            if limit.is_some_and(|limit| limit < least || i32::try_from(limit).is_err()) {
                return Err(Error::invalid(format!("{field} is not between {least} and {}", i32::MAX)));
            }
        }
        for (small, inner, large, outer) in [
            ("worker concurrency", self.worker_concurrency, "concurrency", self.concurrency),
            ("partition concurrency", self.partition_concurrency, "concurrency", self.concurrency),
            (
                "partition worker concurrency",
                self.partition_worker_concurrency,
                "concurrency",
                self.concurrency,
            ),
            (
                "partition worker concurrency",
                self.partition_worker_concurrency,
                "partition concurrency",
                self.partition_concurrency,
            ),
            (
                "partition worker concurrency",
                self.partition_worker_concurrency,
                "worker concurrency",
                self.worker_concurrency,
            ),
        ] {
            if let (Some(inner), Some(outer)) = (inner, outer)
                && inner > outer
            {
                return Err(Error::invalid(format!(
                    "{small} {inner} could never be reached: {large} is {outer}"
                )));
            }
        }
        for limit in [self.rate_limit, self.partition_rate_limit].into_iter().flatten() {
            limit.check()?;
        }
        limits::duration("the polling interval", self.polling_interval)?;
        if self.polling_interval < Duration::from_millis(1) {
            return Err(Error::invalid("the polling interval must be at least 1 ms"));
        }
        Ok(())
    }
}

impl RateLimit {
    fn check(self) -> Result<()> {
        if self.limit == 0 || i32::try_from(self.limit).is_err() {
            return Err(Error::invalid(format!("a rate limit is not between 1 and {}", i32::MAX)));
        }
        limits::duration("the period of a rate limit", self.period)?;
        if self.period < Duration::from_millis(1) {
            return Err(Error::invalid("the period of a rate limit must be at least 1 ms"));
        }
        Ok(())
    }
}

/// A name for a user's own queue.
pub(crate) fn name(field: &str, name: &str) -> Result<()> {
    limits::name(field, name)?;
    if name.starts_with(RESERVED) {
        return Err(Error::invalid(format!("{field} {name:?} is reserved: it starts with {RESERVED}")));
    }
    Ok(())
}

/// A queue's row as it is stored, by whatever program.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct QueueRow {
    pub(crate) name: String,
    pub(crate) concurrency: Option<i64>,
    pub(crate) worker_concurrency: Option<i64>,
    pub(crate) rate_limit_max: Option<i64>,
    pub(crate) rate_limit_period: Option<f64>,
    pub(crate) partition_queue: bool,
    pub(crate) polling_interval: Option<f64>,
    pub(crate) partition_concurrency: Option<i64>,
    pub(crate) partition_worker_concurrency: Option<i64>,
    pub(crate) partition_rate_limit_max: Option<i64>,
    pub(crate) partition_rate_limit_period: Option<f64>,
    pub(crate) application: Option<String>,
}

impl QueueRow {
    /// Half a rate limit is none, and a negative limit is zero. A row that an older SDK marked as partitioned, without
    /// any limit by partition, means its limits by partition.
    pub(crate) fn queue(&self) -> Queue {
        let count = |value: Option<i64>| value.map(|value| u32::try_from(value.max(0)).unwrap_or(u32::MAX));
        let rate = |limit: Option<i64>, period: Option<f64>| {
            let period = Duration::try_from_secs_f64(period?).ok().filter(|period| !period.is_zero())?;
            Some(RateLimit { limit: count(limit)?, period })
        };
        let interval = self.polling_interval.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        // An instant that far ahead can be computed.
        let interval = interval.map(|interval| interval.min(limits::LONGEST));
        let queue = Queue {
            name: self.name.clone(),
            concurrency: count(self.concurrency),
            worker_concurrency: count(self.worker_concurrency),
            rate_limit: rate(self.rate_limit_max, self.rate_limit_period),
            partition_concurrency: count(self.partition_concurrency),
            partition_worker_concurrency: count(self.partition_worker_concurrency),
            partition_rate_limit: rate(self.partition_rate_limit_max, self.partition_rate_limit_period),
            polling_interval: interval.filter(|i| !i.is_zero()).unwrap_or(Duration::from_secs(1)),
        };
        if !self.partition_queue || queue.is_partitioned() {
            return queue;
        }
        Queue {
            concurrency: None,
            worker_concurrency: None,
            rate_limit: None,
            partition_concurrency: queue.concurrency,
            partition_worker_concurrency: queue.worker_concurrency,
            partition_rate_limit: queue.rate_limit,
            ..queue
        }
    }

    pub(crate) fn of(queue: &Queue, application: Option<String>) -> Self {
        let count = |value: Option<u32>| value.map(i64::from);
        let max = |limit: Option<RateLimit>| limit.map(|limit| i64::from(limit.limit));
        let period = |limit: Option<RateLimit>| limit.map(|limit| limit.period.as_secs_f64());
        Self {
            name: queue.name.clone(),
            concurrency: count(queue.concurrency),
            worker_concurrency: count(queue.worker_concurrency),
            rate_limit_max: max(queue.rate_limit),
            rate_limit_period: period(queue.rate_limit),
            partition_queue: queue.is_partitioned(),
            polling_interval: Some(queue.polling_interval.as_secs_f64()),
            partition_concurrency: count(queue.partition_concurrency),
            partition_worker_concurrency: count(queue.partition_worker_concurrency),
            partition_rate_limit_max: max(queue.partition_rate_limit),
            partition_rate_limit_period: period(queue.partition_rate_limit),
            application,
        }
    }
}

/// What a registration does about a queue of the name that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnConflict {
    /// Changes it if this process runs the application's latest version, so that an old process which restarts does not
    /// undo what a newer one registered. For registrations in code.
    #[default]
    UpdateIfLatestVersion,
    /// Changes it.
    AlwaysUpdate,
    /// Leaves it as it is.
    NeverUpdate,
}

/// How far ahead of the clock, in milliseconds, a queue's places may run: a row's `created_at` is its place, and what one
/// process enqueues faster than a row a millisecond gets places to come. A burst that is longer is ordered by ids.
pub(crate) const PLACES_AHEAD: i64 = 600_000;

/// A workflow's name and configured instance as one text, as the claims compare it. Neither holds the separator, which is
/// a control character.
pub(crate) fn claim_key(name: &str, instance: Option<&str>) -> String {
    format!("{name}\u{1f}{}", instance.unwrap_or_default())
}

/// A claim of what waits on a queue.
#[derive(Clone, Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) queue: &'a Queue,
    /// The [keys](claim_key) of the workflows that this process has registered.
    pub(crate) names: &'a [String],
    /// Rows at most, as far as this process itself is concerned.
    pub(crate) most: u32,
    /// How many of each partition run in this process.
    pub(crate) loads: Vec<(String, i64)>,
}

/// What the once-a-second look at the queues found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tick {
    pub(crate) now: i64,
    /// Every registered queue that this application may work on.
    pub(crate) queues: Vec<QueueRow>,
    /// Queues with something that this process could run.
    pub(crate) ready: Vec<String>,
    /// How many delayed workflows were due.
    pub(crate) released: i64,
    /// Workflows whose deadline has passed: cancelled just now.
    pub(crate) expired: Vec<String>,
    /// Whether so many were due that some are left.
    pub(crate) more: bool,
    /// A text that differs whenever the schedules do.
    pub(crate) schedules: Option<String>,
    /// What the processes' locks say, if that was asked.
    pub(crate) peers: Option<Peers>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_could_never_bind_are_refused() {
        let queue = || Queue::new("q");
        let second = Duration::from_secs(1);
        let bad = [
            Queue::new(""),
            Queue::new("_dbos_mine"),
            queue().concurrency(u32::MAX),
            queue().concurrency(1).worker_concurrency(2),
            queue().concurrency(1).partition_concurrency(2),
            queue().partition_concurrency(0),
            queue().partition_worker_concurrency(0),
            queue().partition_concurrency(1).partition_worker_concurrency(2),
            queue().worker_concurrency(1).partition_worker_concurrency(2),
            queue().rate_limit(0, second),
            queue().rate_limit(1, Duration::ZERO),
            queue().rate_limit(1, Duration::MAX),
            queue().partition_rate_limit(0, second),
            queue().polling_interval(Duration::ZERO),
        ];
        for queue in bad {
            assert!(queue.check().is_err(), "{queue:?}");
        }
        for good in [queue(), queue().concurrency(0), queue().worker_concurrency(0).concurrency(3)] {
            assert!(good.check().is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_row_reads_back_and_foreign_rows_are_understood() {
        let queue = Queue::new("q").concurrency(4).rate_limit(5, Duration::from_millis(1500));
        assert_eq!(QueueRow::of(&queue, None).queue(), queue);

        let half = QueueRow { name: "q".to_owned(), rate_limit_max: Some(5), ..QueueRow::default() };
        assert_eq!(half.queue(), Queue::new("q"));
        let nonsense = QueueRow {
            concurrency: Some(-1),
            rate_limit_max: Some(1),
            rate_limit_period: Some(f64::NAN),
            polling_interval: Some(-1.0),
            ..half.clone()
        };
        assert_eq!(nonsense.queue(), Queue::new("q").concurrency(0));
        let legacy = QueueRow {
            partition_queue: true,
            concurrency: Some(3),
            rate_limit_max: Some(2),
            rate_limit_period: Some(1.0),
            ..half
        };
        let per_partition =
            Queue::new("q").partition_concurrency(3).partition_rate_limit(2, Duration::from_secs(1));
        assert_eq!(legacy.queue(), per_partition);
    }
}
