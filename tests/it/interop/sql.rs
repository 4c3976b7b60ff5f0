//! The SQL functions of the schema, for programs that have no SDK at all. Postgres has them, SQLite has not.

use std::time::Duration;

use harness::{Backend, Fresh};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnection, PgDatabaseError};
use sqlx::{AssertSqlSafe, Connection as _};

use super::scene::{Ctx, QUEUE, Shop, builder, launch, result_of};

async fn fresh() -> Fresh {
    harness::fresh(Backend::Postgres).await
}

/// Calls `enqueue_workflow` for our application. It hands back the workflow's id.
async fn enqueue(fresh: &Fresh, name: &str, arguments: &str) -> String {
    let sql = format!(
        "SELECT dbos.enqueue_workflow('{name}', '{QUEUE}', {arguments}, application_name => 'rust-app') AS id"
    );
    fresh.query(&sql).await.remove(0).remove(0).unwrap()
}

/// How the database refuses a statement: SQLSTATE, message, detail.
async fn refusal(fresh: &Fresh, sql: &str) -> (String, String, String) {
    let mut connection = PgConnection::connect(fresh.url()).await.unwrap();
    let error = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect_err(sql);
    let error = error.into_database_error().unwrap().downcast::<PgDatabaseError>();
    (error.code().to_owned(), error.message().to_owned(), error.detail().unwrap_or_default().to_owned())
}

async fn row(fresh: &Fresh, id: &str, columns: &str) -> Value {
    fresh
        .rows(&format!("SELECT {columns} FROM dbos.workflow_status WHERE workflow_uuid = '{id}'"))
        .await
        .remove(0)
}

// O443, O448
#[tokio::test(flavor = "multi_thread")]
async fn sql_starts_our_workflow_and_talks_with_it() {
    let fresh = fresh().await;
    let dbos = launch(&fresh).await;
    let id = enqueue(&fresh, "converse", "ARRAY['\"Ada\"']::json[]").await;
    for message in [1, 2] {
        fresh
            .execute(&format!("SELECT dbos.send_message('{id}', '{{\"m\": {message}}}', 'answer', 'key')"))
            .await;
    }
    assert_eq!(result_of(&dbos, &id).await.unwrap(), json!({"name": "Ada", "got": {"m": 1}}));
    let message = fresh.rows("SELECT message_uuid, serialization FROM dbos.notifications").await;
    assert_eq!(message, [json!({"message_uuid": "key", "serialization": "portable_json"})]);
    assert_eq!(row(&fresh, &id, "executor_id, application_version AS version, application_name AS application, serialization, queue_name")
            .await,
        json!({"executor_id": "rust", "version": "rust-v1", "application": "rust-app", "serialization": "portable_json",
            "queue_name": QUEUE}));
}

// O449: what is sent without a topic is received without one.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_sql_without_a_topic_is_received_without_one() {
    let fresh = fresh().await;
    let listen = async |ctx: Ctx, ()| ctx.recv::<Value>(None).timeout(Duration::from_secs(3600)).await;
    let dbos = builder(&fresh).register_fn("listen", listen).launch().await.unwrap();
    let id = enqueue(&fresh, "listen", "ARRAY[]::json[]").await;
    fresh.execute(&format!("SELECT dbos.send_message('{id}', '[1]')")).await;
    assert_eq!(result_of(&dbos, &id).await.unwrap(), json!([1]));
    assert_eq!(
        fresh.scalar("SELECT count(*) FROM dbos.notifications WHERE topic = '__null__topic__'").await,
        1
    );
}

// O428: by name, as fields of a struct.
#[tokio::test(flavor = "multi_thread")]
async fn named_arguments_of_sql_are_the_fields_of_a_struct() {
    #[derive(Serialize, Deserialize)]
    struct Order {
        sku: String,
        count: u32,
    }
    let fresh = fresh().await;
    let order = async |_: Ctx, order: Order| Ok::<_, Shop>(json!([order.sku, order.count]));
    let dbos = builder(&fresh).register_fn("order", order).launch().await.unwrap();
    let id = enqueue(&fresh, "order", "named_args => '{\"count\": 2, \"sku\": \"w\"}'").await;
    assert_eq!(result_of(&dbos, &id).await.unwrap(), json!(["w", 2]));
}

