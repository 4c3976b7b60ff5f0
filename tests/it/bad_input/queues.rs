//! Queues, and what a start says about its place on one.

use dbos_runtime::{Client, OnConflict, Queue, Start, WorkflowStatus};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

type Said = fn(Start<Value, Error>) -> Start<Value, Error>;

/// Starts that are refused for what they say, and why.
fn bad_starts() -> Vec<(Said, &'static str)> {
    vec![
        (|s| s.queue(""), "queue name must not be empty"),
        (|s| s.queue("a\0"), "queue name must not contain control characters"),
        (
            |s| s.queue("_dbos_internal_queue"),
            r#"queue name "_dbos_internal_queue" is reserved: it starts with _dbos_"#,
        ),
        (|s| s.queue("q").priority(0), "priority 0 is not between 1 and 2147483647"),
        (|s| s.queue("q").priority(1 << 31), "priority 2147483648 is not between 1 and 2147483647"),
        (|s| s.queue("q").priority(u32::MAX), "priority 4294967295 is not between 1 and 2147483647"),
        (|s| s.queue("q").deduplication_id(""), "deduplication id must not be empty"),
        (
            |s| s.queue("parts").deduplication_id("d").partition_key("k"),
            "a deduplication id and a partition key do not go together",
        ),
        (
            |s| s.queue("nowhere").deduplication_id("d").partition_key("k"),
            "a deduplication id and a partition key do not go together",
        ),
        (
            |s| s.queue("q").attach_to_duplicate(),
            "to attach to a duplicate, a start needs a deduplication id",
        ),
        (|s| s.queue("parts").partition_key(""), "partition key must not be empty"),
        (|s| s.queue("q").delay(TOO_LONG), "a delay of 3162240001 s is longer than 100 years"),
        (|s| s.queue("q").delay(Duration::MAX), "a delay of 18446744073709551615 s is longer than 100 years"),
        (|s| s.timeout(Duration::ZERO), "a workflow's timeout must be longer than nothing"),
        (
            |s| s.queue("q").timeout(Duration::MAX),
            "a workflow's timeout of 18446744073709551615 s is longer than 100 years",
        ),
        (
            |s| s.queue("q").timeout(Duration::from_millis(u64::MAX)),
            "a workflow's timeout of 18446744073709551 s is longer than 100 years",
        ),
        (|s| s.queue("q").application_version(""), "application version must not be empty"),
        (
            |s| s.queue("q").application("No"),
            "application name \"No\" must be 3 to 256 characters of a-z, 0-9, '-' and '_'",
        ),
        (|s| s.queue("q").class_name(""), "class name must not be empty"),
        (|s| s.queue("q").config_name(" "), "instance name must not start or end with white space"),
        (|s| s.queue("q").debounce("", SECOND), "debounce key must not be empty"),
        (|s| s.queue("q").debounce("k", Duration::ZERO), "a debounce period must be longer than nothing"),
        (
            |s| s.queue("q").debounce("k", Duration::MAX),
            "a debounce period of 18446744073709551615 s is longer than 100 years",
        ),
        (|s| s.queue("q").debounce_timeout(SECOND), "a debounce timeout needs a debounce key"),
    ]
}

/// Refused without a queue; a client needs one anyway.
fn needs_a_queue() -> Vec<(Said, &'static str)> {
    vec![
        (|s| s.priority(1), "a priority needs a queue"),
        (|s| s.partition_key("k"), "a partition key needs a queue"),
        (|s| s.deduplication_id("d"), "a deduplication id needs a queue"),
        (|s| s.delay(SECOND), "a delay needs a queue"),
        (|s| s.application_version("v2"), "an application version needs a queue"),
        (|s| s.application("shop"), "another application needs a queue"),
    ]
}

