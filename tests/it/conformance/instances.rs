//! Workflows that are registered for a class or for a configured instance, and rows that name some.

use dbos_runtime::{Dbos, Error, ErrorKind, Queue, Registration, WorkflowRef, workflow};
use harness::{Fresh, on_each_backend};
use serde_json::{Value, json};

use super::scene::{Ctx, HOUR, assert_kind, crash, id, result_of, until_rows};
use super::support::row;

/// What an instance of the payment service is configured with.
struct Gateway {
    url: &'static str,
}

#[workflow(class = "Gateway")]
async fn charge(ctx: dbos_runtime::Ctx<Gateway>, wait: bool) -> Result<Value, Error> {
    if wait {
        ctx.recv::<()>("go").timeout(HOUR).await?;
    }
    Ok(json!(ctx.state().url))
}

#[workflow(name = "echoWorkflow", class = "interop", instance = "default")]
async fn echo(_: Ctx, text: String) -> Result<Value, Error> {
    Ok(json!(text))
}

async fn launch(fresh: &Fresh) -> Dbos {
    harness::builder(fresh)
        .register(echo)
        .register_instance(charge, "north", Gateway { url: "//north" })
        .register_instance(charge, "south", Gateway { url: "//south" })
        .register_fn("plain", async |_: Ctx, _: bool| Ok::<_, Error>(json!("plain")))
        .launch()
        .await
        .unwrap()
}

/// A row that another program has put on the queue; class and instance are SQL.
async fn enqueue(fresh: &Fresh, id: &str, name: &str, class: &str, instance: &str, argument: &str) {
    fresh
        .execute(&format!(
            "INSERT INTO workflow_status (workflow_uuid, name, class_name, config_name, status, queue_name,
                 application_version, serialization)
             VALUES ('{id}', '{name}', {class}, {instance}, 'ENQUEUED', '_dbos_internal_queue', 'v1', 'portable_json');
             INSERT INTO workflow_input (workflow_uuid, inputs) VALUES ('{id}', '{{\"positionalArgs\":[{argument}]}}')"
        ))
        .await;
}

