//! The bytes that a client sees.

use super::*;

harness::on_each_backend! {
    async fn a_stream_is_told_in_the_words_of_the_contract(fresh: Fresh) {
        let desk = Desk::open(&fresh).await;
        desk.write([json!({"step": "charged"}), json!("token text")]).await;
        desk.tell(&Order::Close).await;
        desk.finish().await;
        let answer = desk.ask("").header("accept", "text/event-stream").send().await;
        let expected = "retry: 2000\n: ok\n\nid: 0\ndata: {\"step\":\"charged\"}\n\nid: 1\ndata: \"token text\"\n\n\
            id: 1.end\nevent: end\ndata: {\"status\":\"SUCCESS\",\"reason\":\"closed\",\"last_offset\":1}\n\n";
        assert_eq!(answer.text(), expected);
        assert_eq!(answer.status, 200);
        for (name, value) in [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-store, no-transform"),
            ("x-accel-buffering", "no"),
            ("vary", "accept"),
            ("dbos-workflow-id", "desk-1"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name}");
        }
        end(&desk.dbos).await;
    }

    async fn s16_nothing_that_a_workflow_writes_makes_another_event(fresh: Fresh) {
        let desk = Desk::open(&fresh).await;
        let nasty = "a\rb\nc\r\nd\0e\u{2028}f\u{2029}g\u{85}h\u{feff}\n\nid: 99\nevent: end\ndata: {}\n\n";
        let values = [json!(nasty), json!({nasty: [nasty]}), json!(null), json!(""), json!(i64::MAX)];
        desk.write(values.clone()).await;
        desk.tell(&Order::Close).await;
        desk.finish().await;
        let mut expected: Vec<Event> = (0..).zip(values).map(|(offset, data)| value(offset, data)).collect();
        expected.push(end_of(4, "SUCCESS", "closed"));
        assert_eq!(desk.follow("").await.all().await, expected);
        end(&desk.dbos).await;
    }

    // S16: what other languages have stored, in their formats and on several lines.
    async fn s16_values_of_other_languages_are_json_on_one_line(fresh: Fresh) {
        let desk = Desk::open(&fresh).await;
        desk.finish().await;
        let rows = [
            ("[1,\r\n  {\"a\": 12345678901234567890123}\r]", "portable_json"),
            ("gASVBQ==\nid: 9\n\nevent: end", "py_pickle"),
        ];
        for (offset, (text, format)) in rows.into_iter().enumerate() {
            let (text, schema) = match fresh.backend() {
                harness::Backend::Postgres => (text.to_owned(), "dbos."),
                harness::Backend::Sqlite => (text.to_owned(), ""),
            };
            fresh.execute(&format!(
                "INSERT INTO {schema}streams (workflow_uuid, key, value, \"offset\", function_id, serialization)
                 VALUES ('desk-1', 'progress', '{text}', {offset}, 1, '{format}')"
            )).await;
        }
        let mut events = desk.follow("").await;
        let found = events.take(3).await;
        assert!(events.text.contains("id: 0\ndata: [1,    {\"a\": 12345678901234567890123} ]\n\n"), "{}", events.text);
        assert_eq!(found[1], value(1, json!(rows[1].0)));
        assert_eq!(found[2], end_of(1, "SUCCESS", "ended"));
        assert_eq!(events.next().await, None);
        // The page is made of the same texts.
        let page = desk.ask("").header("accept", "application/json").send().await;
        assert!(page.text().contains("\"value\":[1,    {\"a\": 12345678901234567890123} ]"), "{}", page.text());
        assert_eq!(page.json()["values"][1], json!({"offset": 1, "value": rows[1].0}));
        end(&desk.dbos).await;
    }

    async fn a_long_value_is_sent_in_one_event(fresh: Fresh) {
        let desk = Desk::open(&fresh).await;
        let long = json!("é".repeat(300_000));
        let values = [json!(1), long.clone(), json!(2), long, json!(3)];
        desk.write(values.clone()).await;
        desk.finish().await;
        let mut expected: Vec<Event> = (0..).zip(values).map(|(offset, data)| value(offset, data)).collect();
        expected.push(end_of(4, "SUCCESS", "ended"));
        assert!(desk.follow("").await.all().await == expected);
        end(&desk.dbos).await;
    }
}
