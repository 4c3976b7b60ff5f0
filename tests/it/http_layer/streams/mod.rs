//! Streams of workflows to HTTP clients.

mod doors;
mod forms;
mod load;
mod moves;
mod reading;
mod tokens;
mod watching;
mod wire;

use axum::body::Body;
use dbos_axum::{StreamLimits, WorkflowApi};
use dbos_runtime::WorkflowId as Id;
use http::HeaderMap;
use http_body_util::BodyExt as _;

use super::*;

/// What a scribe is told to do.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    Write(Vec<Value>),
    /// So many values of so many bytes.
    Fill(u32, usize),
    Close,
    End,
}

/// Writes what it is told to, until it is told to end.
#[workflow]
async fn scribe(ctx: Ctx, _: ()) -> Result<u32, ShopError> {
    let mut written = 0;
    loop {
        match ctx.recv::<Order>("do").timeout(Duration::from_secs(3600)).await? {
            Some(Order::Write(values)) => {
                for value in values {
                    ctx.write_stream("progress", &value).await?;
                    written += 1;
                }
            }
            Some(Order::Fill(values, bytes)) => {
                for _ in 0..values {
                    ctx.write_stream("progress", &"x".repeat(bytes)).await?;
                }
                written += values;
            }
            Some(Order::Close) => ctx.close_stream("progress").await?,
            Some(Order::End) | None => return Ok(written),
        }
    }
}

async fn scribes(url: &str, executor: &str, pool: u32) -> Dbos {
    let builder = Dbos::builder("stream-tests").database_url(url).application_version("v1");
    let builder = builder.executor_id(executor).pool_size(pool);
    let builder = builder.polling_interval(Duration::from_millis(50)).patience(harness::PATIENCE);
    builder.peer_recovery(false).state(()).register(scribe).launch().await.unwrap()
}

/// A runtime with a scribe of Ada's, and a client of the API.
struct Desk {
    dbos: Dbos,
    client: Client,
    id: Id,
}

impl Desk {
    async fn open(fresh: &Fresh) -> Self {
        Self::with(fresh, |layer| layer).await
    }

    async fn with(fresh: &Fresh, configure: impl FnOnce(DbosLayer) -> DbosLayer) -> Self {
        let dbos = scribes(fresh.url(), "here", 10).await;
        let layer = configure(DbosLayer::new(dbos.clone()));
        let api = WorkflowApi::<Caller>::new(layer).public_stream("open");
        let client = Client::new(Router::new().nest("/dbos", api.into_router()));
        let id = Id::parse("desk-1").unwrap();
        dbos.start(scribe, ()).id(id.clone()).authenticated_user("ada").await.unwrap();
        Self { dbos, client, id }
    }

    async fn tell(&self, order: &Order) {
        self.dbos.send(&self.id, order).topic("do").await.unwrap();
    }

    async fn write(&self, values: impl IntoIterator<Item = Value>) {
        self.tell(&Order::Write(values.into_iter().collect())).await;
    }

    /// Ends the workflow, and waits until it has.
    async fn finish(&self) {
        self.tell(&Order::End).await;
        let handle = self.dbos.retrieve::<u32, Error>(&self.id).await.unwrap();
        handle.result().await.unwrap();
    }

    fn ask(&self, query: &str) -> harness::http::Request {
        let path = format!("/dbos/workflows/{}/streams/progress{query}", self.id.as_str());
        self.client.get(path).header("x-user", "ada")
    }

    async fn follow(&self, query: &str) -> Events {
        Events::of(self.ask(query).header("accept", "text/event-stream").open().await)
    }
}

/// An event, as a browser dispatches it.
#[derive(Debug, Clone, PartialEq, Default)]
struct Event {
    id: Option<String>,
    name: Option<String>,
    data: Option<Value>,
}

/// The events of an answer, as the HTML standard reads them.
struct Events {
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
    unread: Vec<u8>,
    /// All that has come.
    text: String,
}

impl Events {
    fn of(response: http::Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        Self { status: parts.status, headers: parts.headers, body, unread: Vec::new(), text: String::new() }
    }

    /// The next event that has an id, a name or data; nothing at the end of the answer.
    async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(at) = self.unread.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.unread.drain(..at + 2).collect();
                let event = parse(str::from_utf8(&block).unwrap());
                if event != Event::default() {
                    return Some(event);
                }
            }
            let frame = tokio::time::timeout(harness::PATIENCE, self.body.frame()).await;
            let bytes = frame.expect("no event came").transpose().unwrap()?.into_data().unwrap();
            self.text.push_str(str::from_utf8(&bytes).unwrap());
            self.unread.extend_from_slice(&bytes);
        }
    }

    async fn take(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < count {
            events.push(self.next().await.expect("the answer has ended"));
        }
        events
    }

    async fn all(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

/// One block of fields. Only what ends in LF, CR or both is a line.
fn parse(block: &str) -> Event {
    let mut event = Event::default();
    let mut data: Vec<&str> = Vec::new();
    for line in block.split(['\n', '\r']).filter(|line| !line.is_empty() && !line.starts_with(':')) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => event.id = Some(value.to_owned()),
            "event" => event.name = Some(value.to_owned()),
            "data" => data.push(value),
            "retry" => assert!(value.bytes().all(|byte| byte.is_ascii_digit())),
            other => panic!("a field {other:?} in {block:?}"),
        }
    }
    if !data.is_empty() {
        event.data = Some(serde_json::from_str(&data.join("\n")).unwrap());
    }
    event
}

fn value(offset: i64, data: Value) -> Event {
    Event { id: Some(offset.to_string()), name: None, data: Some(data) }
}

fn end_of(last: i64, status: &str, reason: &str) -> Event {
    let data = json!({"status": status, "reason": reason, "last_offset": last});
    Event { id: Some(format!("{last}.end")), name: Some("end".to_owned()), data: Some(data) }
}
