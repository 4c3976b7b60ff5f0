//! Who gets in, and how many.

use super::*;

harness::on_each_backend! {
    // S03, S04
    async fn a_foreign_stream_looks_like_one_that_is_not_there(fresh: Fresh) {
        let desk = Desk::open(&fresh).await;
        desk.write([json!(0)]).await;
        for accept in ["text/event-stream", "application/json"] {
            let ask = async |path: &str, user: &str| {
                let answer = desk.client.get(path).header("x-user", user).header("accept", accept).send().await;
                is_problem(&answer, 404, Some("workflow-not-found"));
                let mut body = answer.json();
                body["instance"].take();
                body["workflow_id"].take();
                body
            };
            let missing = ask("/dbos/workflows/desk-2/streams/progress", "ada").await;
            assert_eq!(ask("/dbos/workflows/desk-1/streams/progress", "bob").await, missing);
            assert_eq!(ask("/dbos/workflows/desk-1/streams/progress", "").await, missing);
        }
        is_problem(&desk.client.get("/dbos/workflows/desk-1/watch").send().await, 404, Some("workflow-not-found"));
        end(&desk.dbos).await;
    }

    // S16
    async fn a_key_that_no_stream_can_have_is_refused(fresh: Fresh) {
        let desk = Desk::open(&fresh).await;
        desk.finish().await;
        let long = "k".repeat(513);
        for key in ["%00", "a%00b", "a%0d%0ab", "%0d", "id:%201%0a%0a", "%20", "%C2%85", &long] {
            for accept in ["text/event-stream", "application/json"] {
                let path = format!("/dbos/workflows/desk-1/streams/{key}");
                let answer = desk.client.get(path).header("x-user", "ada").header("accept", accept).send().await;
                is_problem(&answer, 400, Some("invalid-argument"));
            }
        }
        // These are keys, if nobody's; none of them gets into a field of the stream.
        for key in ["a%E2%80%A8b", "a%2Fb", "..%2F..", "%ef%bb%bf", "id:%201", "'%3B--"] {
            let path = format!("/dbos/workflows/desk-1/streams/{key}");
            let request = desk.client.get(path).header("x-user", "ada");
            assert_eq!(Events::of(request.open().await).all().await, [end_of(-1, "SUCCESS", "ended")], "{key}");
        }
        end(&desk.dbos).await;
    }

    async fn s15_a_caller_has_so_many_streams_and_gets_back_what_is_dropped(fresh: Fresh) {
        let limits = StreamLimits::default().per_caller(2).in_all(3);
        let desk = Desk::with(&fresh, |layer| layer.streams(limits)).await;
        desk.write([json!(0)]).await;
        let mut open = Vec::new();
        for _ in 0..2 {
            let mut reader = desk.follow("").await;
            reader.take(1).await;
            open.push(reader);
        }
        // Whoever takes nothing but events would never come back after a 503.
        let answer = desk.ask("").header("accept", "text/event-stream").send().await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "retry: 5000\n: not now\n\n"));
        for accept in ["*/*", "text/event-stream, application/json;q=0.5"] {
            let answer = desk.ask("").header("accept", accept).send().await;
            is_problem(&answer, 503, Some("unavailable"));
            assert_eq!(answer.header("retry-after"), Some("5"));
        }
        // A watch counts too, and a page does not.
        let watch = desk.client.get("/dbos/workflows/desk-1/watch").header("x-user", "ada");
        assert_eq!(watch.send().await.status, 503);
        assert_eq!(desk.ask("").header("accept", "application/json").send().await.status, 200);
        open.pop();
        let mut reader = desk.follow("").await;
        assert_eq!(reader.take(1).await, [value(0, json!(0))]);
        // A request that is refused for another reason leaves no trace.
        for _ in 0..5 {
            let foreign = desk.client.get("/dbos/workflows/desk-1/streams/progress").header("x-user", "bob");
            assert_eq!(foreign.send().await.status, 404);
        }
        end(&desk.dbos).await;
    }

    async fn every_stream_ends_with_the_runtime_and_without_an_end(fresh: Fresh) {
        let desk = Desk::open(&fresh).await;
        desk.write([json!(0)]).await;
        let mut reader = desk.follow("").await;
        assert_eq!(reader.take(1).await, [value(0, json!(0))]);
        let watch = desk.client.get("/dbos/workflows/desk-1/watch").header("x-user", "ada");
        let mut watch = Events::of(watch.open().await);
        watch.take(1).await;
        end(&desk.dbos).await;
        assert_eq!(reader.all().await, []);
        assert!(watch.all().await.iter().all(|event| event.name.as_deref() != Some("end")));
        let answer = desk.ask("").header("accept", "text/event-stream").send().await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "retry: 5000\n: not now\n\n"));
        is_problem(&desk.ask("").send().await, 503, Some("unavailable"));
    }
}
