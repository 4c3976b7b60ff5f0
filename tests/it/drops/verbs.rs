//! Verbs inside of a workflow.

use super::*;

/// The verbs, by name, with the name under which each is recorded at the first number.
const VERBS: [(&str, &str); 18] = [
    ("step", "verb"),
    ("step with a time limit", "verb"),
    ("step_once", "verb"),
    ("sleep", "DBOS.sleep"),
    ("now", "DBOS.now"),
    ("uuid", "DBOS.randomUUID"),
    ("random", "DBOS.random"),
    ("send", "DBOS.send"),
    ("recv", "DBOS.recv"),
    ("recv of nothing", "DBOS.recv"),
    ("set_event", "DBOS.setEvent"),
    ("get_event", "DBOS.getEvent"),
    ("get_event of nothing", "DBOS.getEvent"),
    ("get_all_events", "DBOS.get_events"),
    ("start", "add"),
    ("run", "add"),
    ("transaction", "verb"),
    ("begin", "verb"),
];

/// Drops one verb after that many polls, and goes on. Says whether the verb ended before.
#[workflow]
pub(super) async fn dropped(ctx: Ctx, case: (String, usize)) -> Result<bool, Error> {
    let (verb, polls) = (case.0.as_str(), case.1);
    let there: WorkflowId = "parked".parse()?;
    let moment = Duration::from_millis(5);
    let db = ctx.state().clone();
    let id = ctx.workflow_id().as_str().to_owned();
    let body = || async {
        tokio::task::yield_now().await;
        Ok(1)
    };
    if verb == "recv" {
        ctx.send(ctx.workflow_id(), &1).topic("there").await?;
    }
    let done = match verb {
        "step" => drop_after(ctx.step("verb", body), polls).await.transpose()?.is_some(),
        "step with a time limit" => drop_after(ctx.step("verb", body).timeout(Duration::from_secs(9)), polls)
            .await
            .transpose()?
            .is_some(),
        "step_once" => drop_after(ctx.step_once("verb", |_| body()), polls).await.transpose()?.is_some(),
        "sleep" => drop_after(ctx.sleep(moment), polls).await.transpose()?.is_some(),
        "now" => drop_after(ctx.now(), polls).await.transpose()?.is_some(),
        "uuid" => drop_after(ctx.uuid(), polls).await.transpose()?.is_some(),
        "random" => drop_after(ctx.random(), polls).await.transpose()?.is_some(),
        "send" => drop_after(ctx.send(&there, &1).topic("other"), polls).await.transpose()?.is_some(),
        "recv" => drop_after(ctx.recv::<u32>("there").timeout(moment), polls).await.transpose()?.is_some_and(
            |message| {
                assert_eq!(message, Some(1));
                true
            },
        ),
        "recv of nothing" => {
            drop_after(ctx.recv::<u32>("none").timeout(moment), polls).await.transpose()?.is_some()
        }
        "set_event" => drop_after(ctx.set_event("key", &1), polls).await.transpose()?.is_some(),
        "get_event" => drop_after(ctx.get_event::<u32>(&there, "there"), polls).await.transpose()?.is_some(),
        "get_event of nothing" => drop_after(ctx.get_event::<u32>(&there, "none").timeout(moment), polls)
            .await
            .transpose()?
            .is_some(),
        "get_all_events" => drop_after(ctx.get_all_events(&there), polls).await.transpose()?.is_some(),
        "start" => match drop_after(ctx.start(add, (1, 2)), polls).await.transpose()? {
            None => false,
            Some(child) => drop_after(child.result(), polls).await.transpose()?.is_some(),
        },
        "run" => drop_after(ctx.run(add, (1, 2)), polls).await.transpose()?.is_some(),
        "transaction" => {
            let transaction = ctx.transaction(&db, "verb", async move |tx: &mut sqlx::AnyConnection| {
                sqlx::query("INSERT INTO orders VALUES ($1)").bind(id.as_str()).execute(tx).await?;
                Ok::<_, Error>(1)
            });
            drop_after(transaction, polls).await.transpose()?.is_some()
        }
        "begin" => {
            let transaction = async {
                let mut tx = match ctx.begin::<_, u32, _>(&db, "verb").await? {
                    Begun::Recorded(_) => return Err::<(), Error>("".parse::<WorkflowId>().unwrap_err()),
                    Begun::Fresh(tx) => tx,
                };
                sqlx::query("INSERT INTO orders VALUES ($1)").bind(id.as_str()).execute(&mut *tx).await?;
                tx.commit(1).await.map(drop)
            };
            drop_after(transaction, polls).await.transpose()?.is_some()
        }
        _ => return Err("".parse::<WorkflowId>().unwrap_err()),
    };
    ctx.step("after", || async { Ok(1) }).await?;
    Ok(done)
}

