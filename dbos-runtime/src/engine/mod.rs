//! Decides: which step number, replay or run, retry or fail, wait or return. No SQL, no HTTP.

mod admit;
mod builder;
mod child;
mod client;
mod context;
mod cron;
mod debounce;
mod dispatcher;
mod durable;
mod effects;
mod events;
mod execution;
mod guard;
mod handle;
mod insert;
mod load;
mod options;
mod outside;
mod peers;
mod queues;
mod recorded;
mod registry;
mod replay;
mod retry;
mod run;
mod runtime;
mod scheduler;
mod schedules;
mod send;
mod shared;
mod signals;
mod sleep;
mod start;
mod step;
mod streams;
mod values;
mod versions;
mod wait;
mod watch;

pub use self::builder::Builder;
pub use self::child::{ChildHandle, ChildOptions, StartChild};
pub use self::client::{Client, ClientBuilder};
pub use self::context::{Context, Ctx};
pub use self::durable::Durable;
pub use self::effects::StepSend;
pub use self::events::{GetEvent, GetEventOptions};
pub use self::handle::{WorkflowHandle, WorkflowInfo};
pub use self::queues::Queues;
pub use self::registry::{Target, Workflow, WorkflowRef};
pub use self::retry::Retry;
pub use self::runtime::Dbos;
pub use self::schedules::{
    RecordedSchedules, Schedule, ScheduleFilter, ScheduleInfo, ScheduleStatus, Schedules,
};
pub use self::send::{Message, SendMessage, SendMessages};
pub use self::signals::{Recv, RecvOptions, Send, SendOptions};
pub use self::start::Start;
pub use self::step::{Step, StepCtx, StepOptions};
pub use self::streams::{ReadStreamOffset, ReadStreamOptions, RecordedStream, StreamPage, StreamReader};
pub use self::versions::{VersionInfo, Versions};

#[cfg(feature = "failpoints")]
pub(crate) use self::cron::cron_times;
pub(crate) use self::execution::Execution;
pub(crate) use self::guard::{Place, Scoped, in_body_of};
pub(crate) use self::replay::look;
pub(crate) use self::step::answer;
