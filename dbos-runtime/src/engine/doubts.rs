//! Claims whose answer was lost, or came too late: nobody runs what they took, if they took anything.
//!
//! What such a claim took bears its token, and is put back when it turns up. A server may commit it long after the
//! connection was given up, when it waited for a standby, say: so it is looked for with each tick at first, then ever
//! more rarely, for an hour.

use std::time::{Duration, Instant};

use crate::ids::OwnerToken;

/// How long a claim is looked for.
const LONGEST: Duration = Duration::from_secs(3600);

#[derive(Debug, Default)]
pub(super) struct Doubts {
    open: Vec<Doubt>,
}

/// A claim that may have taken something.
#[derive(Debug)]
pub(super) struct Doubt {
    pub(super) queue: String,
    pub(super) token: OwnerToken,
    since: Instant,
    next: Instant,
}

impl Doubts {
    pub(super) fn add(&mut self, queue: &str, token: OwnerToken, now: Instant) {
        self.open.push(Doubt { queue: queue.to_owned(), token, since: now, next: now });
    }

    /// Those that want a look now; who looks says what became of each.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Doubt> {
        self.open.extract_if(.., |doubt| doubt.next <= now).collect()
    }

    /// Nothing was found: the next look is a quarter of the doubt's age away.
    pub(super) fn nothing(&mut self, doubt: Doubt, now: Instant) {
        let age = now.saturating_duration_since(doubt.since);
        if age < LONGEST {
            self.open.push(Doubt { next: now + age / 4, ..doubt });
        }
    }

    /// They were not looked at.
    pub(super) fn missed(&mut self, doubts: impl IntoIterator<Item = Doubt>) {
        self.open.extend(doubts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_that_commits_late_is_still_looked_for() {
        let begun = Instant::now();
        let mut doubts = Doubts::default();
        doubts.add("q", OwnerToken::generate(None), begun);
        let mut looks = Vec::new();
        for second in 0..8000 {
            let now = begun + Duration::from_secs(second);
            for doubt in doubts.due(now) {
                looks.push(second);
                doubts.nothing(doubt, now);
            }
        }
        assert_eq!(looks[..6], [0, 1, 2, 3, 4, 5], "with each tick at first");
        assert!(looks.windows(2).all(|pair| pair[1] - pair[0] <= pair[0] / 4 + 1), "{looks:?}");
        let last = *looks.last().unwrap();
        assert!(looks.len() < 50 && (3600..4600).contains(&last), "{looks:?}");
    }
}
