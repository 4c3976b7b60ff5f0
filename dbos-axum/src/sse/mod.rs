//! Server-sent events (the event streams of the HTML standard): what a workflow writes, as it writes it.

mod accept;
mod admission;
mod frame;
mod kept;
mod page;
mod read;
mod response;
mod shape;
mod token;
mod values;
mod watch;

pub(crate) use accept::{Format, only_events};
pub(crate) use admission::Admission;
pub(crate) use watch::Watches;

pub use admission::StreamLimits;
pub use page::StreamReply;
pub use read::StreamRead;
pub use response::StreamSse;
pub use token::{ShortSecret, StreamTokens};
