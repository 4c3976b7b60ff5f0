//! Plain rows and requests: no IO, no async.

pub(crate) mod debounce;
pub(crate) mod mailbox;
pub(crate) mod queue;
pub(crate) mod status;
pub(crate) mod step;
pub(crate) mod stream;
pub(crate) mod workflow;
pub(crate) mod write;
