//! Moving what belongs to an application to another name.

/// Whose rows become whose.
#[derive(Clone, Debug)]
pub(crate) struct Rename {
    /// The old name, if there is one.
    pub(crate) from: Option<String>,
    pub(crate) to: String,
    /// Whether the rows of nobody are taken too.
    pub(crate) unclaimed: bool,
    pub(crate) batch: i64,
}

/// How many rows a rename has moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Renamed {
    /// Queues.
    pub queues: u64,
    /// Schedules.
    pub schedules: u64,
    /// Versions.
    pub versions: u64,
    /// Workflows, active and ended.
    pub workflows: u64,
    /// Recorded steps.
    pub steps: u64,
}

/// How far a rename that goes in portions has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Portion {
    pub(crate) moved: u64,
    pub(crate) last: String,
    pub(crate) last_step: i32,
}
