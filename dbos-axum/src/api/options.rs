//! What a client may say about a start, in the query: `?delay_ms=1000&queue=slow&dedup_id=a&priority=3`.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::extract::{FromRequestParts, Query};
use http::request::Parts;

use crate::keyed_start::KeyedStart;
use crate::problem::{self, Problem};
use crate::seen::Seen;

/// Something that clients may say about a start, once it is [allowed](super::WorkflowApi::allow).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum StartOption {
    /// `delay_ms`: the workflow is not claimed before so many milliseconds have passed. It needs a queue.
    Delay,
    /// `queue`: the queue that it waits on.
    Queue,
    /// `dedup_id`: at most one workflow on the queue has it. It needs a queue.
    DeduplicationId,
    /// `priority`: its place on the queue, from 1, lower first. It needs a queue.
    Priority,
}

impl StartOption {
    const ALL: [Self; 4] = [Self::Delay, Self::Queue, Self::DeduplicationId, Self::Priority];

    /// Its name in the query.
    pub(crate) fn parameter(self) -> &'static str {
        match self {
            Self::Delay => "delay_ms",
            Self::Queue => "queue",
            Self::DeduplicationId => "dedup_id",
            Self::Priority => "priority",
        }
    }
}

/// What a request says about its start.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct StartOptions {
    delay: Option<Duration>,
    queue: Option<String>,
    deduplication_id: Option<String>,
    priority: Option<u32>,
}

impl StartOptions {
    fn of(query: Vec<(String, String)>) -> Result<Self, Problem> {
        let mut options = Self::default();
        let mut given = BTreeSet::new();
        for (name, value) in query {
            // What was no UTF-8 is no text of the client's any more.
            if value.contains(char::REPLACEMENT_CHARACTER) {
                return Err(refused(format!("`{name}` is not UTF-8.")));
            }
            let Some(option) = StartOption::ALL.into_iter().find(|option| option.parameter() == name) else {
                return Err(refused(format!(
                    "The query takes {}.",
                    StartOption::ALL.map(|option| format!("`{}`", option.parameter())).join(", ")
                )));
            };
            if !given.insert(option) {
                return Err(refused(format!("`{name}` comes more than once.")));
            }
            match option {
                StartOption::Delay => options.delay = Some(Duration::from_millis(number(&name, &value)?)),
                StartOption::Queue => options.queue = Some(value),
                StartOption::DeduplicationId => options.deduplication_id = Some(value),
                StartOption::Priority => {
                    let priority = u32::try_from(number(&name, &value)?).unwrap_or(u32::MAX);
                    options.priority = Some(priority);
                }
            }
        }
        Ok(options)
    }

    /// Refuses what this client may not say.
    pub(super) fn within(&self, allowed: &BTreeSet<StartOption>) -> Result<(), Problem> {
        let given = [
            (StartOption::Delay, self.delay.is_some()),
            (StartOption::Queue, self.queue.is_some()),
            (StartOption::DeduplicationId, self.deduplication_id.is_some()),
            (StartOption::Priority, self.priority.is_some()),
        ];
        match given.into_iter().find(|(option, given)| *given && !allowed.contains(option)) {
            Some((option, _)) => {
                Err(refused(format!("`{}` is not allowed for this workflow.", option.parameter())))
            }
            None => Ok(()),
        }
    }

    /// The same, but on that queue unless they name one.
    pub(super) fn on_queue(self, queue: Option<&str>) -> Self {
        Self { queue: self.queue.or_else(|| queue.map(ToOwned::to_owned)), ..self }
    }

    /// The start with these options.
    pub(super) fn apply<T>(&self, start: KeyedStart<T>) -> KeyedStart<T> {
        let start = match &self.queue {
            Some(queue) => start.queue(queue),
            None => start,
        };
        let start = match self.delay {
            Some(delay) => start.delay(delay),
            None => start,
        };
        let start = match &self.deduplication_id {
            Some(id) => start.deduplication_id(id),
            None => start,
        };
        match self.priority {
            Some(priority) => start.priority(priority),
            None => start,
        }
    }
}

fn number(name: &str, value: &str) -> Result<u64, Problem> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    match value.parse() {
        Ok(number) if digits => Ok(number),
        _ => Err(refused(format!("`{name}` is not a whole number, or too large."))),
    }
}

fn refused(detail: String) -> Problem {
    Problem::of(problem::INVALID_ARGUMENT).with_detail(detail)
}

impl<S: Send + Sync> FromRequestParts<S> for StartOptions {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let options = match query {
            Ok(Query(query)) => Self::of(query),
            Err(_) => Err(refused("The query cannot be read.".to_owned())),
        };
        options.map_err(|problem| problem.within(&Seen::of(parts)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(query: &[(&str, &str)]) -> Result<StartOptions, Problem> {
        StartOptions::of(
            query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        )
    }

    #[test]
    fn a_query_is_read_or_refused() {
        let all = options(&[("delay_ms", "1500"), ("queue", "q"), ("dedup_id", "d"), ("priority", "3")]);
        let expected = StartOptions {
            delay: Some(Duration::from_millis(1500)),
            queue: Some("q".to_owned()),
            deduplication_id: Some("d".to_owned()),
            priority: Some(3),
        };
        assert_eq!(all.unwrap(), expected);
        assert_eq!(options(&[]).unwrap(), StartOptions::default());
        let bad: &[&[(&str, &str)]] = &[
            &[("delay", "1")],
            &[("", "")],
            &[("queue", "a"), ("queue", "a")],
            &[("delay_ms", "")],
            &[("delay_ms", "-1")],
            &[("delay_ms", "+1")],
            &[("delay_ms", "1.5")],
            &[("delay_ms", "1e3")],
            &[("delay_ms", "NaN")],
            &[("delay_ms", "18446744073709551616")],
            &[("priority", "x")],
        ];
        for query in bad {
            let problem = options(query).unwrap_err();
            assert!(problem.is(problem::INVALID_ARGUMENT), "{query:?}: {problem}");
        }
    }

    #[test]
    fn what_is_not_allowed_is_refused() {
        let cases = [
            (StartOption::Delay, ("delay_ms", "0")),
            (StartOption::Queue, ("queue", "")),
            (StartOption::DeduplicationId, ("dedup_id", "d")),
            (StartOption::Priority, ("priority", "1")),
        ];
        for (option, given) in cases {
            let options = options(&[given]).unwrap();
            assert!(options.within(&BTreeSet::from([option])).is_ok());
            let others = StartOption::ALL.into_iter().filter(|other| *other != option).collect();
            let problem = options.within(&others).unwrap_err();
            assert!(problem.detail().unwrap().contains(given.0), "{problem}");
        }
    }
}
