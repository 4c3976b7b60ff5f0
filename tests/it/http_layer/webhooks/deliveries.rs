//! What becomes of deliveries that are authentic.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use dbos_axum::webhooks::Delivery;
use dbos_axum::{ReadOnly, WorkflowApi};
use futures_util::{future, stream};
use harness::on_each_backend;
use tokio::task::JoinSet;

use super::super::Caller;
use super::*;

const ADDED: &str = "SELECT count(*) FROM workflow_status WHERE name = 'add'";

fn payment(to: &str, value: impl Into<Value>) -> Value {
    json!({"what": "send", "to": to, "value": value.into()})
}

on_each_backend! {
    // Two processes' worth of runtimes on one database.
    async fn s09_a_delivery_that_comes_fifty_times_at_once_is_made_once(fresh: Fresh) {
        let left = builder(&fresh).executor_id("left").launch().await.unwrap();
        let right = builder(&fresh).executor_id("right").launch().await.unwrap();
        let clients = [client(sources(left.clone())), client(sources(right.clone()))];
        let target = left.start(payee, ()).id("order-7").await.unwrap();
        let sending = (0..50).map(|n| deliver(&clients[n % 2], Sender::Standard, "d-1", payment("order-7", 995)));
        let answers = future::join_all(sending).await;
        assert!(answers.iter().all(|answer| answer.status == StatusCode::ACCEPTED));
        let new = answers.iter().filter(|answer| answer.json()["duplicate"] == false).count();
        assert_eq!((answers.len(), new), (50, 1));
        assert_eq!(target.result().await.unwrap(), Some(json!(995)));
        left.retrieve::<(), Error>("wh:standard:d-1").await.unwrap().result().await.unwrap();
        assert_eq!((fresh.scalar(WORKFLOWS).await, fresh.scalar(MESSAGES).await), (2, 1));
        // Each source has deliveries of its own.
        is_accepted(&deliver(&clients[1], Sender::GitHub, "d-1", payment("order-7", 996)).await, "d-1", false);
        harness::until("both arrived", async || fresh.scalar(MESSAGES).await == 2).await;
        end(&left).await;
        end(&right).await;
    }

    async fn a_message_waits_for_a_workflow_that_does_not_exist_yet(fresh: Fresh) {
        let (dbos, client) = receiving(&fresh).await;
        is_accepted(&deliver(&client, Sender::Stripe, "evt_1", payment("order-7", [1, 2])).await, "evt_1", false);
        let inbox = dbos.retrieve::<(), Error>("wh:stripe:evt_1").await.unwrap();
        // It looks at once, in this process.
        let waiting = "SELECT count(*) FROM workflow_status WHERE workflow_uuid = 'wh:stripe:evt_1' AND status = 'PENDING'";
        assert_eq!(fresh.scalar(waiting).await, 1);
        // A restart goes on with it.
        end(&dbos).await;
        let dbos = builder(&fresh).launch().await.unwrap();
        let target = dbos.start(payee, ()).id("order-7").await.unwrap();
        assert_eq!(target.result().await.unwrap(), Some(json!([1, 2])));
        assert_eq!(inbox.id().as_str(), "wh:stripe:evt_1");
        dbos.retrieve::<(), Error>(inbox.id().clone()).await.unwrap().result().await.unwrap();
        assert_eq!(fresh.scalar(MESSAGES).await, 1);
        end(&dbos).await;
    }

    async fn a_message_is_given_up_when_its_workflow_never_comes(fresh: Fresh) {
        let dbos = builder(&fresh).launch().await.unwrap();
        let client = client(sources(dbos.clone()).patience(Duration::from_secs(2)));
        let came = dbos.now().as_millis();
        is_accepted(&deliver(&client, Sender::Custom, "d-1", payment("nowhere", 1)).await, "d-1", false);
        let inbox = dbos.retrieve::<(), Error>("wh:custom:d-1").await.unwrap();
        let error = inbox.result().await.unwrap_err();
        assert_eq!(error.kind(), dbos_runtime::ErrorKind::NonExistentWorkflow);
        let info = inbox.status().await.unwrap();
        assert!(info.updated_at.as_millis() - came >= 1000, "{came}, {info:?}");
        end(&dbos).await;
    }

    async fn a_delivery_starts_one_workflow(fresh: Fresh) {
        let (dbos, client) = receiving(&fresh).await;
        for duplicate in [false, true] {
            is_accepted(&deliver(&client, Sender::GitHub, "d-1", json!({"what": "add"})).await, "d-1", duplicate);
            is_accepted(&deliver(&client, Sender::GitHub, "d-2", json!({"what": "queue", "to": "q"})).await, "d-2", duplicate);
        }
        harness::until("the first ran", async || {
            let ran = "SELECT count(*) FROM workflow_status WHERE workflow_uuid = 'wh:github:d-1!add' AND status = 'SUCCESS'";
            fresh.scalar(ran).await == 1
        }).await;
        let added = dbos.retrieve::<u32, Error>("wh:github:d-1!add").await.unwrap();
        assert_eq!(added.result().await.unwrap(), 7);
        harness::until("the second waits", async || fresh.scalar(ADDED).await == 2).await;
        let queued = dbos.info("wh:github:d-2!add").await.unwrap();
        assert_eq!((queued.status_text.as_str(), queued.queue_name.as_deref()), ("ENQUEUED", Some("q")));

        // Several deliveries about one thing.
        for delivery in ["d-3", "d-4"] {
            let event = json!({"what": "add at", "to": "sum-1"});
            is_accepted(&deliver(&client, Sender::GitHub, delivery, event).await, delivery, false);
            dbos.retrieve::<(), Error>(format!("wh:github:{delivery}")).await.unwrap().result().await.unwrap();
        }
        assert_eq!(dbos.retrieve::<u32, Error>("sum-1").await.unwrap().result().await.unwrap(), 7);
        assert_eq!(fresh.scalar(ADDED).await, 3);

        // Nothing is acknowledged that cannot be done.
        is_problem(&deliver(&client, Sender::GitHub, "d-5", json!({"what": "not registered"})).await, 500, None);
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE workflow_uuid LIKE '%d-5%'").await, 0);
        end(&dbos).await;
    }

    async fn the_application_decides_what_an_event_means(fresh: Fresh) {
        let (dbos, client) = receiving(&fresh).await;
        for _ in 0..2 {
            is_accepted(&deliver(&client, Sender::Standard, "d-1", json!({"what": "?"})).await, "d-1", false);
        }
        let refused = deliver(&client, Sender::Standard, "d-2", json!({"what": "refuse"})).await;
        is_problem(&refused, 409, None);
        assert_eq!((&refused.json()["detail"], &refused.json()["instance"]), (&json!("Not now."), &json!("/in/hooks/standard")));
        let unaddressed = deliver(&client, Sender::Standard, "d-3", payment("", 1)).await;
        is_problem(&unaddressed, 400, Some("invalid-argument"));
        assert_eq!(fresh.scalar(WORKFLOWS).await, 0);
        end(&dbos).await;
    }

    async fn a_direct_delivery_leaves_trying_again_to_its_sender(fresh: Fresh) {
        // It needs no workflow of its own.
        let dbos = harness::builder(&fresh).register(payee).register(add).launch().await.unwrap();
        let client = client(sources(dbos.clone()).direct());
        let pay = async || deliver(&client, Sender::Standard, "d-1", payment("order-7", 995)).await;
        is_problem(&pay().await, 404, Some("workflow-not-found"));
        let target = dbos.start(payee, ()).id("order-7").await.unwrap();
        is_accepted(&pay().await, "d-1", false);
        assert_eq!(target.result().await.unwrap(), Some(json!(995)));
        is_accepted(&pay().await, "d-1", true);
        for duplicate in [false, true] {
            is_accepted(&deliver(&client, Sender::Stripe, "evt_1", json!({"what": "add"})).await, "evt_1", duplicate);
        }
        assert_eq!((fresh.scalar(MESSAGES).await, fresh.scalar(ADDED).await), (1, 1));
        end(&dbos).await;
    }

    async fn a_router_below_a_path_with_parameters_takes_deliveries_too(fresh: Fresh) {
        let dbos = builder(&fresh).launch().await.unwrap();
        let layer = DbosLayer::new(dbos.clone()).callbacks(callbacks::callbacks());
        let tails = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&tails);
        let hooks = Webhooks::new(layer.clone()).source_with("github", GitHub::new(SECRET).unwrap(), move |delivery: Delivery<Value>| {
            notes.lock().unwrap().push(delivery.tail);
            Deliver::start(add, (3, 4))
        });
        let client = Client::new(Router::new().nest("/shops/{tenant}/in", hooks.into_router().unwrap()));
        for (n, tail) in ["", "/team/a"].into_iter().enumerate() {
            let id = format!("d-{n}");
            let mut request = client.post(format!("/shops/acme/in/hooks/github{tail}")).header("content-type", "application/json");
            for (name, value) in Sender::GitHub.headers(SECRET, &id, NOW, b"{}") {
                request = request.header(name, value);
            }
            is_accepted(&request.body("{}").send().await, &id, false);
        }
        assert_eq!(*tails.lock().unwrap(), ["", "team/a"]);
        let target = dbos.start(payee, ()).id("order-7").await.unwrap();
        let address = callbacks::callbacks().url(target.id(), "payment", dbos.now().after(Duration::from_secs(60)));
        assert_eq!(client.post(format!("/shops/acme{}", callbacks::path(&address))).json(&json!(995)).send().await.status, StatusCode::ACCEPTED);
        assert_eq!(target.result().await.unwrap(), Some(json!(995)));
        end(&dbos).await;
    }

    // S14: nobody has to sign anything to send slowly.
    async fn s14_slow_deliveries_do_not_keep_others_out(fresh: Fresh) {
        let dbos = builder(&fresh).launch().await.unwrap();
        let hooks = sources(dbos.clone()).at_once(1).body_limit(64 * 1024).bytes_at_once(200 * 1024);
        let client = client(hooks.body_deadline(Duration::from_secs(5)));
        // All but the last byte of four bodies: three of them are all that there is room for.
        let mut slow = JoinSet::new();
        let mut held = Vec::new();
        for _ in 0..4 {
            let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
            send.send(Ok::<_, Infallible>(vec![b' '; 60 * 1024])).unwrap();
            held.push(send);
            let body = Body::from_stream(stream::poll_fn(move |cx| receive.poll_recv(cx)));
            let request = client.post("/in/hooks/github").header("content-type", "application/json").body(body);
            slow.spawn(request.send());
        }
        // The oldest one made room.
        let sent_away = slow.join_next().await.unwrap().unwrap();
        is_problem(&sent_away, 429, None);
        assert_eq!(sent_away.header("retry-after"), Some("1"));
        // Whoever signs is served meanwhile, and the others have their time.
        is_accepted(&deliver(&client, Sender::GitHub, "d-1", json!({"what": "add"})).await, "d-1", false);
        assert!(slow.try_join_next().is_none(), "they hold nobody up");
        for slow in slow.join_all().await {
            is_problem(&slow, 408, None);
        }
        assert_eq!(fresh.scalar(ADDED).await, 1);
        drop(held);
        end(&dbos).await;
    }

    // S29. An endpoint is never said to be gone: senders would switch it off.
    async fn other_paths_and_methods_are_not_there(fresh: Fresh) {
        let (dbos, client) = receiving(&fresh).await;
        let unknown = ["/in/hooks/paypal", "/in/hooks/Stripe", "/in/hooks/paypal/x", "/in/hooks", "/in/hooks/", "/in/callbacks/x"];
        for path in unknown {
            is_problem(&client.post(path).send().await, 404, None);
        }
        for method in [http::Method::GET, http::Method::PUT, http::Method::DELETE] {
            is_problem(&client.request(method, "/in/hooks/stripe").send().await, 405, None);
        }
        end(&dbos).await;
    }

    async fn a_closure_sees_the_whole_delivery(fresh: Fresh) {
        let dbos = builder(&fresh).launch().await.unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&seen);
        let hooks = Webhooks::new(dbos.clone()).source_with("github", GitHub::new(SECRET).unwrap(), move |delivery: Delivery<Value>| {
            let kind = delivery.headers["x-github-event"].to_str().unwrap().to_owned();
            notes.lock().unwrap().push((delivery.id, kind, delivery.tail, delivery.event["ref"].clone()));
            Deliver::ignore()
        });
        let client = client(hooks);
        let body = br#"{"ref":"main"}"#;
        for (tail, id) in [("", "d-1"), ("/team/a", "d::2")] {
            let mut request = client.post(format!("/in/hooks/github{tail}")).header("content-type", "application/json");
            request = request.header("x-github-event", "push");
            for (name, value) in Sender::GitHub.headers(SECRET, id, NOW, body) {
                request = request.header(name, value);
            }
            assert_eq!(request.body(body.to_vec()).send().await.status, StatusCode::ACCEPTED);
        }
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        let [(first, ..), (second, kind, tail, event)] = seen.as_slice() else { panic!("{seen:?}") };
        assert_eq!((first.as_str(), second.len(), kind.as_str(), tail.as_str()), ("d-1", 64, "push", "team/a"));
        assert_eq!(event, "main");
        end(&dbos).await;
    }

    async fn one_delivery_too_many_is_told_to_come_again(fresh: Fresh) {
        let dbos = builder(&fresh).launch().await.unwrap();
        let client = client(sources(dbos.clone()).at_once(0));
        let response = deliver(&client, Sender::Standard, "d-1", json!({"what": "add"})).await;
        is_problem(&response, 429, None);
        assert_eq!((response.header("retry-after"), fresh.scalar(WORKFLOWS).await), (Some("1"), 0));
        end(&dbos).await;
    }

    // S03, S04: the ids of deliveries can be guessed.
    async fn what_was_delivered_is_nobodys_to_read_but_its_owners(fresh: Fresh) {
        let (dbos, client) = receiving(&fresh).await;
        is_accepted(&deliver(&client, Sender::Stripe, "evt_1", json!({"what": "add"})).await, "evt_1", false);
        is_accepted(&deliver(&client, Sender::Stripe, "evt_2", json!({"what": "add for", "to": "ada"})).await, "evt_2", false);
        harness::until("both are started", async || fresh.scalar(ADDED).await == 2).await;
        let api = WorkflowApi::<Caller>::new(dbos.clone()).into_router();
        let api = Client::new(Router::new().nest("/dbos", api));
        let look = async |id: &str, user: &str, tenant: &str| {
            let request = api.get(format!("/dbos/workflows/{id}")).header("x-user", user).header("x-tenant", tenant);
            request.send().await.status.as_u16()
        };
        for (user, tenant) in [("", ""), ("ada", "acme"), ("dbos.webhook", "acme"), ("dbos.webhook", "")] {
            for id in ["wh:stripe:evt_1", "wh:stripe:evt_1!add"] {
                assert_eq!(look(id, user, tenant).await, 404, "{user} of {tenant}: {id}");
            }
        }
        for (user, tenant, status) in [("", "", 404), ("ada", "", 404), ("bob", "acme", 404), ("ada", "acme", 200)] {
            for id in ["wh:stripe:evt_2", "wh:stripe:evt_2!add"] {
                assert_eq!(look(id, user, tenant).await, status, "{user} of {tenant}: {id}");
            }
        }
        let roles = dbos.info("wh:stripe:evt_2!add").await.unwrap().authenticated_roles;
        assert_eq!(json!(roles), json!(["buyer"]));
        end(&dbos).await;
    }

    // S08
    async fn an_owner_who_may_only_look_cannot_forge_what_a_sender_says(fresh: Fresh) {
        let dbos = builder(&fresh).launch().await.unwrap();
        let layer = DbosLayer::new(dbos.clone()).policy(ReadOnly);
        let hooks = client(sources(layer.clone()));
        let api = Client::new(Router::new().nest("/dbos", WorkflowApi::<Caller>::new(layer).into_router()));
        let order = dbos.start(payee, ()).id("order-7").authenticated_user("ada").await.unwrap();
        let forged = api.post("/dbos/workflows/order-7/messages/payment").header("x-user", "ada").json(&json!(1));
        is_problem(&forged.send().await, 404, Some("workflow-not-found"));
        assert_eq!(fresh.scalar(MESSAGES).await, 0);
        let own = api.get("/dbos/workflows/order-7").header("x-user", "ada").send().await;
        assert_eq!((own.status, &own.json()["status"]), (StatusCode::OK, &json!("PENDING")));
        is_accepted(&deliver(&hooks, Sender::Standard, "d-1", payment("order-7", 995)).await, "d-1", false);
        assert_eq!(order.result().await.unwrap(), Some(json!(995)));
        end(&dbos).await;
    }

    async fn a_process_that_takes_no_work_takes_no_deliveries(fresh: Fresh) {
        let (dbos, client) = receiving(&fresh).await;
        dbos.deactivate();
        let response = deliver(&client, Sender::Standard, "d-1", json!({"what": "add"})).await;
        is_problem(&response, 503, Some("unavailable"));
        assert!(response.header("retry-after").is_some());
        dbos.reactivate();
        is_accepted(&deliver(&client, Sender::Standard, "d-1", json!({"what": "add"})).await, "d-1", false);
        end(&dbos).await;
    }

    async fn a_router_that_would_not_work_is_not_built(fresh: Fresh) {
        let dbos = harness::builder(&fresh).launch().await.unwrap();
        let built = |hooks: Webhooks| hooks.into_router::<()>().map(drop).map_err(|error| error.to_string());
        let stripe = || Stripe::new(SECRET).unwrap();
        let hooks = || Webhooks::new(dbos.clone());
        let missing = built(hooks().source("stripe", stripe(), meaning)).unwrap_err();
        assert!(missing.contains(".register(dbos_axum::webhooks::inbox())"), "{missing}");
        assert_eq!(built(hooks()), Ok(()));
        assert_eq!(built(hooks().source("stripe", stripe(), meaning).direct()), Ok(()));
        for name in ["", "a b", "a/b", "a:b", "é", &"s".repeat(65)] {
            assert!(built(hooks().source(name, stripe(), meaning).direct()).is_err(), "{name}");
        }
        let twice = hooks().source("stripe", stripe(), meaning).source("stripe", stripe(), meaning).direct();
        assert!(built(twice).unwrap_err().contains("two sources"));
        end(&dbos).await;
    }
}
