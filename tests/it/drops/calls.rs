//! Calls from outside of workflows.

use super::*;

on_each_backend! {
    async fn a_start_or_a_send_that_was_dropped_is_there_whole_or_not_at_all(fresh: Fresh) {
        let world = World::new(fresh).await;
        let (dbos, fresh) = (&world.dbos, &world.fresh);
        let drops = world.sweep("start", async |polls| {
            let start = dbos.start(add, (1, 2)).id(format!("start-{polls}")).into_future();
            let Some(handle) = drop_after(start, polls).await else { return false };
            assert_eq!(handle.unwrap().result().await.unwrap(), 3);
            true
        }).await;
        assert!(drops >= 1, "it was dropped: {drops}");
        world.check_liveness("start").await;
        let acknowledged = format!("SELECT count(*) FROM workflow_status WHERE workflow_uuid = 'start-{drops}' AND status = 'SUCCESS'");
        assert_eq!(fresh.scalar(&acknowledged).await, 1);
        for n in 0..8 {
            drop_after(dbos.start(add, (1, 2)).id(format!("start-once-{n}")).into_future(), 1).await;
        }
        // The first poll hands it over, so only what was never polled is missing.
        let started = "SELECT count(*) FROM workflow_status WHERE workflow_uuid LIKE 'start-%'";
        harness::until("all that was handed over is there", async || fresh.scalar(started).await == i64::try_from(drops).unwrap() + 8).await;

        let to: WorkflowId = "parked".parse().unwrap();
        let drops = world.sweep("send", async |polls| {
            let send = dbos.send(&to, &polls).topic("other").idempotency_key(&format!("key-{polls}")).into_future();
            let Some(new) = drop_after(send, polls).await else { return false };
            assert!(new.unwrap());
            true
        }).await;
        assert!(drops >= 1, "it was dropped: {drops}");
        world.check_liveness("send").await;
        let last = format!("SELECT count(*) FROM notifications WHERE message = '{drops}'");
        assert_eq!(fresh.scalar(&last).await, 1, "the acknowledged one");
        for polls in 0..drops {
            // Said again, each arrives once.
            dbos.send(&to, &polls).topic("other").idempotency_key(&format!("key-{polls}")).await.unwrap();
        }
        let messages = "SELECT count(*) FROM notifications";
        assert_eq!(usize::try_from(fresh.scalar(messages).await).unwrap(), drops + 1);
    }

    async fn a_question_that_was_dropped_leaves_its_connection_usable(fresh: Fresh) {
        let world = World::new(fresh).await;
        let dbos = &world.dbos;
        let handle = dbos.retrieve::<(), Error>("parked").await.unwrap();
        let ended = dbos.start(add, (1, 2)).id("ended").await.unwrap();
        assert_eq!(ended.result().await.unwrap(), 3);
        harness::until("the event is there", async || {
            dbos.get_event::<u32>(handle.id(), "there", Duration::ZERO).await.unwrap() == Some(1)
        }).await;
        // One that this process does not have at hand.
        world.fresh.execute("INSERT INTO workflow_status (workflow_uuid, status, name) VALUES ('elsewhere', 'CANCELLED', 'add')").await;
        let mut counts = Vec::new();
        macro_rules! sweep {
            ($($name:literal: $call:expr, $expected:pat,)*) => { $(
                let drops = world.sweep($name, async |polls| match drop_after($call, polls).await {
                    None => false,
                    Some($expected) => true,
                    #[allow(unreachable_patterns, reason = "some patterns take everything")]
                    Some(other) => panic!("{}: {other:?}", $name),
                }).await;
                world.check_liveness($name).await;
                counts.push(($name, drops));
            )* };
        }
        sweep! {
            "status": handle.status(), Ok(_),
            "try_result": handle.try_result(), Ok(None),
            "try_result of one that has ended": ended.try_result(), Ok(Some(3)),
            "result": ended.result(), Ok(3),
            "get_event": dbos.get_event::<u32>(handle.id(), "there", Duration::from_secs(1)), Ok(Some(1)),
            "get_event that waits": dbos.get_event::<u32>(handle.id(), "none", Duration::from_millis(20)), Ok(None),
            "get_all_events": dbos.get_all_events(handle.id()), Ok(_),
            "retrieve": dbos.retrieve::<i64, Error>("elsewhere"), Ok(_),
            "info": dbos.info("parked"), Ok(_),
            "ping": dbos.ping(), Ok(()),
            "cancel of one that has ended": dbos.cancel(ended.id()), Ok(false),
        }
        // An answer may be there within the first poll, at times; SQLite's often is.
        let visited = counts.iter().filter(|(_, drops)| *drops >= 2).count();
        let least = if world.fresh.backend() == Backend::Sqlite { 1 } else { 3 };
        assert!(visited >= least && counts.len() == 11, "hardly an await was visited: {counts:?}");
        assert_eq!(ended.result().await.unwrap(), 3);
    }

    async fn a_wait_or_a_cancel_that_was_dropped_can_be_repeated(fresh: Fresh) {
        let world = World::new(fresh).await;
        let dbos = &world.dbos;
        let handle = dbos.retrieve::<(), Error>("parked").await.unwrap();
        assert!(drop_after(handle.result(), 1).await.is_none());
        world.check_connections("result", 1).await;
        let drops = world.sweep("cancel", async |polls| {
            // A dropped cancel may have cancelled; one that was not polled has not.
            drop_after(dbos.cancel(handle.id()), polls).await.is_some_and(|done| { done.unwrap(); true })
        }).await;
        assert!(drops >= 1);
        handle.result().await.unwrap_err();
        assert_eq!(world.fresh.scalar("SELECT count(*) FROM workflow_status WHERE status = 'CANCELLED'").await, 1);
        world.check_liveness("cancel").await;
    }
}
