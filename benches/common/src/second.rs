//! The other process of a workload of two.
//!
//! It is this program with `--second yes`. It says `ready` when it is, then a line for each
//! measurement that is its own; a line that it gets asks it to act; it ends with its input.

use std::process::Stdio;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::engine::{Engine, Flow, PATIENCE, Place};
use crate::{Args, BoxError, Workload, many, mark};

/// The other process, seen from the first.
pub struct Second {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

/// The workflow that receives, and the one that writes.
pub const LONG_RUNNING: &str = "long-running";

impl Second {
    /// Starts it, and waits until it is ready.
    pub async fn start() -> Result<Self, BoxError> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(std::env::args().skip(1))
            .args(["--second", "yes"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take().ok_or("the second process has no input")?;
        let output = child.stdout.take().ok_or("the second process has no output")?;
        let mut second = Self { child, input, output: BufReader::new(output).lines() };
        // Without PATIENCE: it may have many workflows to prepare.
        match second.output.next_line().await?.as_deref() {
            Some("ready") => Ok(second),
            other => Err(format!("the second process says {other:?}, not that it is ready").into()),
        }
    }

    /// Asks it to act.
    pub async fn ask(&mut self, line: &str) -> Result<(), BoxError> {
        Ok(self.input.write_all(format!("{line}\n").as_bytes()).await?)
    }

    /// Its next measurement.
    pub async fn answer(&mut self) -> Result<i64, BoxError> {
        let line = tokio::time::timeout(PATIENCE, self.output.next_line()).await??;
        Ok(line.ok_or("the second process has ended")?.parse()?)
    }

    /// Kills it as `kill -9` does.
    pub async fn kill(mut self) -> Result<(), BoxError> {
        Ok(self.child.kill().await?)
    }
}

/// Is the other process.
pub async fn be<E: Engine>(args: &Args) -> Result<(), BoxError> {
    let worker = Place { executor: "worker", queues: 1, works: true };
    let count = i64::try_from(args.count)?;
    let place = match args.workload {
        Workload::Drain => Place { executor: "client", works: false, ..worker },
        Workload::Recovery => {
            mark::hold();
            Place { queues: 0, ..worker }
        }
        Workload::Enqueue => worker,
        _ => Place { queues: 0, ..worker },
    };
    let engine = Arc::new(E::launch(args, place).await?);
    match args.workload {
        Workload::Drain => {
            many(&engine, args.count, args.concurrency, |engine| async move {
                engine.enqueue(Flow::Adds, 1).await
            })
            .await?;
        }
        Workload::Recovery => {
            many(&engine, args.count, args.concurrency, |engine| async move {
                engine.start(Flow::Adds, None, 1).await
            })
            .await?;
            mark::all_ran(args.count).await;
        }
        Workload::Message => engine.start(Flow::Receives, Some(LONG_RUNNING), count).await?,
        Workload::Stream => engine.start(Flow::Writes, Some(LONG_RUNNING), count).await?,
        _ => {}
    }
    println!("ready");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match args.workload {
            Workload::Stream => mark::give_turn(),
            _ => engine.start(Flow::Publishes, Some(&line), 0).await?,
        }
    }
    Ok(())
}
