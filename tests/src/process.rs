//! A program as a child process: told to stop at any moment, in any way.
#![expect(clippy::panic, reason = "the harness reports trouble by failing the test")]

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{env, thread};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The path of a program of this workspace: what the environment variable says, else the one built beside this test.
///
/// `scripts/test` builds the shop and sets `WIDGET_STORE_BIN`.
pub fn binary(variable: &str, name: &str) -> PathBuf {
    if let Some(path) = env::var_os(variable) {
        return path.into();
    }
    // Test programs are in `deps`, one folder below the others.
    let test = env::current_exe().unwrap_or_else(|error| panic!("this program has no path: {error}"));
    test.ancestors()
        .skip(2)
        .take(1)
        .map(|folder| folder.join(name).with_extension(env::consts::EXE_EXTENSION))
        .find(|path| path.exists())
        .unwrap_or_else(|| {
            panic!("{name} is not built and {variable} is not set: start the tests with scripts/test")
        })
}

/// A running child. It is killed when this value is dropped.
///
/// Its output is kept, and shown when a test fails.
#[derive(Debug)]
pub struct Process {
    child: Child,
    output: Arc<Mutex<String>>,
    lines: watch::Receiver<Vec<String>>,
    seen: usize,
    readers: JoinSet<()>,
}

impl Process {
    /// Starts `command`.
    ///
    /// Its lines are read all the time, so it never waits for a reader.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let output = Arc::new(Mutex::new(String::new()));
        let (found, lines) = watch::channel(Vec::new());
        let mut readers = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            readers.spawn(read_lines(stdout, Arc::clone(&output), Some(found)));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.spawn(read_lines(stderr, Arc::clone(&output), None));
        }
        Self { child, output, lines, seen: 0, readers }
    }

    /// Waits for a line on standard output that `wanted` accepts. The next call begins after that line.
    ///
    /// Fails the test when the program ends its output, or time is up, without such a line.
    pub async fn line(&mut self, within: Duration, wanted: impl FnMut(&str) -> bool) -> String {
        match self.line_unless_it_ends(within, wanted).await {
            Some(line) => line,
            None => panic!("the output ended before the expected line. Output:\n{}", self.output()),
        }
    }

    /// Like [`line`](Self::line), but a program that ends first is no failure.
    pub async fn line_unless_it_ends(
        &mut self,
        within: Duration,
        mut wanted: impl FnMut(&str) -> bool,
    ) -> Option<String> {
        let search = async {
            loop {
                let line = self.lines.borrow_and_update().get(self.seen).cloned();
                match line {
                    Some(line) => {
                        self.seen += 1;
                        if wanted(&line) {
                            return Some(line);
                        }
                    }
                    None => self.lines.changed().await.ok()?,
                }
            }
        };
        match timeout(within, search).await {
            Ok(found) => found,
            Err(_) => panic!("{within:?} passed before the expected line. Output:\n{}", self.output()),
        }
    }

    /// Waits for the end of the program, however long that takes.
    pub async fn ended(&mut self) {
        // A child that cannot be waited for is gone.
        let _ = self.child.wait().await;
    }

    /// The process id. None after the end.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// All that the program has written so far, to both outputs.
    pub fn output(&self) -> String {
        lock(&self.output).clone()
    }

    /// Kills the program as a crash does, and waits until it is dead.
    pub async fn kill9(&mut self) {
        self.signal(Signal::KILL);
        self.wait(2 * crate::PATIENCE).await;
    }

    /// Freezes the program: nothing of it runs, and its connections stay open.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a frozen program go on.
    pub fn cont(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks the program to end, and fails the test when it takes longer than `within`.
    pub async fn terminate(&mut self, within: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(within).await
    }

    /// Waits for the end of the program, and fails the test when that takes longer than `within`.
    pub async fn wait(&mut self, within: Duration) -> ExitStatus {
        let ended = timeout(within, self.child.wait()).await;
        let Ok(status) = ended else {
            panic!("the program still runs after {within:?}. Output:\n{}", self.output())
        };
        // Its last words may still be on their way. A grandchild that keeps the pipes open is not waited for.
        let last_words = async { while self.readers.join_next().await.is_some() {} };
        drop(timeout(Duration::from_secs(1), last_words).await);
        status.unwrap_or_else(|error| panic!("the program cannot be waited for: {error}"))
    }

    /// Does nothing to a program that has been waited for: its id may belong to another one.
    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            kill_process(pid, signal).unwrap_or_else(|error| panic!("signal {signal:?} to {pid:?}: {error}"));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("output of the child process {:?}:\n{}", self.child.id(), self.output());
        }
    }
}

