//! Plain rows and requests: no IO, no async.

pub(crate) mod aggregate;
pub(crate) mod debounce;
pub(crate) mod export;
pub(crate) mod filter;
pub(crate) mod fork;
pub(crate) mod info;
pub(crate) mod mailbox;
pub(crate) mod management;
pub(crate) mod peer;
pub(crate) mod queue;
pub(crate) mod rename;
pub(crate) mod retention;
pub(crate) mod schedule;
pub(crate) mod status;
pub(crate) mod step;
pub(crate) mod stream;
pub(crate) mod tenant;
pub(crate) mod version;
pub(crate) mod workflow;
pub(crate) mod write;
