//! Where a reader begins, and where it ends.

use super::*;

harness::on_each_backend! {
    async fn values_come_as_they_are_written(fresh: Fresh) {
        let desk = Desk::open(&fresh).await;
        desk.write([json!(0)]).await;
        let mut reader = desk.follow("").await;
        assert_eq!(reader.take(1).await, [value(0, json!(0))]);
        for n in 1..4 {
            desk.write([json!(n)]).await;
            assert_eq!(reader.take(1).await, [value(n, json!(n))]);
        }
        desk.finish().await;
        assert_eq!(reader.all().await, [end_of(3, "SUCCESS", "ended")]);
        end(&desk.dbos).await;
    }

    async fn a_closed_stream_ends_before_its_workflow(fresh: Fresh) {
        let desk = Desk::open(&fresh).await;
        let reader = desk.follow("").await;
        desk.write([json!(0)]).await;
        desk.tell(&Order::Close).await;
        assert_eq!(reader.all().await, [value(0, json!(0)), end_of(0, "PENDING", "closed")]);
        assert_eq!(desk.ask("?after=0.end").send().await.status, 204);
        end(&desk.dbos).await;
    }

    async fn s17_a_reader_resumes_behind_its_cursor(fresh: Fresh) {
        let desk = Desk::open(&fresh).await;
        desk.write((0..3).map(Value::from)).await;
        desk.finish().await;
        let all = |from: i64| {
            let values = (from..3).map(|n| value(n, json!(n)));
            values.chain([end_of(2, "SUCCESS", "ended")]).collect::<Vec<_>>()
        };
        let beyond = |last: i64| vec![end_of(last, "SUCCESS", "ended")];
        // Cursor, and what comes; nothing for 204.
        let cases: &[(&str, Option<Vec<Event>>)] = &[
            ("", Some(all(0))),
            ("0", Some(all(1))),
            ("1", Some(all(2))),
            ("2", Some(all(3))),
            ("2.end", None),
            // It has seen an end, and the stream went on.
            ("1.end", Some(all(2))),
            ("-1.end", Some(all(0))),
            ("7", Some(beyond(7))),
            ("7.end", None),
            ("9223372036854775807", Some(beyond(2_147_483_646))),
            ("9223372036854775807.end", None),
        ];
        for (cursor, expected) in cases {
            for in_header in [true, false] {
                let request = if in_header {
                    desk.ask("?after=1").header("last-event-id", cursor)
                } else {
                    desk.ask(&format!("?after={cursor}"))
                };
                let answer = Events::of(request.header("accept", "text/event-stream").open().await);
                let status = answer.status.as_u16();
                let found = answer.all().await;
                match expected {
                    Some(expected) => assert_eq!((status, &found), (200, expected), "{cursor}"),
                    None => assert_eq!((status, found), (204, Vec::new()), "{cursor}"),
                }
            }
        }
        end(&desk.dbos).await;
    }

    // B15, S17
    async fn s17_a_cursor_that_is_none_is_refused(fresh: Fresh) {
        let desk = Desk::open(&fresh).await;
        desk.finish().await;
        for cursor in ["-1", "abc", "1e3", "9223372036854775808", "1.5", "1.END", " 1.end.end", "é"] {
            let answer = desk.ask("").header("last-event-id", cursor).send().await;
            is_problem(&answer, 400, Some("invalid-argument"));
        }
        for query in ["?after=-1", "?after=%00", "?after=1&after=2", "?from=head", "?from=", "?from=tail&from=tail"] {
            is_problem(&desk.ask(query).send().await, 400, Some("invalid-argument"));
        }
        assert_eq!(desk.ask("").header("last-event-id", "").send().await.status, 200);
        end(&desk.dbos).await;
    }

    async fn an_empty_stream_ends_too(fresh: Fresh) {
        let desk = Desk::open(&fresh).await;
        desk.finish().await;
        assert_eq!(desk.follow("").await.all().await, [end_of(-1, "SUCCESS", "ended")]);
        assert_eq!(desk.ask("?after=-1.end").send().await.status, 204);
        assert_eq!(desk.follow("?after=").await.all().await.len(), 1);
        end(&desk.dbos).await;
    }

    async fn a_reader_at_the_tail_gets_what_comes_from_now_on(fresh: Fresh) {
        let desk = Desk::open(&fresh).await;
        let cursor = |id: &str| Event { id: Some(id.to_owned()), ..Event::default() };
        let mut first = desk.follow("?from=tail").await;
        assert_eq!(first.take(1).await, [cursor("-1.tail")]);
        desk.write([json!(0), json!(1)]).await;
        assert_eq!(first.take(2).await, [value(0, json!(0)), value(1, json!(1))]);
        let mut second = desk.follow("?from=tail").await;
        // With nothing read, it comes back where it began.
        assert_eq!(second.take(1).await, [cursor("1")]);
        desk.write([json!(2)]).await;
        assert_eq!(second.take(1).await, [value(2, json!(2))]);
        desk.tell(&Order::Close).await;
        assert_eq!(second.all().await, [end_of(2, "PENDING", "closed")]);
        // The cursor is worth more than the wish; the mark that closes is no value.
        assert_eq!(desk.follow("?from=tail&after=1").await.all().await.len(), 2);
        assert_eq!(desk.follow("?from=tail").await.all().await, [cursor("2"), end_of(2, "PENDING", "closed")]);
        end(&desk.dbos).await;
    }

    async fn a_reader_at_the_tail_of_nothing_is_told_the_end_after_a_break(fresh: Fresh) {
        let desk = Desk::open(&fresh).await;
        let cursor = Event { id: Some("-1.tail".to_owned()), ..Event::default() };
        let mut reader = desk.follow("?from=tail").await;
        assert_eq!(reader.take(1).await, [cursor]);
        drop(reader);
        desk.tell(&Order::Close).await;
        desk.finish().await;
        // As a browser does: to the same address, with the last id.
        let again = desk.ask("?from=tail").header("last-event-id", "-1.tail");
        let again = Events::of(again.header("accept", "text/event-stream").open().await);
        assert_eq!((again.status.as_u16(), again.all().await), (200, vec![end_of(-1, "SUCCESS", "closed")]));
        assert_eq!(desk.ask("?after=-1.end").send().await.status, 204);
        end(&desk.dbos).await;
    }

    async fn a_reader_who_missed_the_first_values_has_them_from_its_cursor(fresh: Fresh) {
        let desk = Desk::open(&fresh).await;
        drop(desk.follow("?from=tail").await);
        desk.write([json!(0), json!(1)]).await;
        desk.finish().await;
        let expected = [value(0, json!(0)), value(1, json!(1)), end_of(1, "SUCCESS", "ended")];
        assert_eq!(desk.follow("?from=tail&after=-1.tail").await.all().await, expected);
        end(&desk.dbos).await;
    }

    async fn a_workflow_that_is_resumed_goes_on_for_who_has_seen_its_end(fresh: Fresh) {
        let desk = Desk::open(&fresh).await;
        desk.write([json!(0)]).await;
        let mut reader = desk.follow("").await;
        assert_eq!(reader.take(1).await, [value(0, json!(0))]);
        assert!(desk.dbos.cancel(&desk.id).await.unwrap());
        assert_eq!(reader.all().await, [end_of(0, "CANCELLED", "ended")]);
        assert_eq!(desk.ask("?after=0.end").send().await.status, 204);
        desk.dbos.workflows().resume([desk.id.as_str()]).await.unwrap();
        // It waits again: the cursor of the end is that of the last value.
        let reader = desk.follow("?after=0.end").await;
        desk.write([json!(1)]).await;
        desk.finish().await;
        assert_eq!(reader.all().await, [value(1, json!(1)), end_of(1, "SUCCESS", "ended")]);
        end(&desk.dbos).await;
    }
}
