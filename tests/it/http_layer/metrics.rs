//! What the metrics page says.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use dbos_axum::{AllowAnyone, Metrics, MetricsPage, WorkflowApi};
use dbos_runtime::Ctx as RuntimeCtx;
use harness::http::Client;
use harness::proxy::{Mode, Proxy};
use harness::{Backend, on_each_backend, python};

use super::*;

const NAME: &str = "http-tests";

#[workflow]
async fn idle(_ctx: RuntimeCtx<(), Error>, _: ()) -> Result<(), Error> {
    Ok(())
}

/// A page as its reader sees it: a sample's value by its name and labels.
#[derive(Debug)]
struct Page(BTreeMap<(String, BTreeMap<String, String>), f64>);

impl Page {
    async fn of(metrics: &Metrics) -> Self {
        Self::read(&metrics.render().await)
    }

    /// Reads only what our pages have: no escapes, no timestamps.
    fn read(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}').unwrap();
            let label = |pair: &str| {
                let (key, value) = pair.split_once("=\"").unwrap();
                (key.to_owned(), value.trim_end_matches('"').to_owned())
            };
            let labels = labels.split(',').filter(|pair| !pair.is_empty()).map(label).collect();
            ((name.to_owned(), labels), value.parse().unwrap())
        });
        Self(samples.collect())
    }

    /// The sum of the samples of that name whose labels are these, among others.
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let fits = |found: &BTreeMap<String, String>| {
            labels.iter().all(|(key, value)| found.get(*key).is_some_and(|found| found == value))
        };
        let samples = self.0.iter().filter(|((found, all), _)| found == name && fits(all));
        samples.map(|(_, value)| *value).reduce(|sum, value| sum + value)
    }

    #[track_caller]
    fn has(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        let found = self.sum(name, labels);
        let near = found.is_some_and(|found| (found - value).abs() < 1e-9);
        assert!(near, "{name}{labels:?} is {found:?} instead of {value}: {self:#?}");
    }
}

