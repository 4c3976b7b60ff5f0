//! The server under load, as a process of its own.

use std::process::Stdio;

use bench_common::{Args, BoxError, PATIENCE};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// A running server; killed when it is dropped.
pub struct Server {
    process: Child,
    /// Where it listens.
    pub addr: String,
}

impl Server {
    /// Starts the server of that engine and waits until it listens.
    pub async fn start(args: &Args, engine: &str) -> Result<Self, BoxError> {
        let mut command = match engine {
            "ours" => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["--engine", "ours", "--second", "yes", "--url", &args.url]);
                command.args(["--workload", &args.workload.to_string()]);
                command
            }
            "fastapi" => {
                let python = std::env::var("BENCH_FASTAPI")?;
                let mut words = python.split(' ');
                let mut command = Command::new(words.next().unwrap_or_default());
                command.args(words).arg(&args.url);
                command
            }
            other => return Err(format!("no server is called `{other}`").into()),
        };
        let mut process = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let output = process.stdout.take().ok_or("the server has no output")?;
        let mut lines = BufReader::new(output).lines();
        let addr = timeout(PATIENCE, lines.next_line()).await??.ok_or("the server has ended")?;
        // What else it prints is thrown away, so that it never waits for a reader.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { process, addr })
    }

    /// Its number.
    pub fn pid(&self) -> Result<u32, BoxError> {
        self.process.id().ok_or_else(|| "the server has ended".into())
    }
}
