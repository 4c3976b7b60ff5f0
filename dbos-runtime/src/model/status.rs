//! The states of a workflow and the legal moves between them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a workflow stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum WorkflowStatus {
    /// On a queue, not yet eligible.
    Delayed,
    /// On a queue, waiting for a process to claim it.
    Enqueued,
    /// An execution owns it, or died owning it.
    Pending,
    /// Ended with a result.
    Success,
    /// Ended with an error.
    Error,
    /// Stopped from outside; can be resumed.
    Cancelled,
    /// Parked after too many attempts; can be resumed.
    MaxRecoveryAttemptsExceeded,
}

/// What moves a workflow from one status to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(
    dead_code,
    reason = "the table names every move of the shared database, also those that other SDKs make"
)]
pub(crate) enum Event {
    DelayPassed,
    Claim,
    Succeed,
    Fail,
    Cancel,
    Park,
    Recover,
    Resume,
    Rewind,
}

use Event::{Cancel, Claim, DelayPassed, Fail, Park, Recover, Resume, Rewind, Succeed};
use WorkflowStatus::{
    Cancelled, Delayed, Enqueued, Error as Failed, MaxRecoveryAttemptsExceeded as Parked, Pending, Success,
};

/// Every legal move. A status write that is not in this table must leave the row alone.
#[allow(dead_code, reason = "the specification that the stores are tested against")]
pub(crate) const MOVES: &[(WorkflowStatus, Event, WorkflowStatus)] = &[
    (Delayed, DelayPassed, Enqueued),
    (Enqueued, Claim, Pending),
    (Pending, Succeed, Success),
    (Pending, Fail, Failed),
    (Pending, Park, Parked),
    (Pending, Recover, Enqueued),
    (Delayed, Cancel, Cancelled),
    (Enqueued, Cancel, Cancelled),
    (Pending, Cancel, Cancelled),
    (Parked, Cancel, Cancelled),
    (Cancelled, Cancel, Cancelled),
    (Delayed, Resume, Enqueued),
    (Enqueued, Resume, Enqueued),
    (Pending, Resume, Enqueued),
    (Cancelled, Resume, Enqueued),
    (Parked, Resume, Enqueued),
    (Success, Rewind, Enqueued),
    (Failed, Rewind, Enqueued),
    (Cancelled, Rewind, Enqueued),
    (Parked, Rewind, Enqueued),
];

impl WorkflowStatus {
    const ALL: [Self; 7] = [Delayed, Enqueued, Pending, Success, Failed, Cancelled, Parked];

    /// The text that the database holds.
    pub const fn as_str(self) -> &'static str {
        match self {
            Delayed => "DELAYED",
            Enqueued => "ENQUEUED",
            Pending => "PENDING",
            Success => "SUCCESS",
            Failed => "ERROR",
            Cancelled => "CANCELLED",
            Parked => "MAX_RECOVERY_ATTEMPTS_EXCEEDED",
        }
    }

    /// Whether the workflow has ended (it may yet be resumed).
    pub const fn is_terminal(self) -> bool {
        matches!(self, Success | Failed | Cancelled | Parked)
    }

    /// The status of that text; nothing for a text that no SDK writes.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

impl fmt::Display for WorkflowStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_reads_back() {
        for status in WorkflowStatus::ALL {
            assert_eq!(WorkflowStatus::from_text(status.as_str()), Some(status));
            let json = serde_json::to_string(&status).unwrap();
            assert_eq!(json, format!("\"{status}\""));
        }
        assert_eq!(WorkflowStatus::from_text("success"), None);
    }

    #[test]
    fn a_move_has_one_end_and_outcomes_are_final_but_for_a_rewind() {
        for (index, (from, event, _)) in MOVES.iter().enumerate() {
            assert!(
                !MOVES[..index].iter().any(|(f, e, _)| f == from && e == event),
                "{from} {event:?} twice"
            );
            if matches!(from, Success | Failed) {
                assert_eq!(*event, Rewind, "{from}");
            }
        }
    }

    #[test]
    fn the_page_about_the_states_has_every_move_and_no_other() {
        let page = include_str!("../../../docs/state_machine.md");
        let row = |line: &str| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let (from, to) =
                (WorkflowStatus::from_text(cells.get(1)?)?, WorkflowStatus::from_text(cells.get(3)?)?);
            Some(format!("{from} {} {to}", cells.get(2)?))
        };
        let mut table: Vec<String> = page.lines().filter_map(row).collect();
        let drawn =
            page.lines().filter_map(|line| line.trim().split_once(" --> ")).flat_map(|(from, rest)| {
                let (to, events) = rest.split_once(": ").unwrap_or_default();
                events.split(", ").map(|event| format!("{from} {event} {to}")).collect::<Vec<_>>()
            });
        let mut drawn: Vec<String> = drawn.filter(|drawn| !drawn.starts_with("[*]")).collect();
        let mut moves: Vec<String> =
            MOVES.iter().map(|(from, event, to)| format!("{from} {event:?} {to}")).collect();
        for list in [&mut table, &mut drawn, &mut moves] {
            list.sort();
        }
        assert_eq!(table, moves);
        assert_eq!(drawn, moves);
    }
}