on_each_backend! {
    async fn requests_and_workflows_are_counted(fresh: Fresh) {
        let (dbos, client) = shop(&fresh).await;
        let metrics = Metrics::install(dbos.clone()).unwrap();
        let api = Client::new(Router::new().nest("/dbos", WorkflowApi::<AllowAnyone>::new(dbos.clone()).into_router()));
        // Other tests of this process may count too.
        let before = Page::of(&metrics).await;
        let (counted, route) = (|page: &Page, name: &str, labels: &[(&str, &str)]| page.sum(name, labels).unwrap_or(0.0),
            [("route", "/dbos/workflows/{id}"), ("method", "GET")]);

        let first = client.post("/park").header("idempotency-key", KEY).json(&json!(7)).send().await;
        let id = first.header("dbos-workflow-id").unwrap().to_owned();
        client.post("/park").header("idempotency-key", KEY).json(&json!(7)).send().await;
        assert_eq!(api.get(format!("/dbos/workflows/{id}")).send().await.status, StatusCode::OK);
        is_problem(&api.get("/dbos/workflows/nobody").send().await, 404, Some("workflow-not-found"));
        assert_eq!(api.get("/dbos/nothing").send().await.status, StatusCode::NOT_FOUND);
        harness::until("running", async || dbos.runtime_metrics().running == 1).await;
        // With that it has written what it writes.
        let waits = "SELECT count(*) FROM operation_outputs WHERE function_name = 'DBOS.sleep'";
        harness::until("it waits", async || fresh.scalar(waits).await == 1).await;

        // Another one's look at the engine, since this one's is not a second old.
        let page = Page::of(&Metrics::install(dbos.clone()).unwrap()).await;
        let grown = |name: &str, labels: &[(&str, &str)]| counted(&page, name, labels) - counted(&before, name, labels);
        for (replayed, starts) in [("false", 1.0), ("true", 1.0)] {
            assert_eq!(grown("dbos_http_starts_total", &[("workflow", "parked"), ("replayed", replayed)]), starts);
        }
        assert_eq!(grown("dbos_http_problems_total", &[("type", "workflow-not-found")]), 1.0);
        assert_eq!(grown("dbos_http_problems_total", &[("type", "404")]), 1.0);
        assert_eq!(grown("dbos_http_request_duration_seconds_count", &[&route[..], &[("status", "200")]].concat()), 1.0);
        assert_eq!(grown("dbos_http_request_duration_seconds_count", &[&route[..], &[("status", "404")]].concat()), 1.0);
        assert_eq!(grown("dbos_http_request_duration_seconds_bucket", &[&route[..], &[("le", "+Inf")]].concat()), 2.0);

        let of_parked = [("application", NAME), ("workflow_name", "parked")];
        page.has("dbos_workflow_pending_count", &of_parked, 1.0);
        let oldest = page.sum("dbos_workflow_oldest_pending_timestamp_seconds", &of_parked).unwrap();
        let created = dbos.info(id.as_str()).await.unwrap().created_at.as_millis();
        assert!((oldest * 1000.0 - created as f64).abs() < 1.0, "{oldest} {created}");
        let who = [("executor_id", dbos.executor_id()), ("application_version", "v1"), ("application", NAME)];
        page.has("dbos_executor_info", &who, 1.0);
        page.has("dbos_executor_latest_version", &[], 1.0);
        page.has("dbos_executor_announced", &[], 1.0);
        page.has("dbos_executor_running_workflows", &[], 1.0);
        page.has("dbos_database_up", &[], 1.0);
        page.has("dbos_journal_waiting_writes", &[], 0.0);
        let (commits, writes) = (counted(&page, "dbos_journal_commits_total", &[]), counted(&page, "dbos_journal_writes_total", &[]));
        assert!(commits >= 1.0 && writes >= commits, "{commits} {writes}");
        assert!(counted(&page, "dbos_journal_commit_microseconds_total", &[]) > 0.0);
        assert!(counted(&page, "dbos_pool_connections", &[]) >= 1.0);

        no_label_is_a_workflows(&page, &[&id, KEY, "nobody", "/dbos/nothing"]);
        end(&dbos).await;
    }

    async fn what_happened_in_the_last_whole_minute_is_a_rate(fresh: Fresh) {
        let (dbos, client) = shop(&fresh).await;
        for (path, count) in [("/checkout", 1), ("/checkout", 2), ("/checkout", 101), ("/refund", 1)] {
            let request = client.post(path).json(&json!({"item": "cup", "count": count}));
            assert_eq!(request.send().await.status, StatusCode::ACCEPTED);
        }
        harness::until("ended", async || {
            fresh.scalar("SELECT count(*) FROM workflow_status WHERE status IN ('SUCCESS', 'ERROR')").await == 4
        })
        .await;
        // Were a minute to end in between, the next one would have them.
        let mut page = Page(BTreeMap::new());
        for _ in 0..2 {
            let minute = dbos.runtime_metrics().at.as_millis().div_euclid(60_000) * 60_000;
            fresh
                .execute(&format!(
                    "UPDATE workflow_status SET created_at = {}, started_at_epoch_ms = {}, completed_at = {}",
                    minute - 3_000,
                    minute - 2_750,
                    minute - 1,
                ))
                .await;
            fresh
                .execute(&format!(
                    "UPDATE operation_outputs SET started_at_epoch_ms = {}, completed_at_epoch_ms = {}",
                    minute - 2_500,
                    minute - 1_000,
                ))
                .await;
            page = Page::of(&Metrics::beside(dbos.clone(), String::new)).await;
            if page.sum("dbos_workflow_started_rate", &[]).is_some() {
                break;
            }
        }
        let (checkouts, refunds) = ([("workflow_name", "checkout")], [("workflow_name", "refund")]);
        page.has("dbos_workflow_started_rate", &checkouts, 3.0 / 60.0);
        page.has("dbos_workflow_started_rate", &refunds, 1.0 / 60.0);
        page.has("dbos_workflow_success_rate", &checkouts, 2.0 / 60.0);
        page.has("dbos_workflow_failed_rate", &checkouts, 1.0 / 60.0);
        page.has("dbos_workflow_max_total_latency_seconds", &checkouts, 2.999);
        page.has("dbos_workflow_max_queue_wait_seconds", &refunds, 0.25);
        page.has("dbos_step_success_rate", &[("step_name", "charge")], 2.0 / 60.0);
        page.has("dbos_step_max_duration_seconds", &[("step_name", "charge")], 1.5);
        // Never on a queue.
        assert_eq!(page.sum("dbos_workflow_dequeued_rate", &[]), None);
        assert_eq!(page.sum("dbos_workflow_pending_count", &[]), None);
        end(&dbos).await;
    }

    async fn the_depth_of_a_queue_and_its_oldest_entry_are_shown(fresh: Fresh) {
        let builder = harness::builder(&fresh).register(idle).queue(dbos_runtime::Queue::new("shut").concurrency(0));
        let dbos = builder.launch().await.unwrap();
        for delay in [None, None, Some(Duration::from_secs(60))] {
            let start = dbos.start(idle, ()).queue("shut");
            match delay {
                Some(delay) => start.delay(delay).await.unwrap(),
                None => start.await.unwrap(),
            };
        }
        let page = Page::of(&Metrics::beside(dbos.clone(), || "http_part 1\n".to_owned())).await;
        let shut = [("queue_name", "shut"), ("workflow_name", "idle"), ("application", "tests")];
        page.has("http_part", &[], 1.0);
        page.has("dbos_workflow_enqueued_count", &shut, 2.0);
        page.has("dbos_workflow_delayed_count", &shut, 1.0);
        let oldest = page.sum("dbos_workflow_oldest_enqueued_timestamp_seconds", &shut).unwrap();
        let created = fresh.scalar("SELECT min(created_at) FROM workflow_status WHERE status = 'ENQUEUED'").await;
        assert!((oldest * 1000.0 - created as f64).abs() < 1.0, "{oldest} {created}");
        dbos.shutdown(Duration::ZERO).await;
    }
}

