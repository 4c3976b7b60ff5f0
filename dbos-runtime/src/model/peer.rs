//! Other processes.

/// What a look at the locks has shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peers {
    /// Whether this process's own lock was seen. Whoever does not see itself cannot tell the dead from the living.
    pub(crate) present: bool,
    /// Locks that running workflows name as their owner's and that nobody holds.
    pub(crate) dead: Vec<i64>,
}
