//! A workflow that begins as the copy of another's first steps.

use std::collections::{BTreeSet, HashSet};

use serde::Serialize;

use crate::ids::WorkflowId;

/// Where a fork takes over from its source: the first step that runs again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForkPoint {
    /// This step number; everything before it is copied. 1, or 0, is the beginning.
    Step(i32),
    /// The last recorded step; the beginning when none is.
    LastStep,
    /// The last step that was recorded with an error; the last step when none was.
    LastFailure,
    /// The last recorded step of this name.
    Named(String),
}

impl From<i32> for ForkPoint {
    fn from(step: i32) -> Self {
        Self::Step(step)
    }
}

/// A fork that is to be made, as far as the database has to know it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NewFork {
    pub(crate) source: WorkflowId,
    pub(crate) id: WorkflowId,
    #[serde(skip)]
    pub(crate) point: ForkPoint,
    /// The point's step, once it is known.
    pub(crate) start: i32,
    /// The name that the point asks for.
    pub(crate) named: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) queue: String,
    pub(crate) partition: Option<String>,
    /// Milliseconds.
    pub(crate) timeout: Option<i64>,
    pub(crate) replaced: Vec<Replaced>,
}

/// A child that the copied steps name, and the one that stands in for it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Replaced {
    pub(crate) old: WorkflowId,
    pub(crate) new: WorkflowId,
}

/// What a source's steps say about where it can be forked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Recorded {
    pub(crate) last: Option<i32>,
    pub(crate) failed: Option<i32>,
    pub(crate) named: Option<i32>,
}

/// Why forks were not made; none of the call was.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Unforkable {
    /// These sources do not exist.
    Missing(Vec<String>),
    /// The source has no step of the name.
    NoStep { source: String, name: String },
    /// The step lies beyond the one after the source's last.
    Beyond { source: String, step: i32, last: i32 },
    /// The id belongs to a workflow that is no fork of the source.
    Taken { id: String },
}

impl NewFork {
    /// The first step that runs again, by what the source has recorded.
    pub(crate) fn start(&self, recorded: Recorded) -> Result<i32, Unforkable> {
        let source = || self.source.as_str().to_owned();
        let last = recorded.last.unwrap_or(0);
        let step = match &self.point {
            ForkPoint::Step(step) if *step > last.saturating_add(1) => {
                return Err(Unforkable::Beyond { source: source(), step: *step, last });
            }
            ForkPoint::Step(step) => *step,
            ForkPoint::LastStep => last,
            ForkPoint::LastFailure => recorded.failed.unwrap_or(last),
            ForkPoint::Named(name) => {
                recorded.named.ok_or_else(|| Unforkable::NoStep { source: source(), name: name.clone() })?
            }
        };
        Ok(step.max(1))
    }
}

impl Unforkable {
    /// The sources that are not among those that were found, if there are any.
    pub(crate) fn missing(forks: &[NewFork], found: &[String]) -> Option<Self> {
        let found: HashSet<&str> = found.iter().map(String::as_str).collect();
        let sources: BTreeSet<&str> = forks.iter().map(|fork| fork.source.as_str()).collect();
        let missing: Vec<String> =
            sources.into_iter().filter(|id| !found.contains(id)).map(ToOwned::to_owned).collect();
        (!missing.is_empty()).then_some(Self::Missing(missing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(point: ForkPoint, recorded: Recorded) -> Result<i32, Unforkable> {
        let id = WorkflowId::parse("w").unwrap();
        let (source, replaced) = (id.clone(), Vec::new());
        let (named, version, partition, timeout) = (None, None, None, None);
        let queue = "q".to_owned();
        NewFork { source, id, point, start: 1, named, version, queue, partition, timeout, replaced }
            .start(recorded)
    }

    #[test]
    fn every_point_is_a_step_of_the_source_or_the_one_after_its_last() {
        let five = Recorded { last: Some(5), failed: Some(3), named: Some(2) };
        let calm = Recorded { failed: None, named: None, ..five };
        assert_eq!(at(0.into(), five), Ok(1));
        assert_eq!(at(6.into(), five), Ok(6));
        assert!(matches!(at(7.into(), five), Err(Unforkable::Beyond { last: 5, .. })));
        assert!(matches!(at(2.into(), Recorded::default()), Err(Unforkable::Beyond { last: 0, .. })));
        assert_eq!((at(ForkPoint::LastStep, five), at(ForkPoint::LastFailure, five)), (Ok(5), Ok(3)));
        assert_eq!(at(ForkPoint::LastFailure, calm), Ok(5));
        for point in [ForkPoint::LastStep, ForkPoint::LastFailure, 1.into()] {
            assert_eq!(at(point, Recorded::default()), Ok(1));
        }
        assert_eq!(at(ForkPoint::Named("s".to_owned()), five), Ok(2));
        assert!(matches!(at(ForkPoint::Named("s".to_owned()), calm), Err(Unforkable::NoStep { .. })));
    }
}