// O444
#[tokio::test(flavor = "multi_thread")]
async fn one_id_is_one_workflow_however_often_sql_enqueues_it() {
    let fresh = fresh().await;
    for n in 1..=2 {
        let id = enqueue(&fresh, "echo", &format!("ARRAY['{n}']::json[], workflow_id => 'w'")).await;
        assert_eq!(id, "w");
    }
    let dbos = launch(&fresh).await;
    assert_eq!(result_of(&dbos, "w").await.unwrap(), json!(1));
    assert_eq!(enqueue(&fresh, "echo", "ARRAY['3']::json[], workflow_id => 'w'").await, "w");
    assert_eq!(
        row(&fresh, "w", "status, recovery_attempts AS n").await,
        json!({"status": "SUCCESS", "n": 1})
    );
    assert_eq!(fresh.scalar("SELECT count(*) FROM dbos.workflow_status").await, 1);
}

// O445
#[tokio::test(flavor = "multi_thread")]
async fn a_deduplication_id_that_is_held_is_refused_with_a_code() {
    let fresh = fresh().await;
    enqueue(&fresh, "echo", "ARRAY['1']::json[], workflow_id => 'first', deduplication_id => 'd'").await;
    let again = format!(
        "SELECT dbos.enqueue_workflow('echo', '{QUEUE}', workflow_id => 'second', deduplication_id => 'd')"
    );
    let (code, message, detail) = refusal(&fresh, &again).await;
    assert_eq!((code.as_str(), message.as_str()), ("23505", "DBOS queue duplicated"));
    for part in ["second", QUEUE, " d "] {
        assert!(detail.contains(part), "{detail}");
    }
    // The end of the first sets the id free.
    let dbos = launch(&fresh).await;
    assert_eq!(result_of(&dbos, "first").await.unwrap(), json!(1));
    enqueue(&fresh, "echo", "ARRAY['2']::json[], workflow_id => 'second', deduplication_id => 'd'").await;
    assert_eq!(result_of(&dbos, "second").await.unwrap(), json!(2));
}

// O446, O447
#[tokio::test(flavor = "multi_thread")]
async fn sql_delays_a_workflow_and_says_on_whose_behalf_it_runs() {
    let fresh = fresh().await;
    let whose = async |ctx: Ctx, ()| Ok::<_, Shop>(json!(ctx.authenticated_user()));
    let dbos = builder(&fresh).register_fn("whose", whose).launch().await.unwrap();
    let delay = "delay_until_epoch_ms => (EXTRACT(epoch FROM now()) * 1000)::int8 + ";
    let auth = "authenticated_user => 'ada', authenticated_roles => '[\"admin\"]'";
    enqueue(&fresh, "whose", &format!("workflow_id => 'soon', {auth}, {delay} 200")).await;
    enqueue(&fresh, "whose", &format!("workflow_id => 'late', {auth}, {delay} 3600000")).await;
    assert_eq!(result_of(&dbos, "soon").await.unwrap(), json!("ada"));
    assert_eq!(
        row(&fresh, "soon", "started_at_epoch_ms >= delay_until_epoch_ms AS patient").await,
        json!({"patient": true})
    );
    let expected = json!({"status": "DELAYED", "user": "ada", "roles": "[\"admin\"]"});
    assert_eq!(
        row(&fresh, "late", "status, authenticated_user AS user, authenticated_roles AS roles").await,
        expected
    );
    let status = dbos.retrieve::<Value, Shop>("late").await.unwrap().status().await.unwrap();
    assert_eq!(status.authenticated_roles, ["admin"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_functions_refuse_they_name() {
    let fresh = fresh().await;
    let cases = [
        ("enqueue_workflow('', 'q')", "P0001", "workflow name"),
        ("enqueue_workflow('w', NULL)", "P0001", "queue name"),
        ("enqueue_workflow('w', 'q', named_args => '[]')", "P0001", "object"),
        ("enqueue_workflow('w', 'q', workflow_id => '')", "P0001", "empty"),
        ("enqueue_workflow('w', 'q', delay_until_epoch_ms => -1)", "P0001", "1970"),
        ("send_message('nobody', '1')", "23503", "DBOS non-existent workflow"),
    ];
    for (call, code, part) in cases {
        let (refused, message, _) = refusal(&fresh, &format!("SELECT dbos.{call}")).await;
        assert_eq!(refused, code, "{call}");
        assert!(message.contains(part), "{call}: {message}");
    }
    assert_eq!(fresh.scalar("SELECT count(*) FROM dbos.workflow_status").await, 0);
}