async fn read_lines(
    from: impl AsyncRead + Unpin,
    output: Arc<Mutex<String>>,
    found: Option<watch::Sender<Vec<String>>>,
) {
    let mut reader = BufReader::new(from);
    let mut bytes = Vec::new();
    while let Ok(1..) = reader.read_until(b'\n', &mut bytes).await {
        let line = String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned();
        bytes.clear();
        {
            let mut output = lock(&output);
            output.push_str(&line);
            output.push('\n');
        }
        if let Some(found) = &found {
            found.send_modify(|lines| lines.push(line));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    const SOON: Duration = Duration::from_secs(120);

    fn shell(script: &str) -> Process {
        Process::spawn(Command::new("sh").args(["-c", script]).env("GREETING", "hello"))
    }

    #[tokio::test]
    async fn lines_are_found_in_order_and_all_output_is_kept() {
        let mut process = shell("echo $GREETING; echo oops >&2; echo port 1; echo port 2; exit 3");
        assert_eq!(process.line(SOON, |line| line.starts_with("port")).await, "port 1");
        assert_eq!(process.line(SOON, |line| line.starts_with("port")).await, "port 2");
        assert_eq!(process.wait(SOON).await.code(), Some(3));
        for line in ["hello\n", "oops\n", "port 1\n", "port 2\n"] {
            assert!(process.output().contains(line), "{line}");
        }
        assert_eq!(process.id(), None);
    }

    #[tokio::test]
    #[should_panic(expected = "the output ended before the expected line. Output:\nhello")]
    async fn a_line_that_never_comes_fails_the_test_at_once() {
        shell("echo hello").line(SOON, |line| line == "bye").await;
    }

    #[tokio::test]
    #[should_panic(expected = "passed before the expected line. Output:\nhello")]
    async fn a_line_that_takes_too_long_fails_the_test() {
        let mut process = shell("echo hello; exec sleep 60");
        process.line(SOON, |line| line == "hello").await;
        process.line(Duration::from_millis(50), |line| line == "bye").await;
    }

    #[tokio::test]
    async fn a_frozen_program_goes_on_where_it_was() {
        let mut process = shell("trap 'echo asked' USR1; echo ready; while :; do sleep 0.02; done");
        process.line(SOON, |line| line == "ready").await;
        process.stop();
        process.signal(Signal::USR1);
        let silence = timeout(Duration::from_millis(200), process.lines.changed()).await;
        assert!(silence.is_err(), "a frozen program says nothing");
        process.cont();
        process.line(SOON, |line| line == "asked").await;
        process.kill9().await;
        assert_eq!(process.id(), None);
    }

    #[tokio::test]
    async fn a_program_ends_in_the_way_it_was_told() {
        let ready = "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.02; done";
        let mut process = shell(ready);
        process.line(SOON, |line| line == "ready").await;
        assert_eq!(process.terminate(SOON).await.code(), Some(5));
        process.line(SOON, |line| line == "bye").await;

        let mut process = shell(ready);
        process.line(SOON, |line| line == "ready").await;
        process.kill9().await;
        assert_eq!(process.wait(SOON).await.signal(), Some(9));
    }

    #[tokio::test]
    async fn a_dropped_process_is_killed() {
        let process = shell("exec sleep 60");
        let pid = process.id().and_then(|id| Pid::from_raw(i32::try_from(id).unwrap())).unwrap();
        drop(process);
        timeout(SOON, async {
            while rustix::process::test_kill_process(pid).is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .unwrap();
    }

    #[test]
    #[should_panic(expected = "nothing-of-this-name is not built and NOTHING_BIN is not set")]
    fn a_program_that_is_not_there_is_named() {
        binary("NOTHING_BIN", "nothing-of-this-name");
    }
}