on_each_backend! {
    // B42: the contract of the programs that call one another across languages.
    async fn a_row_finds_its_function_by_name_and_instance_whatever_its_class(fresh: Fresh) {
        let dbos = launch(&fresh).await;
        for (row, name, class, instance, argument, expected) in [
            ("w1", "echoWorkflow", "'interop'", "'default'", "\"a\"", "a"),
            ("w2", "echoWorkflow", "'InteropService'", "'default'", "\"b\"", "b"),
            ("w3", "echoWorkflow", "NULL", "'default'", "\"c\"", "c"),
            ("w4", "charge", "'Gateway'", "'north'", "false", "//north"),
            ("w5", "charge", "'Gateway'", "'south'", "false", "//south"),
            ("w6", "plain", "NULL", "NULL", "false", "plain"),
            ("w7", "plain", "'SomeClass'", "NULL", "false", "plain"),
        ] {
            enqueue(&fresh, row, name, class, instance, argument).await;
            let handle = dbos.retrieve::<Value, Error>(row).await.unwrap();
            assert_eq!(result_of(&handle).await.unwrap(), json!(expected), "{row}");
        }
    }

    // B42: it stays on its queue for a process that has the instance; one that has not does not even try.
    async fn a_row_of_an_unknown_instance_is_left_to_those_who_have_it(fresh: Fresh) {
        let dbos = launch(&fresh).await;
        enqueue(&fresh, "w1", "charge", "'Gateway'", "'east'", "false").await;
        enqueue(&fresh, "w2", "plain", "NULL", "'north'", "false").await;
        enqueue(&fresh, "w3", "charge", "'Gateway'", "NULL", "false").await;
        enqueue(&fresh, "w4", "charge", "'Gateway'", "'north'", "false").await;
        let behind = dbos.retrieve::<Value, Error>("w4").await.unwrap();
        assert_eq!(result_of(&behind).await.unwrap(), json!("//north"));
        dbos.shutdown(harness::PATIENCE).await;
        let untouched = "workflow_status WHERE status = 'ENQUEUED' AND recovery_attempts = 0";
        assert_eq!(fresh.scalar(&format!("SELECT count(*) FROM {untouched}")).await, 3);
        let dbos = harness::builder(&fresh)
            .register_instance(charge, "east", Gateway { url: "//east" })
            .launch()
            .await
            .unwrap();
        let handle = dbos.retrieve::<Value, Error>("w1").await.unwrap();
        assert_eq!(result_of(&handle).await.unwrap(), json!("//east"));
    }

    // B42, B43
    async fn a_start_chooses_the_instance_and_its_row_says_which(fresh: Fresh) {
        let dbos = launch(&fresh).await;
        for (name, instance, url) in [("w1", "north", "//north"), ("w2", "south", "//south")] {
            let handle = dbos.start(charge, false).id(name).config_name(instance).await.unwrap();
            assert_eq!(result_of(&handle).await.unwrap(), json!(url));
            let named = row(&fresh, "workflow_status", name, "name, class_name, config_name").await;
            assert_eq!(named, json!({ "name": "charge", "class_name": "Gateway", "config_name": instance }));
        }
        // By default the macro's own class and instance.
        let echoed = dbos.start(echo, "hi".to_owned()).id("w3").await.unwrap();
        assert_eq!(result_of(&echoed).await.unwrap(), json!("hi"));
        let named = row(&fresh, "workflow_status", "w3", "name, class_name, config_name").await;
        assert_eq!(named, json!({ "name": "echoWorkflow", "class_name": "interop", "config_name": "default" }));

        assert_kind(dbos.start(charge, false).await, ErrorKind::NotRegistered);
        assert_kind(dbos.start(charge, false).config_name("east").await, ErrorKind::NotRegistered);
        // The same id for another instance, or another class, is another workflow.
        assert!(!dbos.start(charge, false).id("w1").config_name("north").await.unwrap().created());
        let other_instance = dbos.start(charge, false).id("w1").config_name("south").await;
        assert_kind(other_instance, ErrorKind::ConflictingWorkflow);
        let other_class = dbos.start(charge, false).id("w1").config_name("north").class_name("Other").await;
        assert_kind(other_class, ErrorKind::ConflictingWorkflow);
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 3);
    }

    // B42: children and recovered workflows too.
    async fn a_child_and_a_recovered_workflow_run_on_their_own_instance(fresh: Fresh) {
        let launch = async || {
            let builder = harness::builder(&fresh).register_fn("parent", async |ctx: Ctx, _: Value| {
                let north = ctx.run(charge, true).id("c1").config_name("north").await?;
                let south = ctx.run(charge, false).id("c2").config_name("south").queue("q").await?;
                Ok::<_, Error>(json!([north, south]))
            });
            let builder = builder
                .queue(Queue::new("q"))
                .register_instance(charge, "north", Gateway { url: "//north" })
                .register_instance(charge, "south", Gateway { url: "//south" });
            builder.launch().await.unwrap()
        };
        let dbos = launch().await;
        dbos.start(WorkflowRef::<Value, Value>::named("parent"), Value::Null).id("p").await.unwrap();
        until_rows(&fresh, 1, "operation_outputs WHERE workflow_uuid = 'c1'").await;
        crash(&dbos).await;
        let dbos = launch().await;
        dbos.send(&id("c1"), &()).topic("go").await.unwrap();
        let handle = dbos.retrieve::<Value, Error>("p").await.unwrap();
        assert_eq!(result_of(&handle).await.unwrap(), json!(["//north", "//south"]));
    }

    // B41
    async fn one_name_is_registered_once_for_each_class_and_instance(fresh: Fresh) {
        let body = async |_: Ctx, _: Value| Ok::<_, Error>(Value::Null);
        let twice = [
            Registration::named("w"),
            Registration::named("w").class("a"),
            Registration::named("w").instance("a"),
            Registration::named("w").class("a").instance("b"),
        ];
        for registration in &twice {
            let builder = harness::builder(&fresh).register_fn(registration.clone(), body);
            let launched = builder.register_fn(registration.clone(), body).launch().await;
            assert_kind(launched, ErrorKind::InvalidArgument);
        }
        for bad in [Registration::named("w").class(""), Registration::named("w").instance(" x")] {
            assert_kind(harness::builder(&fresh).register_fn(bad, body).launch().await, ErrorKind::InvalidArgument);
        }
        let all = twice.into_iter().fold(harness::builder(&fresh), |builder, one| builder.register_fn(one, body));
        all.launch().await.unwrap();
    }

    // B55: what is registered is part of the computed version.
    async fn an_instance_more_is_another_version(fresh: Fresh) {
        let version = async |more: Option<&str>| {
            let builder = Dbos::builder("tests").database_url(fresh.url()).register_instance(charge, "a", Gateway { url: "" });
            let builder = match more {
                Some(name) => builder.register_instance(charge, name, Gateway { url: "" }),
                None => builder,
            };
            let dbos = builder.launch().await.unwrap();
            crash(&dbos).await;
            dbos.application_version().to_owned()
        };
        let versions = [version(None).await, version(None).await, version(Some("b")).await, version(Some("c")).await];
        assert_eq!(versions[0], versions[1]);
        assert!(versions[1] != versions[2] && versions[2] != versions[3] && versions[1] != versions[3]);
    }
}