/// What the process that registered the queues knows of them.
fn needs_another_queue() -> Vec<(Said, &'static str)> {
    vec![
        (|s| s.queue("parts"), r#"queue "parts" is partitioned: a partition key is needed"#),
        (|s| s.queue("q").partition_key("k"), r#"queue "q" has no partitions"#),
    ]
}

on_each_backend! {
    // B41, B42, B43
    async fn a_queue_that_breaks_a_rule_is_refused_by_every_verb(fresh: Fresh) {
        let border = Border::of(fresh).await;
        let queue = || Queue::new("q");
        let cases = [
            (Queue::new(""), "queue name must not be empty"),
            (Queue::new("x".repeat(257)), "queue name has 257 bytes; the limit is 256"),
            (Queue::new("a\nb"), "queue name must not contain control characters"),
            (Queue::new("_dbos_internal_queue"), "queue name \"_dbos_internal_queue\" is reserved: it starts with _dbos_"),
            (queue().concurrency(1 << 31), "concurrency is not between 0 and 2147483647"),
            (queue().worker_concurrency(u32::MAX), "worker concurrency is not between 0 and 2147483647"),
            (queue().partition_concurrency(0), "partition concurrency is not between 1 and 2147483647"),
            (queue().partition_worker_concurrency(0), "partition worker concurrency is not between 1 and 2147483647"),
            (queue().concurrency(2).worker_concurrency(3), "worker concurrency 3 could never be reached: concurrency is 2"),
            (queue().concurrency(2).partition_concurrency(3), "partition concurrency 3 could never be reached: concurrency is 2"),
            (queue().rate_limit(0, SECOND), "a rate limit is not between 1 and 2147483647"),
            (queue().rate_limit(1 << 31, SECOND), "a rate limit is not between 1 and 2147483647"),
            (queue().rate_limit(1, Duration::ZERO), "the period of a rate limit must be at least 1 ms"),
            (queue().rate_limit(1, Duration::MAX), "the period of a rate limit of 18446744073709551615 s is longer than 100 years"),
            (queue().partition_rate_limit(1, Duration::from_micros(1)), "the period of a rate limit must be at least 1 ms"),
            (queue().polling_interval(Duration::ZERO), "the polling interval must be at least 1 ms"),
            (queue().polling_interval(TOO_LONG), "the polling interval of 3162240001 s is longer than 100 years"),
        ];
        let queues = border.dbos.queues();
        for (queue, message) in cases {
            border.refuses(queues.register(queue.clone()), message).await;
            border.refuses(queues.register_with(queue.clone(), OnConflict::NeverUpdate), message).await;
            border.refuses(Box::pin(builder(&border.fresh).queue(queue).launch()), message).await;
        }
        let unknown = "a text to search for has NUL, or more than 512 bytes";
        for name in ["a\0b", &"x".repeat(513)] {
            border.refuses(queues.get(name), unknown).await;
            border.refuses(queues.update(name, |queue| queue), unknown).await;
            border.refuses(queues.delete(name), unknown).await;
        }
        border.refuses(Box::pin(builder(&border.fresh).listen_queues([""]).launch()), "queue name must not be empty").await;
        assert_eq!(border.fresh.scalar("SELECT count(*) FROM queues").await, 0);
        // Zero is a pause, and the largest number is one.
        queues.register(queue().concurrency(0)).await.unwrap();
        queues.register(queue().concurrency(i32::MAX as u32)).await.unwrap();
    }

    // B41, B44, B45, B46, B47, B48, B68: alike from any process and from a client.
    async fn a_start_that_breaks_a_rule_is_refused_on_every_path(fresh: Fresh) {
        let border = Border::of(fresh).await;
        let queues = border.dbos.queues();
        queues.register(Queue::new("q")).await.unwrap();
        queues.register(Queue::new("parts").partition_concurrency(1)).await.unwrap();
        // The registration is known from the next look at the queues on.
        let dbos = builder(&border.fresh).executor_id("second").launch().await.unwrap();
        harness::until("the queues are known", async || dbos.start(echo, json!(1)).queue("parts").delay(TOO_LONG / 2).await.is_err()).await;
        border.fresh.execute("DELETE FROM workflow_status").await;
        border.settle().await;
        let client = Client::builder().database_url(border.fresh.url()).connect().await.unwrap();
        for (said, message) in bad_starts() {
            border.refuses(said(border.dbos.start(echo, json!(1))), message).await;
            border.refuses(said(dbos.start(echo, json!(1))), message).await;
            border.refuses(said(client.start(echo, json!(1))), message).await;
        }
        for (said, message) in needs_a_queue() {
            border.refuses(said(dbos.start(echo, json!(1))), message).await;
            border.refuses(said(client.start(echo, json!(1))), "a client runs no workflows: say on which queue this one waits").await;
        }
        for (said, message) in needs_another_queue() {
            border.refuses(said(dbos.start(echo, json!(1))), message).await;
        }
        assert_eq!(border.fresh.scalar("SELECT count(*) FROM workflow_status").await, 0);
        client.close().await;
    }

    // B41, B44, B45, B46, B47, B48
    async fn a_childs_start_that_breaks_a_rule_is_its_parents_error(fresh: Fresh) {
        let dbos = builder(&fresh).register_fn("parent", |ctx: Ctx, _: ()| async move {
            let mut said = Vec::new();
            let start = || ctx.start(echo, json!(1));
            for child in [
                start().queue(""), start().queue("_dbos_internal_queue"), start().queue("q").priority(0), start().deduplication_id("d"),
                start().queue("q").deduplication_id("d").partition_key("k"), start().partition_key("k"),
                start().queue("q").partition_key(""), start().queue("q").delay(Duration::MAX), start().timeout(Duration::ZERO),
                start().priority(1), start().delay(SECOND),
            ] {
                said.push(child.await.map(drop).unwrap_err().kind());
            }
            Ok::<_, Error>(said.iter().filter(|kind| **kind == ErrorKind::InvalidArgument).count())
        });
        let dbos = dbos.launch().await.unwrap();
        let refused = dbos.start(WorkflowRef::<(), usize>::named("parent"), ()).await.unwrap().result().await.unwrap();
        assert_eq!(refused, 11);
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 1);
    }

    // B41, B46: of a queue that nobody has registered nothing is known, so work for it waits.
    async fn work_for_an_unknown_queue_waits_with_or_without_a_partition(fresh: Fresh) {
        let dbos = builder(&fresh).launch().await.unwrap();
        for (id, key) in [("plain", None), ("keyed", Some("k"))] {
            let start = dbos.start(echo, json!(1)).queue("nowhere").id(id).priority(i32::MAX as u32);
            let start = if let Some(key) = key { start.partition_key(key) } else { start };
            assert!(start.await.unwrap().created());
            assert_eq!(dbos.info(id).await.unwrap().status, Some(WorkflowStatus::Enqueued));
        }
        // The longest delay and time limit are instants too.
        let longest = Duration::from_secs(100 * 366 * 24 * 3600);
        dbos.start(echo, json!(1)).queue("nowhere").id("late").delay(longest).timeout(longest).await.unwrap();
        let late = dbos.info("late").await.unwrap();
        assert_eq!(late.timeout_ms, Some(3_162_240_000_000));
        assert!(late.delay_until.unwrap().as_millis() > 4_900_000_000_000);
    }
}
