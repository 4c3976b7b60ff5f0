//! Questions and orders that a workflow gives as one of its steps: put once, answered from the record ever after.

use std::future::Future;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::execution::Execution;
use super::{replay, step};
use crate::error::{Error, ErrorKind};
use crate::model::step::StepRow;
use crate::payload;

/// Puts the question under this step number and records its answer; a replay gives the recorded one.
///
/// A refusal is an answer too, and is recorded. A database that is away, or that will not answer, has given none: the
/// next execution asks again.
pub(crate) async fn recorded<T, F>(
    execution: &Arc<Execution>,
    number: i32,
    name: &str,
    question: impl FnOnce() -> F,
) -> Result<T, Error>
where
    T: Serialize + DeserializeOwned,
    F: Future<Output = Result<T, Error>>,
{
    let row = execution.recorded(number);
    if let Some(row) = replay::look(row.as_ref(), &execution.fence.id, number, name)? {
        return step::answer(row, execution);
    }
    execution.live()?;
    let started = execution.now();
    let answer = question().await;
    if let Err(error) = &answer
        && (error.is_transient() || error.kind() == ErrorKind::Database)
    {
        return answer;
    }
    let row = StepRow::marker(number, name, started, execution.now());
    let row = match &answer {
        Ok(value) => row.with_output(payload::encode(value)?),
        Err(error) => row.with_error(payload::encode_error(error)),
    };
    execution.record(vec![row]).await?;
    answer
}
