//! The two workflows of the contract.

use std::time::Duration;

use dbos_runtime::{Arguments, Error, WorkflowRef};
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value, json};

use crate::contract::{CLASS, DATE, ECHO, INSTANCE, Peer, TOPIC};

pub(crate) type Ctx = dbos_runtime::Ctx<(), Failure>;

#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0:?} does not begin with a date")]
    NoDate(String),
    #[error("nobody sent a date")]
    NoMessage,
    #[error(transparent)]
    Runtime(#[from] Error),
}

/// What an echo is given: five arguments, by position or by name, or one with five members.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Given {
    text: String,
    num: Number,
    float: Number,
    items: Vec<Value>,
    date: String,
}

pub(crate) async fn echo(ctx: Ctx, given: Given) -> Result<Value, Failure> {
    let date = ctx.step("parseDate", || async { day(&given.date) }).await?;
    let message = ctx.recv::<String>(TOPIC).timeout(Duration::from_secs(30)).await?;
    let message = day(&message.ok_or(Failure::NoMessage)?)?;
    Ok(json!({
        "echo_text": given.text,
        "echo_num": given.num,
        "echo_float": given.float,
        "items_count": given.items.len(),
        "echo_date": date,
        "msg_date": message,
    }))
}

/// The day of a date or an instant: its first ten characters.
fn day(text: &str) -> Result<String, Failure> {
    let is_day = |day: &&str| {
        day.bytes().enumerate().all(
            |(at, byte)| {
                if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() }
            },
        )
    };
    let day = text.get(..10).filter(is_day);
    day.map(str::to_owned).ok_or_else(|| Failure::NoDate(text.to_owned()))
}

/// An echo that was asked for, and who asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Driven {
    pub(crate) result: Value,
    pub(crate) parent_id: String,
    pub(crate) child_id: String,
}

/// The echo of another application, by what that calls its arguments.
pub(crate) const ECHO_OF_PEER: WorkflowRef<Arguments, Value> = WorkflowRef::named(ECHO);

pub(crate) async fn driver(ctx: Ctx, (target, arguments): (Peer, Passed)) -> Result<Driven, Failure> {
    let child = ctx
        .start(ECHO_OF_PEER, arguments.into())
        .queue(&target.queue())
        .class_name(CLASS)
        .config_name(INSTANCE)
        .application(&target.application())
        .application_version(&target.version())
        .await?;
    ctx.send(child.id(), DATE).topic(TOPIC).await?;
    let result = child.result().await?;
    Ok(Driven { result, parent_id: ctx.workflow_id().to_string(), child_id: child.id().to_string() })
}

/// Arguments on their way through a request or through another workflow's input.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Passed {
    positional_args: Vec<Value>,
    named_args: serde_json::Map<String, Value>,
}

impl From<Passed> for Arguments {
    fn from(Passed { positional_args, named_args }: Passed) -> Self {
        Self { positional: positional_args, named: named_args }
    }
}
