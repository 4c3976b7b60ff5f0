//! Decides: which step number, replay or run, retry or fail, wait or return. No SQL, no HTTP.

mod admit;
mod builder;
mod child;
mod context;
mod dispatcher;
mod durable;
mod events;
mod execution;
mod guard;
mod handle;
mod insert;
mod load;
mod options;
mod queues;
mod recorded;
mod registry;
mod replay;
mod retry;
mod run;
mod runtime;
mod shared;
mod signals;
mod sleep;
mod start;
mod step;
mod values;
mod wait;
mod watch;

pub use self::builder::Builder;
pub use self::child::{ChildHandle, ChildOptions, StartChild};
pub use self::context::{Context, Ctx};
pub use self::durable::Durable;
pub use self::events::{GetEvent, GetEventOptions};
pub use self::handle::{WorkflowHandle, WorkflowInfo};
pub use self::queues::Queues;
pub use self::registry::{Target, Workflow, WorkflowRef};
pub use self::retry::Retry;
pub use self::runtime::{Dbos, SendMessage};
pub use self::signals::{Recv, RecvOptions, Send, SendOptions};
pub use self::start::Start;
pub use self::step::{Step, StepCtx, StepOptions};

pub(crate) use self::execution::Execution;
pub(crate) use self::guard::{Place, Scoped, in_body_of};
pub(crate) use self::replay::look;
pub(crate) use self::step::answer;
