//! Readers that come back elsewhere.

use super::*;

/// The API of another process on the same database.
async fn elsewhere(fresh: &Fresh, executor: &str) -> (Dbos, Client) {
    let dbos = scribes(fresh.url(), executor, 10).await;
    let api = WorkflowApi::<Caller>::new(DbosLayer::new(dbos.clone()));
    (dbos, Client::new(Router::new().nest("/dbos", api.into_router())))
}

const STREAM: &str = "/dbos/workflows/desk-1/streams/progress";

harness::on_each_backend! {
    async fn a_reader_goes_on_at_another_process_and_gets_every_offset_once(fresh: Fresh) {
        // The workflow runs in the first process; the reader is at the second, which goes away, and comes to the first.
        let writer = Desk::open(&fresh).await;
        let (gone, client) = elsewhere(&fresh, "there").await;
        let ask = |client: &Client| client.get(STREAM).header("x-user", "ada").header("accept", "text/event-stream");
        let mut reader = Events::of(ask(&client).open().await);
        writer.write((0..50).map(Value::from)).await;
        let mut seen = reader.take(20).await;
        writer.write((50..60).map(Value::from)).await;
        let (rest, ()) = tokio::join!(reader.all(), end(&gone));
        seen.extend(rest);
        let cursor = seen.last().unwrap().id.clone().unwrap();
        // What could not be sent any more was not lost, and what was sent is not sent again.
        let reader = Events::of(ask(&writer.client).header("last-event-id", &cursor).open().await);
        writer.write((60..70).map(Value::from)).await;
        writer.finish().await;
        seen.extend(reader.all().await);
        let mut expected: Vec<Event> = (0..70).map(|n| value(n, json!(n))).collect();
        expected.push(end_of(69, "SUCCESS", "ended"));
        assert_eq!(seen, expected);
        // The cut fell between the last value and the end; then after the end.
        let again = Events::of(ask(&writer.client).header("last-event-id", "69").open().await);
        assert_eq!(again.all().await, expected[70..]);
        let (dbos, client) = elsewhere(&fresh, "yonder").await;
        assert_eq!(ask(&client).header("last-event-id", "69.end").send().await.status, 204);
        end(&dbos).await;
        end(&writer.dbos).await;
    }
}
