//! Time and chance are recorded: a replay sees what the first execution saw.

use dbos_runtime::{Ctx as RuntimeCtx, Timestamp, workflow};
use harness::on_each_backend;

use super::support::{Failure, Log, builder, done, stop, trail};

type Ctx = RuntimeCtx<Log, Failure>;
type Drawn = (Timestamp, (String, String), (f64, f64));

#[workflow]
async fn draws(ctx: Ctx) -> Result<Drawn, Failure> {
    let drawn = (
        ctx.now().await?,
        (ctx.uuid().await?, ctx.uuid().await?),
        (ctx.random().await?, ctx.random().await?),
    );
    ctx.state().add(format!("{drawn:?}"));
    ctx.state().add("waits");
    ctx.recv::<u32>("go").await?;
    Ok(drawn)
}

on_each_backend! {
    async fn what_was_drawn_is_the_same_in_every_execution(fresh: Fresh) {
        let log = Log::default();
        let process = || builder(&fresh, &log).register(draws).launch();
        let dbos = process().await.unwrap();
        dbos.start(draws, ()).id("w").await.unwrap();
        done(&log, "waits", 1).await;
        stop(dbos).await;
        let dbos = process().await.unwrap();
        done(&log, "waits", 2).await;
        dbos.send(&"w".parse().unwrap(), &1).topic("go").await.unwrap();
        let drawn = dbos.retrieve::<Drawn, Failure>("w").await.unwrap().result().await.unwrap();
        stop(dbos).await;
        assert_eq!(log.count(&format!("{drawn:?}")), 2);
        let steps = "1 DBOS.now, 2 DBOS.randomUUID, 3 DBOS.randomUUID, 4 DBOS.random, 5 DBOS.random, 6 DBOS.recv, \
            7 DBOS.sleep";
        assert_eq!(trail(&fresh, "w").await, steps);

        let (now, uuids, numbers) = drawn;
        assert_ne!(uuids.0, uuids.1);
        assert_eq!(uuids.0.parse::<uuid::Uuid>().unwrap().get_version_num(), 4);
        assert!(numbers.0.to_bits() != numbers.1.to_bits(), "{numbers:?}");
        assert!([numbers.0, numbers.1].iter().all(|number| (0.0..1.0).contains(number)), "{numbers:?}");
        // By the database's clock, which also stamps the rows; each process's copy of it may be off by a little.
        let created = fresh.scalar("SELECT created_at FROM workflow_status").await;
        assert!((now.as_millis() - created).abs() < 60_000, "{now:?} and {created}");
    }

    async fn two_executions_of_one_function_draw_apart(fresh: Fresh) {
        let log = Log::default();
        let dbos = builder(&fresh, &log).register(draws).launch().await.unwrap();
        let mut drawn = Vec::new();
        for id in ["a", "b"] {
            let handle = dbos.start(draws, ()).id(id).await.unwrap();
            dbos.send(handle.id(), &1).topic("go").await.unwrap();
            drawn.push(handle.result().await.unwrap());
        }
        assert_ne!(drawn[0].1.0, drawn[1].1.0);
        assert_ne!(drawn[0].2.0.to_bits(), drawn[1].2.0.to_bits());
        stop(dbos).await;
    }
}
