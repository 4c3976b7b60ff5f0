//! An application on another SDK: a process that does what it is told, line by line.
#![expect(clippy::expect_used, clippy::panic, reason = "the harness reports trouble by failing the test")]

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

use crate::{Fresh, node, python};

/// Longer than anything that a peer waits for by itself.
const PATIENCE: Duration = Duration::from_secs(120);

/// The SDKs that have a witness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// `tests/python/witness.py`.
    Python,
    /// `tests/node/witness.mjs`.
    Node,
}

/// A running witness: an application of its own name, version, executor and queue. Killed when it is dropped.
#[derive(Debug)]
pub struct Peer {
    language: Language,
    _child: Child,
    input: tokio::sync::Mutex<ChildStdin>,
    next: AtomicU64,
    output: Arc<Output>,
    _readers: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Output {
    waiting: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
    text: Mutex<String>,
}

impl Peer {
    /// Launches the application on a database that has its schema, and waits until it works.
    pub async fn launch(language: Language, fresh: &Fresh) -> Self {
        let name = language.name();
        let options = json!({"name": format!("{name}-app"), "version": format!("{name}-v1"),
            "executor": name, "queues": [format!("{name}-queue")]});
        let script = match language {
            Language::Python => "witness.py",
            Language::Node => "witness.mjs",
        };
        Self::launch_as(language, script, fresh, &options).await
    }

    /// The same with another script, and names of its own.
    pub async fn launch_as(language: Language, script: &'static str, fresh: &Fresh, options: &Value) -> Self {
        let command = spawn_blocking(move || match language {
            Language::Python => python::script(script),
            Language::Node => node::script(script),
        });
        let mut command = Command::from(command.await.expect("the SDK can be installed"));
        command.arg(fresh.url()).arg(options.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));

        let output = Arc::new(Output::default());
        let (ready, launched) = oneshot::channel();
        lock(&output.waiting).insert(0, ready);
        let mut readers = JoinSet::new();
        readers.spawn(read(child.stdout.take().expect("it is piped"), Arc::clone(&output), true));
        readers.spawn(read(child.stderr.take().expect("it is piped"), Arc::clone(&output), false));
        let input = tokio::sync::Mutex::new(child.stdin.take().expect("it is piped"));
        let peer =
            Self { language, _child: child, input, next: AtomicU64::new(1), output, _readers: readers };
        peer.answer("launch", launched).await.expect("a launch has no other answer");
        peer
    }

    /// Which SDK it is on.
    pub fn language(&self) -> Language {
        self.language
    }

    /// The name of its application.
    pub fn application(&self) -> String {
        format!("{}-app", self.language.name())
    }

    /// The version of its application.
    pub fn version(&self) -> String {
        format!("{}-v1", self.language.name())
    }

    /// The name of its process.
    pub fn executor(&self) -> &'static str {
        self.language.name()
    }

    /// The one queue that it works on.
    pub fn queue(&self) -> String {
        format!("{}-queue", self.language.name())
    }

    /// Tells it to do something, and hands back what that gave or which error it raised. Several may be under way.
    pub async fn ask(&self, op: &str, request: Value) -> Result<Value, Value> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (answered, answer) = oneshot::channel();
        lock(&self.output.waiting).insert(number, answered);
        let mut line = json!({"n": number, "op": op});
        let members: Map<String, Value> =
            if let Value::Object(members) = request { members } else { Map::new() };
        line.as_object_mut().expect("it is an object").extend(members);
        let line = format!("{line}\n");
        self.input.lock().await.write_all(line.as_bytes()).await.unwrap_or_else(|_| self.fail(op));
        self.answer(op, answer).await
    }

    /// The same for what has to succeed.
    pub async fn tell(&self, op: &str, request: Value) -> Value {
        let answer = self.ask(op, request.clone()).await;
        answer.unwrap_or_else(|error| panic!("{op} {request}: {error}\n{}", self.text()))
    }

    async fn answer(&self, op: &str, answer: oneshot::Receiver<Value>) -> Result<Value, Value> {
        let Ok(Ok(mut answer)) = timeout(PATIENCE, answer).await else { self.fail(op) };
        match answer.get_mut("error") {
            Some(error) => Err(error.take()),
            None => Ok(answer["ok"].take()),
        }
    }

    fn fail(&self, op: &str) -> ! {
        panic!("{:?} has not answered {op}. Its output:\n{}", self.language, self.text())
    }

    fn text(&self) -> String {
        lock(&self.output.text).clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("output of {:?}:\n{}", self.language, self.text());
        }
    }
}

impl Language {
    fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
        }
    }
}

/// Reads to the end: answers go to those who wait, everything is kept.
async fn read(from: impl AsyncRead + Unpin, output: Arc<Output>, answers: bool) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if answers && let Ok(answer) = serde_json::from_str::<Value>(&line) {
            let waiting = answer["n"].as_u64().and_then(|number| lock(&output.waiting).remove(&number));
            if let Some(waiting) = waiting {
                // Whoever has stopped waiting has failed already.
                let _ = waiting.send(answer);
            }
        }
        let mut text = lock(&output.text);
        text.push_str(&line);
        text.push('\n');
    }
    // Nobody waits for a program that has ended.
    if answers {
        lock(&output.waiting).clear();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Expands each test to one for every SDK and every database that it works on.
///
/// ```text
/// with_each_peer! {
///     async fn their_result_is_ours(fresh: Fresh, peer: Peer) { … }
/// }
/// ```
#[macro_export]
macro_rules! with_each_peer {
    ($($(#[$attribute:meta])* async fn $name:ident($fresh:ident: Fresh, $peer:ident: Peer) $body:block)*) => {
        $(
            $(#[$attribute])*
            mod $name {
                #[allow(unused_imports, reason = "a test may use nothing of its surroundings")]
                use super::*;
                use $crate::peer::{Language, Peer};

                async fn with_a_peer($fresh: $crate::Fresh, $peer: Peer) $body

                async fn run(language: Language, backend: $crate::Backend) {
                    let fresh = $crate::fresh(backend).await;
                    let peer = Peer::launch(language, &fresh).await;
                    with_a_peer(fresh, peer).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn python_on_sqlite() {
                    run(Language::Python, $crate::Backend::Sqlite).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn python_on_postgres() {
                    run(Language::Python, $crate::Backend::Postgres).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn node_on_postgres() {
                    run(Language::Node, $crate::Backend::Postgres).await;
                }
            }
        )*
    };
}
