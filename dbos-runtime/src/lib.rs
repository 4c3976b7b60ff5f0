//! Durable workflows on the DBOS system database.
mod config; mod datasource; mod engine; mod error; mod failpoint; mod ids; mod limits; mod model; mod payload; mod store; mod time;
pub use datasource::{Backend, Begun, Datasource, IsolationLevel, OpenTransaction, TransactionOptions};
#[cfg(feature = "macros")]
pub use dbos_runtime_macros::workflow;
pub use engine::{
    Builder, ChildHandle, ChildOptions, Ctx, Dbos, Durable, GetEvent, GetEventOptions, Recv, RecvOptions, Retry, Send,
    SendMessage, SendOptions, Start, StartChild, Step, StepCtx, StepOptions, Target, Workflow, WorkflowHandle,
    WorkflowInfo, WorkflowRef,
};
pub use error::{DurableError, Error, ErrorKind, Result};
pub use ids::{AppVersion, ExecutorId, WorkflowId};
pub use model::status::WorkflowStatus;
pub use time::Timestamp;

/// What the expansion of `#[workflow]` refers to. Not part of the public API.
#[doc(hidden)]
pub mod __private {
    pub use crate::engine::Context;

    /// The success type of a `Result`.
    pub trait Fallible {
        /// What the result holds when it is good.
        type Ok;
    }

    impl<T, E> Fallible for Result<T, E> {
        type Ok = T;
    }
}
