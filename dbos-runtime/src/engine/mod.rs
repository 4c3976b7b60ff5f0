//! Decides: which step number, replay or run, retry or fail, wait or return. No SQL, no HTTP.

mod admit;
mod builder;
mod child;
mod client;
mod context;
mod cron;
mod debounce;
mod dispatcher;
mod doubts;
mod durable;
mod effects;
mod events;
mod execution;
mod first;
mod guard;
mod handle;
mod held;
mod insert;
mod launch;
mod load;
mod metrics;
mod options;
mod outcome;
mod outside;
mod patch;
mod peers;
mod queues;
mod recorded;
mod recovery;
mod registration;
mod registry;
mod rename;
mod replay;
mod retry;
mod roles;
mod run;
mod runtime;
mod scheduler;
mod schedules;
mod select;
mod send;
mod shared;
mod signals;
mod sleep;
mod start;
mod start_all;
mod step;
mod streams;
mod values;
mod versions;
mod wait;
mod watch;
mod workflows;

pub use self::builder::Builder;
pub use self::child::{ChildHandle, ChildOptions, StartChild};
pub use self::client::{Client, ClientBuilder};
pub use self::context::{Context, Ctx};
pub use self::durable::{Alone, Durable};
pub use self::effects::StepSend;
pub use self::events::{GetEvent, GetEventOptions, Publish, PublishOptions};
pub use self::handle::WorkflowHandle;
pub use self::metrics::RuntimeMetrics;
pub use self::outcome::Outcome;
pub use self::patch::Patch;
pub use self::queues::Queues;
pub use self::registration::Registration;
pub use self::registry::{Target, Workflow, WorkflowRef};
pub use self::rename::RenameApplication;
pub use self::retry::Retry;
pub use self::runtime::Dbos;
pub use self::schedules::{
    RecordedSchedules, Schedule, ScheduleFilter, ScheduleInfo, ScheduleStatus, Schedules,
};
pub use self::select::{Branches, Raceable, Select};
pub use self::send::{Message, SendMessage, SendMessages};
pub use self::signals::{Recv, RecvOptions, Send, SendOptions};
pub use self::start::Start;
pub use self::start_all::StartAll;
pub use self::step::{Step, StepCtx, StepOptions};
pub use self::streams::{EncodedPage, EncodedStream, EncodedValue};
pub use self::streams::{ReadStreamOffset, ReadStreamOptions, RecordedStream, StreamPage, StreamReader};
pub use self::versions::{VersionInfo, Versions};
pub use self::workflows::{
    CancelReport, CancelWorkflows, Delay, DeleteWorkflows, Fork, RecordedWorkflows, ResumeOptions,
    ResumeWorkflows, Rewind, TreeOptions, Workflows,
};

#[cfg(feature = "failpoints")]
pub(crate) use self::cron::cron_times;
pub(crate) use self::execution::Execution;
pub(crate) use self::guard::{Place, Scoped, in_body_of};
pub(crate) use self::replay::look;
pub(crate) use self::shared::Shared;
pub(crate) use self::step::answer;
