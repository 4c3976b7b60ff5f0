//! The program `interop-rust` fulfils the contract of the interoperability demo, with a peer in Python.

use std::net::SocketAddr;

use harness::peer::{Language, Peer};
use harness::process::Process;
use harness::{Backend, Fresh, web};
use serde_json::{Value, json};
use tokio::process::Command;

/// A running `interop-rust`, and the application that it talks with.
struct Demo {
    python: Peer,
    server: SocketAddr,
    _process: Process,
    _fresh: Fresh,
}

async fn launch() -> Demo {
    let fresh = harness::fresh(Backend::Postgres).await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_interop-rust"));
    let mut process = Process::spawn(command.env("DBOS_SYSTEM_DATABASE_URL", fresh.url()).env("PORT", "0"));
    let options = json!({"name": "interop-python", "version": "interop-python-v1", "executor": "python",
        "queues": ["interop-queue-python"]});
    let python = Peer::launch_as(Language::Python, "interop_python.py", &fresh, &options).await;
    let port = process.line(2 * harness::PATIENCE, |line| line.starts_with("listening on ")).await;
    let port: u16 = port.trim_start_matches("listening on ").parse().unwrap();
    Demo { python, server: ([127, 0, 0, 1], port).into(), _process: process, _fresh: fresh }
}

/// Within the time that the demo's driver gives a request.
async fn soon<T>(request: impl Future<Output = T>) -> T {
    tokio::time::timeout(harness::PATIENCE, request).await.expect("an answer in time")
}

impl Demo {
    async fn get(&self, path: &str) -> Value {
        let answer = soon(web::request(self.server, "GET", path)).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let answer = soon(web::send(self.server, "POST", path, body)).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    /// The same facts of a workflow as the other application reads them.
    async fn as_python_sees_it(&self, id: &Value) -> Value {
        let row = self.python.tell("status", json!({"id": id})).await;
        json!({"workflowId": row["id"], "name": row["name"], "status": row["status"], "queueName": row["queue"],
            "applicationName": row["application"], "applicationVersion": row["version"],
            "parentWorkflowId": row["parent"], "executorId": row["executor"]})
    }
}

/// A number that no format may round.
#[expect(clippy::approx_constant, reason = "the contract says so")]
const FLOAT: f64 = 3.14;

/// What goes to our echo, and to the one in Python.
fn for_rust() -> Value {
    json!({"positionalArgs": ["hello-interop", 42, FLOAT, ["alpha", "beta", "gamma"], "2025-01-15"], "namedArgs": {}})
}

fn for_python() -> Value {
    json!({"positionalArgs": ["hello-interop", 42, ["alpha", "beta", "gamma"]],
        "namedArgs": {"val_float": FLOAT, "val_date": "2025-01-15"}})
}

fn echo() -> Value {
    json!({"echo_text": "hello-interop", "echo_num": 42, "echo_float": FLOAT, "items_count": 3,
        "echo_date": "2025-01-15", "msg_date": "2025-03-15"})
}

// P470
#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_answers_as_the_contract_says() {
    let demo = launch().await;
    assert_eq!(demo.get("/healthz").await, json!({"status": "ok"}));
    assert_eq!(demo.post("/enqueue/python", &for_python()).await, echo());
    assert_eq!(demo.post("/enqueue/rust", &for_rust()).await, echo());

    // From a workflow of ours to one of theirs.
    let driven = demo.post("/interop/python", &for_python()).await;
    assert_eq!(driven["result"], echo());
    let (parent, child) = (&driven["parentId"], &driven["childId"]);
    let row = demo.get(&format!("/workflow/{}", child.as_str().unwrap())).await;
    assert_eq!(
        row,
        json!({"workflowId": child, "name": "echoWorkflow", "status": "SUCCESS", "queueName": "interop-queue-python",
            "applicationName": "interop-python", "applicationVersion": "interop-python-v1",
            "parentWorkflowId": parent, "executorId": "python"})
    );
    for id in [parent, child] {
        let ours = demo.get(&format!("/workflow/{}", id.as_str().unwrap())).await;
        assert_eq!(ours, demo.as_python_sees_it(id).await);
    }
    let steps = demo.get(&format!("/steps/{}", parent.as_str().unwrap())).await;
    let names: Vec<&str> =
        steps.as_array().unwrap().iter().filter_map(|step| step["functionName"].as_str()).collect();
    assert_eq!(names, ["echoWorkflow", "DBOS.send", "DBOS.getResult"]);
    assert_eq!((&steps[0]["functionId"], &steps[0]["childWorkflowId"]), (&json!(1), child));
    assert_eq!(steps[1]["childWorkflowId"], Value::Null);

    // And from one of theirs to ours.
    let arguments = [json!("rust"), for_rust()["positionalArgs"].clone(), json!({})];
    demo.python.tell("start", json!({"name": "interopDriver", "args": arguments, "id": "from-python"})).await;
    let driven = demo.python.tell("result", json!({"id": "from-python"})).await;
    assert_eq!(driven["result"], echo());
    let child = demo.get(&format!("/workflow/{}", driven["childId"].as_str().unwrap())).await;
    assert_eq!(
        (&child["applicationName"], &child["parentWorkflowId"]),
        (&json!("interop-rust"), &json!("from-python"))
    );
    assert_eq!(
        (&child["applicationVersion"], &child["queueName"]),
        (&json!("interop-rust-v1"), &json!("interop-queue-rust"))
    );

    // Listings have their own, or those that are asked for.
    let ids = async |path: &str| -> Vec<Value> {
        let rows = demo.get(path).await;
        rows.as_array().unwrap().iter().map(|row| row["workflowId"].clone()).collect()
    };
    let (own, theirs) = (ids("/workflows").await, ids("/workflows?application_name=interop-python").await);
    assert!(own.contains(parent) && !own.contains(&json!("from-python")), "{own:?}");
    assert!(theirs.contains(&json!("from-python")) && !theirs.contains(parent), "{theirs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_asynchronous_enqueue_is_run_by_its_owner_alone() {
    let demo = launch().await;
    let foreign = demo.post("/enqueue-async/python?owner=rust", &for_python()).await;
    let own = demo.post("/enqueue-async/python", &for_python()).await;
    assert_eq!(demo.python.tell("result", json!({"id": own["childId"]})).await, echo());
    let waiting = demo.get(&format!("/workflow/{}", foreign["childId"].as_str().unwrap())).await;
    assert_eq!(
        (&waiting["status"], &waiting["applicationName"]),
        (&json!("ENQUEUED"), &json!("interop-rust"))
    );

    for path in
        ["/enqueue/cobol", "/interop/cobol", "/enqueue-async/cobol", "/enqueue-async/python?owner=cobol"]
    {
        assert_eq!(web::send(demo.server, "POST", path, &for_python()).await.unwrap().status, 400, "{path}");
    }
    assert_eq!(web::request(demo.server, "GET", "/workflow/nobody").await.unwrap().status, 404);
}
