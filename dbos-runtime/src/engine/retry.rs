//! Pure: from a policy to the waits between attempts.

use std::time::Duration;

/// The longest wait between two attempts.
const LONGEST: Duration = Duration::from_secs(3600);

/// How often a step is tried, and how long it waits in between.
///
/// The wait after attempt `k` (from 0) is `interval * backoff^k`, at most `max_interval`, at most an hour.
///
/// ```
/// use std::time::Duration;
/// use dbos_runtime::Retry;
///
/// let retry = Retry::times(3).interval(Duration::from_millis(100));
/// assert_eq!(retry.wait_after(0), Some(Duration::from_millis(100)));
/// assert_eq!(retry.wait_after(1), Some(Duration::from_millis(200)));
/// assert_eq!(retry.wait_after(2), None, "the third attempt was the last");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    attempts: u32,
    interval: Duration,
    backoff: f64,
    max_interval: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self::times(3)
    }
}

impl Retry {
    /// At most that many attempts in all, the first one included, and at least one. The first wait is a second, and each
    /// further one is twice as long.
    #[must_use]
    pub fn times(attempts: u32) -> Self {
        Self {
            attempts: attempts.max(1),
            interval: Duration::from_secs(1),
            backoff: 2.0,
            max_interval: LONGEST,
        }
    }

    /// The wait after the first attempt.
    #[must_use]
    pub fn interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// What each wait is longer than the one before; at least 1.
    #[must_use]
    pub fn backoff(self, factor: f64) -> Self {
        Self { backoff: if factor.is_finite() { factor.max(1.0) } else { 1.0 }, ..self }
    }

    /// The longest wait.
    #[must_use]
    pub fn max_interval(self, longest: Duration) -> Self {
        Self { max_interval: longest.min(LONGEST), ..self }
    }

    /// How many attempts there are in all.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The wait after that attempt, counted from 0; nothing after the last.
    pub fn wait_after(&self, attempt: u32) -> Option<Duration> {
        if attempt.saturating_add(1) >= self.attempts {
            return None;
        }
        let factor = self.backoff.powi(i32::try_from(attempt).unwrap_or(i32::MAX));
        let seconds = (self.interval.as_secs_f64() * factor).min(self.max_interval.as_secs_f64());
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(self.max_interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_follow_the_policy_and_never_overflow() {
        let cases = [
            (Retry::times(1), 0, None),
            (Retry::times(0), 0, None),
            (Retry::times(3), 0, Some(1.0)),
            (Retry::times(3), 1, Some(2.0)),
            (Retry::times(3), 2, None),
            (Retry::times(50).backoff(10.0), 40, Some(3600.0)),
            (Retry::times(u32::MAX).backoff(f64::MAX), u32::MAX - 2, Some(3600.0)),
            (Retry::times(9).interval(Duration::MAX), 0, Some(3600.0)),
            (Retry::times(9).backoff(f64::NAN), 5, Some(1.0)),
            (Retry::times(9).max_interval(Duration::from_secs(3)), 5, Some(3.0)),
            (Retry::times(9).interval(Duration::ZERO), 5, Some(0.0)),
        ];
        for (retry, attempt, expected) in cases {
            assert_eq!(
                retry.wait_after(attempt),
                expected.map(Duration::from_secs_f64),
                "{retry:?} after {attempt}"
            );
        }
    }
}
