//! What is attached to workflows: set at the start, changed later, searched.

use std::sync::Arc;
use std::time::Duration;

use dbos_runtime::{Dbos, ErrorKind, Filter, Fork, Queue};
use harness::on_each_backend;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use super::listing::{ids, insert, observer};
use super::scene::{W, assert_kind, launch, launch_as, result_of};

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(object) = value else { panic!("{value} is no object") };
    object
}

async fn attributes(dbos: &Dbos, id: &str) -> Value {
    dbos.info(id).await.unwrap().attributes
}

on_each_backend! {
    // L365
    async fn attributes_merged_by_many_at_once_are_all_there(fresh: Fresh) {
        let dbos = observer(&fresh).await;
        insert(&fresh, "w", &[("status", "'SUCCESS'"), ("attributes", "'{\"kept\": [1, null]}'"), ("updated_at", "1")])
            .await;
        let mut merging = JoinSet::new();
        let dbos = Arc::new(dbos);
        for n in 0..10 {
            let dbos = Arc::clone(&dbos);
            let added = object(json!({format!("k{n}"): n, "last": {"by": n}}));
            merging.spawn(async move { dbos.workflows().merge_attributes("w", &added).await });
        }
        assert!(merging.join_all().await.into_iter().all(|merged| merged == Ok(true)));
        let merged = attributes(&dbos, "w").await;
        assert_eq!(merged.as_object().unwrap().len(), 12, "{merged}");
        assert_eq!((&merged["kept"], &merged["k7"]), (&json!([1, null]), &json!(7)));
        assert!(dbos.info("w").await.unwrap().updated_at.as_millis() > 1);
    }

    // The rules of 3.10 of the shared schema, one by one.
    async fn attributes_are_replaced_cleared_and_merged_in_any_state(fresh: Fresh) {
        let dbos = observer(&fresh).await;
        // A program in Python writes JSON null where there are none.
        insert(&fresh, "w", &[("status", "'CANCELLED'"), ("attributes", "'null'")]).await;
        let workflows = dbos.workflows();
        assert_eq!(attributes(&dbos, "w").await, Value::Null);
        assert!(workflows.merge_attributes("w", &object(json!({"a": 1, "b": {"c": 1}}))).await.unwrap());
        assert!(workflows.merge_attributes("w", &object(json!({"b": {"d": null}, "e": null}))).await.unwrap());
        assert_eq!(attributes(&dbos, "w").await, json!({"a": 1, "b": {"d": null}, "e": null}));
        assert!(workflows.update_attributes("w", Some(&object(json!({"z": "é\""})))).await.unwrap());
        assert_eq!(attributes(&dbos, "w").await, json!({"z": "é\""}));
        assert!(workflows.update_attributes("w", None).await.unwrap());
        assert_eq!(attributes(&dbos, "w").await, Value::Null);
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE attributes IS NULL").await, 1);
        assert!(!workflows.update_attributes("nobody", None).await.unwrap());
        assert!(!workflows.merge_attributes("nobody", &Map::new()).await.unwrap());
    }

    // S03. What begins with `dbos.` is the runtimes'.
    async fn a_workflow_changes_hands_only_where_that_is_said(fresh: Fresh) {
        let dbos = observer(&fresh).await;
        insert(&fresh, "w", &[("attributes", "'{\"a\": 1, \"dbos.tenant\": \"acme\", \"dbos.x\": null}'")]).await;
        let workflows = dbos.workflows();
        let cases = [
            (Some(json!({"b": 2})), json!({"b": 2, "dbos.tenant": "acme", "dbos.x": null})),
            (None, json!({"dbos.tenant": "acme", "dbos.x": null})),
            (Some(json!({"dbos.tenant": "other"})), json!({"dbos.tenant": "other", "dbos.x": null})),
            (Some(json!({})), json!({"dbos.tenant": "other", "dbos.x": null})),
        ];
        for (given, expected) in cases {
            assert!(workflows.update_attributes("w", given.map(object).as_ref()).await.unwrap());
            assert_eq!(attributes(&dbos, "w").await, expected);
        }
        assert_eq!(dbos.info("w").await.unwrap().authenticated_tenant(), Some("other"));
        // What is no text is nobody's.
        assert!(workflows.merge_attributes("w", &object(json!({"dbos.tenant": 7}))).await.unwrap());
        assert_eq!(dbos.info("w").await.unwrap().authenticated_tenant(), Some(""));
    }

    // S03. Run at once, claimed from a queue, debounced, forked.
    async fn a_tenant_goes_where_its_user_goes(fresh: Fresh) {
        let builder = harness::builder(&fresh).queue(Queue::new("q"));
        let dbos = launch_as(builder, |ctx, left| async move {
            let mut seen = vec![json!([ctx.authenticated_user(), ctx.authenticated_tenant()])];
            let left = left.as_i64().unwrap();
            let child = ctx.start(W, json!(left - 1)).attribute("n", left);
            let child = match left {
                0 => return Ok(json!(seen)),
                1 => child.debounce("d", Duration::from_millis(1)).await?,
                2 => child.await?,
                _ => child.queue("q").await?,
            };
            let mut below: Vec<Value> = serde_json::from_value(child.result().await?).unwrap();
            seen.append(&mut below);
            Ok(json!(seen))
        })
        .await;
        let start = dbos.start(W, json!(3)).id("w").authenticated_user("ada").authenticated_tenant("acme");
        assert_eq!(result_of(&start.await.unwrap()).await.unwrap(), json!([["ada", "acme"], ["ada", "acme"], ["ada", "acme"], ["ada", "acme"]]));
        for (child, n) in [("w-1", 3), ("w-1-1", 2)] {
            let attributes = dbos.info(child).await.unwrap().attributes;
            assert_eq!((&attributes["n"], &attributes["dbos.tenant"]), (&json!(n), &json!("acme")), "{child}");
        }
        dbos.workflows().fork(Fork::of("w", 0).id("fork")).await.unwrap();
        assert_eq!(dbos.info("fork").await.unwrap().authenticated_tenant(), Some("acme"));
        // An empty one is nobody's, and that goes along too.
        let nobody = dbos.start(W, json!(2)).id("n").authenticated_user("ada").authenticated_tenant("").await.unwrap();
        assert_eq!(result_of(&nobody).await.unwrap()[1], json!(["ada", ""]));
        let without = dbos.start(W, json!(2)).id("o").authenticated_user("ada").await.unwrap();
        assert_eq!(result_of(&without).await.unwrap()[1], json!(["ada", null]));
        let bad = dbos.start(W, json!(0)).id("bad").authenticated_tenant("a\0b").await;
        assert_kind(bad, ErrorKind::InvalidArgument);
        dbos.shutdown(Duration::from_secs(5)).await;
    }

    // L368, B65
    async fn attributes_that_cannot_be_stored_are_refused(fresh: Fresh) {
        let dbos = observer(&fresh).await;
        insert(&fresh, "w", &[("status", "'SUCCESS'"), ("attributes", "'{\"a\": 1}'")]).await;
        for bad in [
            object(json!({"nested": [{"deep": "\0"}]})),
            object(json!({"\0": 1})),
            object(json!({"big": "x".repeat(1024 * 1024)})),
        ] {
            let workflows = dbos.workflows();
            assert_kind(workflows.update_attributes("w", Some(&bad)).await, ErrorKind::InvalidArgument);
            assert_kind(workflows.merge_attributes("w", &bad).await, ErrorKind::InvalidArgument);
            assert_kind(dbos.start(W, Value::Null).id("new").attributes(&bad).await, ErrorKind::InvalidArgument);
            let (key, value) = bad.iter().next().unwrap();
            let start = dbos.start(W, Value::Null).id("new").attribute(key, value.clone());
            assert_kind(start.await, ErrorKind::InvalidArgument);
        }
        assert_eq!(attributes(&dbos, "w").await, json!({"a": 1}));
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 1);
    }

    // L366: but on SQLite it works too.
    async fn workflows_are_found_by_what_their_attributes_contain(fresh: Fresh) {
        let dbos = observer(&fresh).await;
        for (id, attributes) in [
            ("a", r#"{"region": "eu", "tier": 2, "tags": ["x", "y"], "on": true, "who": {"name": "Ada", "age": 36}}"#),
            ("b", r#"{"region": "EU", "tier": 2.5, "on": false, "who": {"name": "Ada"}}"#),
            ("c", r#"{"region": null, "tier": "2", "tags": []}"#),
            ("d", "null"),
        ] {
            let created = format!("{}", id.as_bytes()[0]);
            let attributes = format!("'{attributes}'");
            insert(&fresh, id, &[("status", "'SUCCESS'"), ("attributes", &attributes), ("created_at", &created)]).await;
        }
        insert(&fresh, "e", &[("status", "'SUCCESS'")]).await;
        for (wanted, expected) in [
            (json!({}), "abc"),
            (json!({"region": "eu"}), "a"),
            (json!({"region": "eu\u{301}"}), ""),
            (json!({"tier": 2}), "a"),
            (json!({"tier": 2.0}), "a"),
            (json!({"tier": 2.5}), "b"),
            (json!({"tier": "2"}), "c"),
            (json!({"on": true}), "a"),
            (json!({"on": 1}), ""),
            (json!({"region": null}), "c"),
            (json!({"missing": null}), ""),
            (json!({"tags": ["y"]}), "a"),
            (json!({"tags": ["y", "x", "y"]}), "a"),
            (json!({"tags": ["z"]}), ""),
            (json!({"tags": []}), "ac"),
            (json!({"who": {"name": "Ada"}}), "ab"),
            (json!({"who": {"name": "Ada", "age": 36}}), "a"),
            (json!({"who": {}}), "ab"),
            (json!({"who": "Ada"}), ""),
            (json!({"region": "eu", "tier": 2.5}), ""),
        ] {
            let found = ids(&dbos, Filter::new().attributes(&object(wanted.clone()))).await;
            assert_eq!(found.concat(), expected, "{wanted}");
        }
        // Text that is no JSON at all cannot be in the other database's column.
        if fresh.backend() == harness::Backend::Sqlite {
            fresh.execute("UPDATE workflow_status SET attributes = '{{{' WHERE workflow_uuid = 'b'").await;
            assert_eq!(ids(&dbos, Filter::new().attributes(&object(json!({"tier": 2})))).await, ["a"]);
            assert_eq!(attributes(&dbos, "b").await, Value::Null);
        }
    }

    // L367: the children's part.
    async fn a_child_does_not_inherit_attributes(fresh: Fresh) {
        let dbos = launch(&fresh, async |ctx, input| {
            if input == "child" {
                return Ok(input);
            }
            ctx.run(W, json!("child")).await
        })
        .await;
        let started = dbos.start(W, Value::Null).id("w").attribute("a", 1).await.unwrap();
        assert_eq!(result_of(&started).await.unwrap(), "child");
        assert_eq!(attributes(&dbos, "w").await, json!({"a": 1}));
        assert_eq!(attributes(&dbos, "w-1").await, Value::Null);
    }
}
