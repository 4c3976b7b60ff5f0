//! `POST /start/{name}`: what the query says about a start.

use super::*;

/// How the only workflow came onto its queue.
const ROW: &str = "SELECT queue_name, status, priority, deduplication_id, delay_until_epoch_ms > created_at AS delayed FROM workflow_status";

on_each_backend! {
    async fn options_are_refused_unless_they_are_allowed(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let priority = Exposed::new(refund).allow([StartOption::Priority]).on_queue("slow");
        let client = client_of(WorkflowApi::new(dbos.clone()).expose(checkout).expose(priority).allow([StartOption::Queue]));
        let start = async |workflow: &str, query: &str| {
            ada(client.post(format!("/dbos/start/{workflow}?{query}"))).json(&cart()).send().await
        };
        let refused = [
            ("checkout", "delay_ms=5"), ("checkout", "dedup_id=a"), ("checkout", "priority=1"), ("checkout", "queue=q&priority=1"),
            ("refund", "delay_ms=5"), ("checkout", "x=y"), ("checkout", "queue=a&queue=b"), ("checkout", "queue="),
            ("refund", "priority=0"), ("refund", "priority=x"), ("refund", "priority=2147483648"), ("refund", "priority=-1"),
            ("checkout", "queue=%00"), ("checkout", "queue=%FF"),
        ];
        for (workflow, query) in refused {
            is_problem(&start(workflow, query).await, 400, Some("invalid-argument"));
        }
        assert_eq!(workflows(&fresh).await, 0);
        assert_eq!(start("refund", "priority=3").await.json()["status"], "ENQUEUED");
        assert_eq!(fresh.query("SELECT queue_name, priority FROM workflow_status").await, [[Some("slow".to_owned()), Some("3".to_owned())]]);
        end(&dbos).await;
    }

    async fn options_say_where_and_when_it_runs(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let all = [StartOption::Delay, StartOption::Queue, StartOption::DeduplicationId, StartOption::Priority];
        let client = client_of(api(dbos.clone()).allow(all));
        let query = "delay_ms=3600000&queue=slow%20lane&dedup_id=a%3Ab&priority=7";
        let response = ada(client.post(format!("/dbos/start/checkout?{query}"))).json(&cart()).send().await;
        assert_eq!((response.status.as_u16(), &response.json()["status"]), (202, &json!("DELAYED")));
        let row = fresh.rows(ROW).await;
        assert_eq!(row.len(), 1);
        let told = (&row[0]["queue_name"], &row[0]["status"], &row[0]["priority"], &row[0]["deduplication_id"]);
        assert_eq!(told, (&json!("slow lane"), &json!("DELAYED"), &json!(7), &json!("a:b")));
        assert!(row[0]["delayed"] == json!(true) || row[0]["delayed"] == json!(1), "{row:?}");
        let id = response.header("dbos-workflow-id").unwrap();
        assert_eq!(shown(&client, id, "").await.json()["queue"], "slow lane");

        // Nothing of this goes without a queue.
        let lonely = ada(client.post("/dbos/start/checkout?priority=7")).json(&cart()).send().await;
        is_problem(&lonely, 400, Some("invalid-argument"));
        end(&dbos).await;
    }

    async fn a_deduplication_id_that_is_taken_names_its_holder_to_the_owner_alone(fresh: Fresh) {
        let dbos = launch(fresh.url()).await;
        let exposed = Exposed::new(checkout).on_queue("slow").allow([StartOption::DeduplicationId]);
        let client = client_of(WorkflowApi::new(dbos.clone()).expose(exposed));
        let start = async |user: &str| {
            client.post("/dbos/start/checkout?dedup_id=cart-7").header("x-user", user).json(&cart()).send().await
        };
        let first = start("ada").await;
        assert_eq!((first.status.as_u16(), &first.json()["status"]), (202, &json!("ENQUEUED")));
        let own = start("ada").await;
        is_problem(&own, 409, Some("queue-deduplicated"));
        assert_eq!(own.json()["workflow_id"], first.json()["workflow_id"]);
        assert_eq!((&own.json()["dbos_error"], &own.json()["dbos_error_code"]), (&json!("DBOSQueueDeduplicatedError"), &json!(12)));
        let foreign = start("bob").await;
        is_problem(&foreign, 409, Some("queue-deduplicated"));
        let (told, mut expected) = (foreign.json(), own.json());
        expected.as_object_mut().unwrap().remove("workflow_id");
        assert_eq!(told, expected);
        assert_eq!(workflows(&fresh).await, 1);
        end(&dbos).await;
    }
}
