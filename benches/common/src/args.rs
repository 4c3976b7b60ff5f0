//! The command line, the same for every engine.

use std::fmt;
use std::str::FromStr;

use crate::BoxError;

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// The sequential steps of one workflow.
    Steps,
    /// Workflows of a few steps, many at a time.
    Throughput,
    /// Workflows without a step, many at a time.
    Empty64,
    /// Workflows without a step, one at a time.
    Empty1,
    /// [`Throughput`](Self::Throughput) on a SQLite file.
    Sqlite,
    /// Workflows that sleep or wait for a message.
    Parked,
    /// From the enqueue in one process to the body's start in another.
    Enqueue,
    /// A queue that is full when its worker starts.
    Drain,
    /// Workflows that a killed process left behind.
    Recovery,
    /// From an event's setting in one process to its reader's return in another.
    Event,
    /// The same of a message and its receiver.
    Message,
    /// The same of a stream's value and its reader.
    Stream,
    /// A process with queues and nothing to do.
    Idle,
    /// HTTP requests that start a workflow and wait for its event.
    Post,
    /// What the HTTP layer costs a request.
    Layer,
    /// Readers of one stream over server-sent events.
    Sse,
    /// The same, of a stream on which nothing comes.
    SseIdle,
}

const NAMES: [(&str, Workload); 17] = [
    ("steps", Workload::Steps),
    ("throughput", Workload::Throughput),
    ("empty64", Workload::Empty64),
    ("empty1", Workload::Empty1),
    ("sqlite", Workload::Sqlite),
    ("parked", Workload::Parked),
    ("enqueue", Workload::Enqueue),
    ("drain", Workload::Drain),
    ("recovery", Workload::Recovery),
    ("event", Workload::Event),
    ("message", Workload::Message),
    ("stream", Workload::Stream),
    ("idle", Workload::Idle),
    ("post", Workload::Post),
    ("layer", Workload::Layer),
    ("sse", Workload::Sse),
    ("sse-idle", Workload::SseIdle),
];

impl FromStr for Workload {
    type Err = BoxError;

    fn from_str(name: &str) -> Result<Self, BoxError> {
        NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, workload)| *workload)
            .ok_or_else(|| format!("no workload is called `{name}`").into())
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, known)| known == self);
        f.write_str(name.map_or("?", |(name, _)| name))
    }
}

/// `--workload NAME --url DATABASE_URL [--count N] [--steps N] [--concurrency N] [--behind N]
/// [--pool N] [--second yes]`
#[derive(Debug, Clone)]
pub struct Args {
    /// What to measure.
    pub workload: Workload,
    /// The database, empty at the start.
    pub url: String,
    /// How many workflows, samples or seconds.
    pub count: usize,
    /// How many steps each workflow has.
    pub steps: u32,
    /// How many tasks start workflows.
    pub concurrency: usize,
    /// How many more workflows wait on the queue behind those that are measured.
    pub behind: usize,
    /// The size of the connection pool, where the benchmark is to set it.
    pub pool: Option<u32>,
    /// Whether this is the other process of a workload of two.
    pub second: bool,
}

impl Args {
    /// Reads the arguments of this process.
    pub fn from_env() -> Result<Self, BoxError> {
        Self::parse(std::env::args().skip(1))
    }

    /// Reads arguments.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, BoxError> {
        let (mut workload, mut url, mut pool) = (None, None, None);
        let (mut count, mut steps, mut concurrency) = (1, 0, 1);
        let (mut behind, mut second) = (0, false);
        while let Some(flag) = words.next() {
            let value = words.next().ok_or_else(|| format!("`{flag}` needs a value"))?;
            match flag.as_str() {
                "--workload" => workload = Some(value.parse()?),
                "--url" => url = Some(value),
                "--count" => count = value.parse()?,
                "--steps" => steps = value.parse()?,
                "--concurrency" => concurrency = value.parse()?,
                "--behind" => behind = value.parse()?,
                "--pool" => pool = Some(value.parse()?),
                "--second" => second = value == "yes",
                _ => return Err(format!("no flag is called `{flag}`").into()),
            }
        }
        Ok(Self {
            workload: workload.ok_or("`--workload` is missing")?,
            url: url.ok_or("`--url` is missing")?,
            count,
            steps,
            concurrency,
            behind,
            pool,
            second,
        })
    }
}