on_each_backend! {
    // Longer than others, because it visits every await of every verb: some two hundred workflows.
    async fn a_verb_that_was_dropped_is_recorded_whole_or_not_at_all(fresh: Fresh) {
        let world = World::new(fresh).await;
        let (dbos, fresh) = (&world.dbos, &world.fresh);
        let mut visited = 0;
        for (verb, recorded) in VERBS {
            let drops = world.sweep(verb, async |polls| {
                let id: WorkflowId = format!("{verb}-{polls}").parse().unwrap();
                let handle = dbos.start(dropped, (verb.to_owned(), polls)).id(id.clone()).await.unwrap();
                let done = handle.result().await.unwrap();
                check_records(fresh, &id, recorded, done).await;
                done
            }).await;
            visited += usize::from(drops >= 2);
            world.check_liveness(verb).await;
        }
        // On a busy machine an answer may be there within the first poll.
        assert!(visited > VERBS.len() / 2, "hardly an await was visited: {visited}");
        // Whatever was begun and not committed is not there; whatever is recorded is.
        let torn = "SELECT count(*) FROM (SELECT id FROM orders UNION ALL SELECT workflow_uuid FROM operation_outputs \
             WHERE function_name = 'verb' AND (workflow_uuid LIKE 'transaction-%' OR workflow_uuid LIKE 'begin-%')) AS both_of_them \
             GROUP BY id HAVING count(*) <> 2";
        assert!(fresh.rows(torn).await.is_empty());
        assert!(fresh.scalar("SELECT count(*) FROM orders").await >= 2);
        let torn = "SELECT count(*) FROM notifications n WHERE topic = 'there' AND consumed <> EXISTS (SELECT 1 FROM operation_outputs o \
             WHERE o.workflow_uuid = n.destination_uuid AND o.function_name = 'DBOS.recv')";
        assert_eq!(fresh.scalar(torn).await, 0);
        assert!(fresh.scalar("SELECT count(*) FROM notifications WHERE consumed").await >= 1);
        let torn = "SELECT count(*) FROM workflow_status c WHERE parent_workflow_id IS NOT NULL AND NOT EXISTS ( \
             SELECT 1 FROM operation_outputs o WHERE o.child_workflow_id = c.workflow_uuid)";
        assert_eq!(fresh.scalar(torn).await, 0);
    }
}

/// A verb that ended is recorded; the step after it is recorded in any case, and each once.
async fn check_records(fresh: &Fresh, id: &WorkflowId, verb: &str, done: bool) {
    let rows = format!(
        "SELECT w.status, o.function_name FROM workflow_status w JOIN operation_outputs o USING (workflow_uuid) \
         WHERE w.workflow_uuid = '{id}' AND o.function_name IN ('after', '{verb}') ORDER BY o.function_id"
    );
    let row = |name: &str| vec![Some("SUCCESS".to_owned()), Some(name.to_owned())];
    let rows = fresh.query(&rows).await;
    assert!(
        rows == [row(verb), row("after")] || (rows == [row("after")] && !done),
        "{id}, which ended: {done}: {rows:?}"
    );
}