/// Every label, and that none holds what there is no end of.
fn no_label_is_a_workflows(page: &Page, unbounded: &[&str]) {
    let known = [
        "application",
        "application_version",
        "executor_id",
        "le",
        "method",
        "queue_name",
        "replayed",
        "route",
        "state",
        "status",
        "step_name",
        "type",
        "workflow",
        "workflow_name",
    ];
    let mut seen = 0;
    for (name, labels) in page.0.keys() {
        for (key, value) in labels {
            seen += 1;
            assert!(known.contains(&key.as_str()), "{name} has the label {key}");
            assert!(!unbounded.iter().any(|text| value.contains(text)), "{name} has {key}={value}");
        }
    }
    assert!(seen > 50, "only {seen} labels");
}

#[tokio::test]
async fn the_page_is_for_those_whom_the_extractor_knows() {
    let fresh = harness::fresh(Backend::Sqlite).await;
    let (dbos, _) = shop(&fresh).await;
    let metrics = Metrics::install(dbos.clone()).unwrap();
    let locked = MetricsPage::<Principal>::new(metrics.clone()).into_router();
    let client = Client::new(Router::new().nest("/ops", locked));
    let refused = client.get("/ops/metrics").send().await;
    is_problem(&refused, 401, Some("unauthenticated"));
    assert!(!refused.text().contains("dbos_executor"));
    is_problem(&client.post("/ops/metrics").send().await, 405, None);

    let client = Client::new(MetricsPage::<AllowAnyone>::new(metrics).into_router());
    let page = client.get("/metrics").send().await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(page.header("cache-control"), Some("no-store"));

    // What Prometheus' own parser makes of it.
    let families: Value = serde_json::from_str(&parsed(page.text())).unwrap();
    let families = families.as_array().unwrap();
    let typed =
        |name: &str| families.iter().find(|family| family["name"] == name).map(|family| &family["type"]);
    assert_eq!(typed("dbos_executor_info"), Some(&json!("gauge")));
    assert_eq!(typed("dbos_journal_commits"), Some(&json!("counter")));
    assert_eq!(typed("dbos_http_problems"), Some(&json!("counter")));
    assert!(families.len() > 10, "{families:#?}");
    for family in families {
        assert!(family["help"].as_str().is_some_and(|help| help.len() > 10), "{family}");
        assert!(family["type"] != "unknown" && family["type"] != "summary", "{family}");
    }
    end(&dbos).await;
}

fn parsed(page: &str) -> String {
    let mut command: Command = python::http_script("metrics_page.py");
    let mut parser = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    parser.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = parser.wait_with_output().unwrap();
    assert!(output.status.success(), "{page}");
    String::from_utf8(output.stdout).unwrap()
}

/// A scrape is bounded in statements, and ten at once are one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_is_seven_statements_and_serves_all_who_ask_within_a_second() {
    let fresh = harness::fresh(Backend::Postgres).await;
    let proxy = Proxy::before(fresh.url()).await;
    let far = Duration::from_secs(600);
    let builder = harness::builder(&fresh)
        .database_url(proxy.url(fresh.url()))
        .polling_interval(far)
        .schedule_poll(far)
        .patience(Duration::from_secs(1));
    let dbos = builder.register(idle).launch().await.unwrap();
    dbos.start(idle, ()).await.unwrap().result().await.unwrap();
    let metrics = Metrics::beside(dbos.clone(), String::new);
    let asked = || {
        let messages = proxy.client_messages();
        messages
            .work()
            .iter()
            .filter(|sql| sql.contains("count(*)") || sql.contains("application_versions"))
            .count()
    };
    loop {
        proxy.settle().await;
        let begun = Instant::now();
        let pages = futures_util::future::join_all((0..10).map(|_| metrics.render())).await;
        // Whoever asks a second later looks anew.
        if begun.elapsed() < Duration::from_millis(900) {
            let up = "dbos_database_up{application=\"tests\"} 1";
            assert!(pages.iter().all(|page| *page == pages[0] && page.contains(up)));
            assert_eq!(asked(), 7, "{:#?}", proxy.client_messages().work());
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    proxy.set_mode(Mode::RefuseNew);
    proxy.reset_all();
    let away = async || Page::of(&metrics).await.sum("dbos_database_up", &[]) == Some(0.0);
    harness::until("known to be away", away).await;
    let page = Page::of(&metrics).await;
    page.has("dbos_executor_info", &[], 1.0);
    assert_eq!(page.sum("dbos_executor_latest_version", &[]), None);
    proxy.set_mode(Mode::Pass);
    dbos.shutdown(Duration::ZERO).await;
}
