//! Time and chance, recorded so that a replay sees the same.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::context::Ctx;
use super::durable::Durable;
use super::execution::Execution;
use super::recorded::recorded;
use crate::error::DurableError;
use crate::ids;
use crate::time::Timestamp;

impl<S, E: DurableError> Ctx<S, E> {
    /// The time, by the database's clock.
    pub fn now(&self) -> Durable<'static, (), Timestamp, E> {
        self.recorded_value("DBOS.now", |execution| execution.now())
    }

    /// A random identifier.
    pub fn uuid(&self) -> Durable<'static, (), String, E> {
        self.recorded_value("DBOS.randomUUID", |_| ids::random().to_string())
    }

    /// A random number, at least 0 and less than 1.
    pub fn random(&self) -> Durable<'static, (), f64, E> {
        self.recorded_value("DBOS.random", |_| rand::random::<f64>())
    }

    fn recorded_value<T: Serialize + DeserializeOwned + Send + 'static>(
        &self,
        name: &'static str,
        make: impl FnOnce(&Arc<Execution>) -> T + Send + 'static,
    ) -> Durable<'static, (), T, E> {
        Durable::build(&self.execution, 1, move |execution, number, ()| async move {
            Ok(recorded(&execution, number, name, || async { Ok(make(&execution)) }).await?)
        })
    }
}
