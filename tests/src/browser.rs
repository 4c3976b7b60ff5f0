//! A headless Chromium, driven over WebDriver: what a person would see and do.
#![expect(clippy::panic, reason = "the harness reports trouble by failing the test")]

use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::process::Process;
use crate::web;

const SOON: Duration = Duration::from_secs(120);

/// How an element is written in an answer.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// The program that drives browsers. `scripts/test` installs it.
#[derive(Debug)]
pub struct Driver {
    _process: Process,
    address: SocketAddr,
}

impl Driver {
    /// Starts the program on a free port.
    pub async fn start() -> Self {
        let mut process = Process::spawn(Command::new("chromedriver").arg("--port=0"));
        let line = process.line(SOON, |line| line.contains("started successfully on port ")).await;
        let port = line.rsplit(' ').next().and_then(|port| port.trim_end_matches('.').parse().ok());
        let port: u16 = port.unwrap_or_else(|| panic!("no port: {line}"));
        Self { _process: process, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    /// Opens a browser of its own: no cookie of another one is in it.
    pub async fn open(&self) -> Browser {
        let profile = TempDir::new().unwrap_or_else(|error| panic!("no folder for a profile: {error}"));
        let profile_argument = format!("--user-data-dir={}", profile.path().display());
        // As root, and in containers with a small /dev/shm, it does not start without the second and the third.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--no-first-run",
            &profile_argument,
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"args": arguments},
        }}});
        let session = command(self.address, "POST", "/session", &wanted).await;
        let pid = session["capabilities"]["goog:processID"].as_i64();
        let pid = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let id = session["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {session}"));
        Browser { driver: self.address, session: id.to_owned(), pid, _profile: profile }
    }
}

/// A browser with one window. It is killed when this value is dropped.
#[derive(Debug)]
pub struct Browser {
    driver: SocketAddr,
    session: String,
    pid: Option<Pid>,
    _profile: TempDir,
}

impl Browser {
    /// Opens a page and waits until it is loaded.
    pub async fn go(&self, url: &str) {
        self.command("POST", "url", &json!({"url": url})).await;
    }

    /// Runs the body of a function in the page, and gives what it returns. A promise is waited for.
    pub async fn run(&self, script: &str) -> Value {
        self.command("POST", "execute/sync", &json!({"script": script, "args": []})).await
    }

    /// Waits until an expression is true in the page, and gives its value.
    pub async fn until(&self, what: &str, expression: &str) -> Value {
        let wait = async {
            loop {
                let value = self.run(&format!("return ({expression})")).await;
                if !matches!(value, Value::Null | Value::Bool(false)) {
                    return value;
                }
                sleep(Duration::from_millis(30)).await;
            }
        };
        match timeout(SOON, wait).await {
            Ok(value) => value,
            Err(_) => {
                let page = self.run("return document.body.innerText").await;
                panic!(
                    "never {what}. Console: {:?}. Page:\n{}",
                    self.console().await,
                    page.as_str().unwrap_or_default()
                )
            }
        }
    }

    /// Waits until the element can be pressed, and presses it.
    pub async fn click(&self, selector: &str) {
        let pressable = format!(
            "[document.querySelector({selector:?})].some((it) => it && !it.disabled && it.checkVisibility())"
        );
        self.until(&format!("pressable: {selector}"), &pressable).await;
        let found =
            self.command("POST", "element", &json!({"using": "css selector", "value": selector})).await;
        let id = found[ELEMENT].as_str().unwrap_or_else(|| panic!("no element {selector}: {found}"));
        self.command("POST", &format!("element/{id}/click"), &json!({})).await;
    }

    /// The errors on the console since the last call.
    pub async fn console(&self) -> Vec<String> {
        let log = self.command("POST", "se/log", &json!({"type": "browser"})).await;
        let errors = log.as_array().into_iter().flatten().filter(|entry| entry["level"] == "SEVERE");
        errors.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    async fn command(&self, method: &str, name: &str, body: &Value) -> Value {
        command(self.driver, method, &format!("/session/{}/{name}", self.session), body).await
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // A driver that is killed leaves its browsers behind.
        if let Some(pid) = self.pid {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

async fn command(driver: SocketAddr, method: &str, path: &str, body: &Value) -> Value {
    let answer = timeout(SOON, web::send(driver, method, path, body)).await;
    let answer = answer.unwrap_or_else(|_| panic!("{path}: no answer within {SOON:?}"));
    let answer = answer.unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(answer.status, 200, "{path} {body}: {}", answer.body);
    let mut answer: Value =
        serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{path}: no JSON: {error}"));
    answer["value"].take()
}
