//! What management is told about workflows.

use dbos_runtime::{Client, Filter, Fork, StepFilter, Timestamp};

use super::*;

on_each_backend! {
    // B37, B62, B63
    async fn ids_that_break_a_rule_are_refused_by_every_verb_of_management(fresh: Fresh) {
        let border = Border::of(fresh).await;
        let client = Client::builder().database_url(border.fresh.url()).connect().await.unwrap();
        border.settle().await;
        for workflows in [border.dbos.workflows(), client.workflows()] {
            for (text, why) in bad_texts(512) {
                let (text, message) = (text.as_str(), format!("workflow id {why}"));
                border.refuses(workflows.info(text), &message).await;
                border.refuses(workflows.steps(text, &StepFilter::new()), &message).await;
                border.refuses(workflows.cancel([text]), &message).await;
                border.refuses(workflows.resume([text]), &message).await;
                border.refuses(workflows.delete([text]), &message).await;
                border.refuses(workflows.fork(Fork::of(text, 1)), &message).await;
                border.refuses(workflows.fork(Fork::of("there", 1).id(text)), &message).await;
                border.refuses(workflows.set_delay(text, Duration::ZERO), &message).await;
                border.refuses(workflows.update_attributes(text, None), &message).await;
            }
        }
        client.close().await;
    }

    // B62, B63: alike from a runtime and from a client.
    async fn what_is_missing_or_has_ended_is_said_alike_by_all(fresh: Fresh) {
        let border = Border::of(fresh).await;
        let client = Client::builder().database_url(border.fresh.url()).connect().await.unwrap();
        for workflows in [border.dbos.workflows(), client.workflows()] {
            let missing = [
                workflows.info("missing").await.map(drop),
                workflows.resume(["missing"]).await.map(drop),
                workflows.fork(Fork::of("missing", 1)).await.map(drop),
                workflows.set_delay("missing", Duration::ZERO).await.map(drop),
            ];
            for said in missing {
                assert_eq!(said.unwrap_err().kind(), ErrorKind::NonExistentWorkflow);
            }
            assert!(workflows.delete(["missing"]).await.unwrap().is_empty());
            assert!(!workflows.update_attributes("missing", None).await.unwrap());
            assert!(!workflows.set_delay("there", Duration::ZERO).await.unwrap(), "it has ended");
            for step in [-1, 2, i32::MAX] {
                let error = workflows.fork(Fork::of("there", step)).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{step}");
            }
            workflows.resume(["there"]).await.unwrap();
            assert_eq!(workflows.info("there").await.unwrap().status_text, "SUCCESS");
        }
        assert_eq!(border.fresh.scalar("SELECT count(*) FROM workflow_status").await, 1);
        client.close().await;
    }

    // B64
    async fn a_filter_out_of_range_is_refused_before_anything_is_sent(fresh: Fresh) {
        let border = Border::of(fresh).await;
        let at = Timestamp::from_millis;
        for filter in [
            Filter::new().limit(0),
            Filter::new().limit(1_000_000_000),
            Filter::new().offset(u64::MAX),
            Filter::new().created_after(at(2)).created_before(at(1)),
            Filter::new().names(["a\0b"]),
            Filter::new().id_prefixes(["x".repeat(513)]),
        ] {
            let error = border.dbos.workflows().list(&filter).await.unwrap_err();
            assert_eq!((error.kind(), border.sent()), (ErrorKind::InvalidArgument, 0), "{filter:?}");
        }
        assert!(border.dbos.workflows().list(&Filter::new().id_prefixes(["%"])).await.unwrap().is_empty());
    }
}
