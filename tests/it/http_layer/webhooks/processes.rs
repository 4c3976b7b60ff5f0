//! Two real processes that take the same deliveries, of which one dies.

use std::net::SocketAddr;

use harness::on_each_backend;
use harness::process::Process;
use harness::web;
use tokio::net::TcpListener;
use tokio::process::Command;

use super::*;

const SOON: Duration = Duration::from_secs(120);

/// Run in processes of their own by the tests below.
#[tokio::test]
#[ignore = "a part of other tests"]
async fn takes_deliveries() {
    let (url, name) = (std::env::var("HOOKS_URL").unwrap(), std::env::var("HOOKS_NAME").unwrap());
    if std::env::var_os("HOOKS_LOG").is_some() {
        super::logs::show_everything();
    }
    let builder = Dbos::builder("tests").database_url(url).application_version("v1").executor_id(name);
    let builder = builder.peer_recovery(false).polling_interval(Duration::from_millis(20));
    let dbos = builder.register(payee).register(add).register(webhooks::inbox()).launch().await.unwrap();
    let layer = DbosLayer::new(dbos.clone()).callbacks(super::callbacks::callbacks());
    let app = Router::new().nest("/in", sources(layer).into_router().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("listens at {}", listener.local_addr().unwrap());
    let serve = dbos_axum::serve(listener, app, dbos).until(dbos_axum::terminated());
    serve.drain(Duration::ZERO).await.unwrap();
}

pub(super) struct Server {
    pub(super) process: Process,
    pub(super) address: SocketAddr,
}

impl Server {
    async fn start(fresh: &Fresh, name: &str, dies_at: Option<&str>) -> Self {
        Self::with(fresh, name, dies_at.map(|boundary| ("DBOS_FAILPOINT", boundary))).await
    }

    /// One that prints all that is traced.
    pub(super) async fn logging(fresh: &Fresh, name: &str) -> Self {
        Self::with(fresh, name, Some(("HOOKS_LOG", "1"))).await
    }

    async fn with(fresh: &Fresh, name: &str, setting: Option<(&str, &str)>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let this = "http_layer::webhooks::processes::takes_deliveries";
        command.args(["--exact", "--ignored", "--nocapture", this]);
        command.env("HOOKS_URL", fresh.url()).env("HOOKS_NAME", name).env_remove("DBOS__VMID").envs(setting);
        let mut process = Process::spawn(&mut command);
        let line = process.line(SOON, |line| line.contains("listens at ")).await;
        let address = line.rsplit_once(' ').unwrap().1.parse().unwrap();
        Self { process, address }
    }

    /// What it answers; nothing when it dies meanwhile.
    async fn pay(&self, delivery: &str) -> Option<web::Answer> {
        let body = json!({"what": "send", "to": "order-7", "value": delivery}).to_string();
        let headers = Sender::Standard.headers(SECRET, delivery, NOW, body.as_bytes());
        web::post(self.address, "/in/hooks/standard", &headers, &body).await.ok()
    }
}

async fn arrived(fresh: &Fresh, delivery: &str) {
    let done = format!(
        "SELECT count(*) FROM workflow_status WHERE workflow_uuid = 'wh:standard:{delivery}' AND status = 'SUCCESS'"
    );
    harness::until("it is delivered", async || fresh.scalar(&done).await == 1).await;
}

on_each_backend! {
    // Acceptance 6.
    async fn a_delivery_is_made_once_though_one_of_its_takers_is_killed(fresh: Fresh) {
        let admin = harness::builder(&fresh).executor_id("admin").register(payee).launch().await.unwrap();
        let target = admin.start(payee, ()).id("order-7").await.unwrap();
        let (mut left, right) = tokio::join!(Server::start(&fresh, "left", None), Server::start(&fresh, "right", None));
        let answers = {
            let requests = (0..50).map(|n| if n % 2 == 0 { left.pay("d-1") } else { right.pay("d-1") });
            let mut requests: futures_util::stream::FuturesUnordered<_> = requests.collect();
            // Dead as soon as anybody has heard anything.
            let mut answers = vec![futures_util::StreamExt::next(&mut requests).await.unwrap()];
            let id = left.process.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
            rustix::process::kill_process(id.unwrap(), rustix::process::Signal::KILL).unwrap();
            while let Some(answer) = futures_util::StreamExt::next(&mut requests).await {
                answers.push(answer);
            }
            answers
        };
        left.process.kill9().await;
        let answered: Vec<_> = answers.iter().flatten().collect();
        assert_eq!(answers.len(), 50);
        assert!(answered.len() >= 25 && answered.iter().all(|answer| answer.status == 202), "{answered:?}");
        assert!(answered.iter().filter(|answer| answer.body.contains(r#""duplicate":false"#)).count() <= 1);
        // The next one of its name takes up what it left.
        let again = Server::start(&fresh, "left", None).await;
        assert!(again.pay("d-1").await.unwrap().body.contains(r#""duplicate":true"#));
        arrived(&fresh, "d-1").await;
        assert_eq!(target.result().await.unwrap(), Some(json!("d-1")));
        assert_eq!((fresh.scalar(WORKFLOWS).await, fresh.scalar(MESSAGES).await), (2, 1));
        end(&admin).await;
    }

    // Acceptance 6, at each commit on the way.
    async fn a_taker_may_die_at_any_commit(fresh: Fresh) {
        let boundaries = ["start:before", "start:after", "message:before", "message:after", "outcome:before"];
        let right = Server::start(&fresh, "right", None).await;
        let admin = harness::builder(&fresh).executor_id("admin").register(payee).launch().await.unwrap();
        admin.start(payee, ()).id("order-7").await.unwrap();
        for (n, boundary) in boundaries.iter().enumerate() {
            let delivery = format!("d-{n}");
            let mut left = Server::start(&fresh, "left", Some(boundary)).await;
            left.pay(&delivery).await;
            tokio::time::timeout(SOON, left.process.ended()).await.expect(boundary);
            let again = Server::start(&fresh, "left", None).await;
            let both = futures_util::future::join_all((0..10).map(|n| if n % 2 == 0 { &again } else { &right }.pay(&delivery))).await;
            assert!(both.iter().flatten().filter(|answer| answer.status == 202).count() == 10, "{boundary}: {both:?}");
            arrived(&fresh, &delivery).await;
            let messages = "SELECT count(*) FROM notifications WHERE message_uuid LIKE 'wh:standard:%::order-7'";
            assert_eq!(fresh.scalar(messages).await, i64::try_from(n).unwrap() + 1, "{boundary}");
        }
        end(&admin).await;
    }
}
