//! Values that JSON cannot hold.

use std::collections::BTreeMap;

use super::*;

on_each_backend! {
    // B34, B35: never a null in place of a number.
    async fn a_float_that_is_no_number_is_a_typed_error_wherever_it_is_written(fresh: Fresh) {
        let dbos = builder(&fresh).register_fn("w", |ctx: Ctx, number: String| async move {
            let number: f64 = number.parse().unwrap();
            let me = ctx.workflow_id().clone();
            let kinds = [
                ctx.step("s", || async move { Ok(vec![Some(number)]) }).await.map(drop),
                ctx.set_event("k", &number).await,
                ctx.send(&me, &BTreeMap::from([("k", number)])).await,
                ctx.write_stream("k", &number).await,
                ctx.start(WorkflowRef::<f64, f64>::named("float"), number).await.map(drop),
            ];
            for kind in kinds {
                assert_eq!(kind.unwrap_err().kind(), ErrorKind::Serialization);
            }
            Ok::<_, Error>(number)
        });
        let dbos = dbos.register_fn("float", async |_: Ctx, number: f64| Ok::<_, Error>(number)).launch().await.unwrap();
        for number in ["NaN", "inf", "-inf"] {
            let handle = dbos.start(WorkflowRef::<String, f64>::named("w"), number.to_owned()).id(number).await.unwrap();
            let error = handle.result().await.unwrap_err();
            assert_eq!((error.kind(), error.to_string()), (ErrorKind::Serialization, format!("the value cannot be stored as JSON: {number} is not a number")));
            let id: WorkflowId = number.parse().unwrap();
            let float: f64 = number.parse().unwrap();
            assert_eq!(dbos.send(&id, &float).await.unwrap_err().kind(), ErrorKind::Serialization);
            let start = dbos.start(WorkflowRef::<f64, f64>::named("float"), float).id("never").await;
            assert_eq!(start.unwrap_err().kind(), ErrorKind::Serialization);
        }
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE status = 'ERROR'").await, 3);
        assert_eq!(fresh.scalar("SELECT count(*) FROM operation_outputs WHERE output LIKE '%null%'").await, 0);
        for table in ["workflow_events", "notifications", "streams"] {
            assert_eq!(fresh.scalar(&format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
        }
    }
}
