//! Input that breaks a rule is refused alike on both backends, before anything is sent; odd input that does not is data.

mod management;
mod queues;
mod rows;
mod schedules;
mod settings;
mod values;

use std::sync::Arc;
use std::time::Duration;

use dbos_runtime::{Builder, Ctx as RuntimeCtx, Dbos, Error, ErrorKind, WorkflowId, WorkflowRef, workflow};
use harness::proxy::Proxy;
use harness::{Backend, Fresh, on_each_backend};
use serde_json::{Map, Value, json};

type Ctx = RuntimeCtx<(), Error>;

const TOO_LONG: Duration = Duration::from_secs(100 * 366 * 24 * 3600 + 1);
const NOBODY: WorkflowRef<(), ()> = WorkflowRef::named("nobody");
const NAMELESS: WorkflowRef<(), ()> = WorkflowRef::named("");

/// Texts that no id, topic or key may be, and why.
fn bad_texts(longest: usize) -> Vec<(String, String)> {
    let case = |text: &str, why: &str| (text.to_owned(), why.to_owned());
    vec![
        case("", "must not be empty"),
        case("   ", "must not start or end with white space"),
        case(" a", "must not start or end with white space"),
        case("a\u{2003}", "must not start or end with white space"),
        case("a\0b", "must not contain control characters"),
        case("a\nb", "must not contain control characters"),
        case("a\u{9b}b", "must not contain control characters"),
        ("x".repeat(longest + 1), format!("has {} bytes; the limit is {longest}", longest + 1)),
        // Bytes count, not characters.
        ("é".repeat(longest / 2) + "x", format!("has {} bytes; the limit is {longest}", longest + 1)),
    ]
}

/// Texts that look like trouble and are data.
fn odd_texts(longest: usize) -> Vec<String> {
    let mut texts: Vec<String> = [
        "'; DROP TABLE workflow_status; --",
        "\"quoted\" \\ back 'single'",
        "%_$1?:name{s}{schema}",
        "a::b",
        "../../etc/passwd",
        "\u{e9}",
        "e\u{301}",
        "\u{202e}right to left\u{202c}",
        "a\u{200b}b",
        "\u{1f469}\u{200d}\u{1f680}",
    ]
    .map(ToOwned::to_owned)
    .to_vec();
    texts.push("x".repeat(longest));
    texts.push("é".repeat(longest / 2));
    texts
}

struct Border {
    dbos: Dbos,
    proxy: Option<Proxy>,
    fresh: Fresh,
}

impl Border {
    async fn of(fresh: Fresh) -> Self {
        let proxy = match fresh.backend() {
            Backend::Postgres => Some(Proxy::before(fresh.url()).await),
            Backend::Sqlite => None,
        };
        let url = proxy.as_ref().map_or_else(|| fresh.url().to_owned(), |proxy| proxy.url(fresh.url()));
        let builder = builder(&fresh).database_url(url);
        let dbos =
            builder.polling_interval(Duration::from_secs(3600)).listen_notify(false).launch().await.unwrap();
        let border = Self { dbos, proxy, fresh };
        // The count is not zero for want of counting.
        border.dbos.start(echo, json!(1)).id("there").await.unwrap().result().await.unwrap();
        assert!(border.sent() >= 2 || border.proxy.is_none());
        border.settle().await;
        border
    }

    /// Forgets what was sent, once nothing more comes.
    async fn settle(&self) {
        if let Some(proxy) = &self.proxy {
            proxy.settle().await;
        }
    }

    /// Statements since the last call.
    fn sent(&self) -> usize {
        self.proxy.as_ref().map_or(0, |proxy| proxy.take_messages().statements.len())
    }

    /// Sees that a call is refused with this message before anything is sent.
    async fn refuses<T>(&self, call: impl IntoFuture<Output = Result<T, Error>>, message: &str) {
        self.ends(call, ErrorKind::InvalidArgument, message).await;
    }

    async fn ends<T>(
        &self,
        call: impl IntoFuture<Output = Result<T, Error>>,
        kind: ErrorKind,
        message: &str,
    ) {
        let error = call.await.map(drop).expect_err(message);
        assert_eq!((error.kind(), error.to_string()), (kind, message.to_owned()));
        assert_eq!(self.sent(), 0, "sent before it was refused: {message}");
    }
}

fn builder(fresh: &Fresh) -> Builder<()> {
    harness::builder(fresh).register(echo).register(other).register(verbs)
}

#[workflow]
async fn echo(_ctx: Ctx, value: Value) -> Result<Value, Error> {
    Ok(value)
}

#[workflow]
async fn other(_ctx: Ctx, value: Value) -> Result<Value, Error> {
    Ok(value)
}

/// Asks each verb with this text and collects what it says.
#[workflow]
async fn verbs(ctx: Ctx, text: String) -> Result<Vec<String>, Error> {
    let said = |result: Result<(), Error>| {
        result.map_or_else(|error| format!("{:?}: {error}", error.kind()), |()| "ok".to_owned())
    };
    let me = ctx.workflow_id().clone();
    Ok(vec![
        said(ctx.step(&text, || async { Ok(()) }).await),
        said(ctx.step_once(&text, |_| async { Ok(()) }).await),
        said(ctx.set_event(&text, &1).await),
        said(ctx.get_event::<u32>(&me, &text).timeout(Duration::ZERO).await.map(drop)),
        said(ctx.recv::<u32>(text.as_str()).timeout(Duration::ZERO).await.map(drop)),
        said(ctx.send(&me, &1).topic(&text).await),
        said(ctx.send(&me, &1).idempotency_key(&text).await),
        said(ctx.start(echo, json!(2)).id(text.clone()).await.map(drop)),
    ])
}

on_each_backend! {
    // B37, B51
    async fn texts_that_break_a_rule_are_refused_by_every_call(fresh: Fresh) {
        let border = Border::of(fresh).await;
        let dbos = &border.dbos;
        let there: WorkflowId = "there".parse().unwrap();
        for (text, why) in bad_texts(512) {
            let text = text.as_str();
            let about = |field: &str| format!("{field} {why}");
            border.refuses(dbos.start(echo, json!(1)).id(text), &about("workflow id")).await;
            border.refuses(dbos.retrieve::<(), Error>(text), &about("workflow id")).await;
            border.refuses(dbos.info(text), &about("workflow id")).await;
            border.refuses(async { text.parse::<WorkflowId>() }, &about("workflow id")).await;
            border.refuses(dbos.start(echo, json!(1)).authenticated_user(text), &about("authenticated user")).await;
            border.refuses(dbos.send(&there, &1).topic(text), &about("topic")).await;
            border.refuses(dbos.send(&there, &1).idempotency_key(text), &about("idempotency key")).await;
            border.refuses(dbos.get_event::<u32>(&there, text, Duration::ZERO), &about("event key")).await;
        }
        assert_eq!(border.fresh.scalar("SELECT count(*) FROM workflow_status").await, 1);
        assert_eq!(border.fresh.scalar("SELECT count(*) FROM notifications").await, 0);
    }

    async fn texts_that_break_a_rule_are_refused_by_every_verb_of_a_workflow(fresh: Fresh) {
        let dbos = builder(&fresh).launch().await.unwrap();
        let names = bad_texts(256);
        for (n, (text, why)) in bad_texts(512).into_iter().enumerate() {
            let said = dbos.start(verbs, text).id(format!("w{n}")).await.unwrap().result().await.unwrap();
            // A step's name is shorter, so what is too long for a key is too long for it by more.
            let name = names[n].1.replace("257", why.split(' ').nth(1).unwrap_or_default());
            let fields = ["step name", "step name", "event key", "event key", "topic", "topic", "idempotency key", "workflow id"];
            for (field, said) in fields.iter().zip(&said) {
                let why = if *field == "step name" { &name } else { &why };
                assert_eq!(*said, format!("InvalidArgument: {field} {why}"));
            }
            assert_eq!(said.len(), fields.len());
        }
        // Refused calls record nothing, but for a child's start, which fails like a child.
        let steps = "SELECT count(*) FROM operation_outputs WHERE child_workflow_id IS NULL AND function_name <> 'echo'";
        assert_eq!(fresh.scalar(steps).await, 0);
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE status = 'SUCCESS'").await, 9);
    }

    // B09, B10, B51, B52
    async fn texts_that_look_like_trouble_are_data(fresh: Fresh) {
        let dbos = builder(&fresh).launch().await.unwrap();
        let texts = odd_texts(512);
        for text in &texts {
            let handle = dbos.start(echo, json!(text)).id(text.as_str()).authenticated_user(text).await.unwrap();
            assert!(handle.created(), "{text:?} is an id of its own");
            assert_eq!(handle.result().await.unwrap(), json!(text));
            let info = dbos.info(text.as_str()).await.unwrap();
            assert_eq!((info.id.as_str(), info.authenticated_user.as_deref()), (text.as_str(), Some(text.as_str())));
            assert!(dbos.send(handle.id(), text).topic(text).idempotency_key(text).await.unwrap());
            assert!(!dbos.send(handle.id(), text).topic(text).idempotency_key(text).await.unwrap(), "the same key");
        }
        assert_eq!(usize::try_from(fresh.scalar("SELECT count(*) FROM workflow_status").await).unwrap(), texts.len());
        assert_eq!(usize::try_from(fresh.scalar("SELECT count(DISTINCT topic) FROM notifications").await).unwrap(), texts.len());
        for (n, text) in odd_texts(256).into_iter().enumerate() {
            let handle = dbos.start(verbs, text.clone()).id(format!("verbs-{n}")).await.unwrap();
            let said = handle.result().await.unwrap();
            // The child's id is the workflow of another name only where it was taken above: here it is free or the same.
            assert_eq!(said, ["ok"; 8], "{text:?}");
            assert_eq!(dbos.get_event(handle.id(), &text, Duration::ZERO).await.unwrap(), Some(1));
        }
    }

    // B37: a child's derived id can be too long though its parent's is not.
    async fn an_id_without_room_for_a_childs_is_a_typed_error(fresh: Fresh) {
        let dbos = builder(&fresh).register_fn("parent", |ctx: Ctx, _: ()| async move {
            ctx.start(echo, json!(1)).await.map(drop)
        });
        let dbos = dbos.launch().await.unwrap();
        let parent = dbos.start(WorkflowRef::<(), ()>::named("parent"), ()).id("x".repeat(511)).await.unwrap();
        let error = parent.result().await.unwrap_err();
        assert_eq!((error.kind(), &*error.to_string()), (ErrorKind::InvalidArgument, "workflow id has 513 bytes; the limit is 512"));
    }

    // B38, B39
    async fn an_id_belongs_to_its_workflow_and_on_request_to_its_input(fresh: Fresh) {
        let dbos = builder(&fresh).launch().await.unwrap();
        dbos.start(echo, json!({"a": 1, "b": 2})).id("w").await.unwrap().result().await.unwrap();
        let error = dbos.start(other, json!(1)).id("w").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConflictingWorkflow);
        assert_eq!((error.to_string(), error.workflow_id().map(WorkflowId::as_str)), (r#"workflow w exists as "echo", not as "other""#.to_owned(), Some("w")));
        let joined = dbos.start(echo, json!(3)).id("w").await.unwrap();
        assert!(!joined.created());
        assert_eq!(joined.result().await.unwrap(), json!({"a": 1, "b": 2}));
        dbos.start(echo, json!({"b": 2, "a": 1})).id("w").same_input().await.unwrap();
        let error = dbos.start(echo, json!({"a": 1, "b": 3})).id("w").same_input().await.unwrap_err();
        assert_eq!((error.kind(), &*error.to_string()), (ErrorKind::InputMismatch, "workflow w was started with another input"));
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status").await, 1);
    }

    // B40, B63
    async fn what_does_not_exist_is_said_to(fresh: Fresh) {
        let border = Border::of(fresh).await;
        let dbos = &border.dbos;
        border.ends(dbos.start(NOBODY, ()), ErrorKind::NotRegistered, r#"no workflow is registered under the name "nobody""#).await;
        border.refuses(dbos.start(NAMELESS, ()), "workflow name must not be empty").await;
        let missing: WorkflowId = "missing".parse().unwrap();
        let said = [
            dbos.info(&missing).await.map(drop),
            dbos.retrieve::<(), Error>(&missing).await.map(drop),
            dbos.send(&missing, &1).await.map(drop),
        ];
        for said in said {
            let error = said.unwrap_err();
            assert_eq!((error.kind(), &*error.to_string()), (ErrorKind::NonExistentWorkflow, "workflow missing does not exist"));
        }
        assert!(!dbos.cancel(&missing).await.unwrap());
        assert!(!dbos.cancel(&"there".parse().unwrap()).await.unwrap(), "it has ended");
        assert!(dbos.get_all_events(&missing).await.unwrap().is_empty());
    }

    // B48, B49, B50
    async fn times_out_of_range_are_refused_and_none_is_at_once(fresh: Fresh) {
        let border = Border::of(fresh).await;
        let there: WorkflowId = "there".parse().unwrap();
        let none = border.dbos.get_event::<u32>(&there, "none", Duration::ZERO);
        assert_eq!(none.await.unwrap(), None);
        border.settle().await;
        for (time, said) in [(TOO_LONG, "3162240001"), (Duration::MAX, "18446744073709551615")] {
            let message = format!("the time limit of {said} s is longer than 100 years");
            border.refuses(border.dbos.get_event::<u32>(&there, "key", time), &message).await;
        }
        let dbos = builder(&border.fresh).executor_id("second").register_fn("times", times).launch().await.unwrap();
        let said = dbos.start(WorkflowRef::<(), Vec<String>>::named("times"), ()).await.unwrap().result().await.unwrap();
        let too_long = |field: &str| format!("InvalidArgument: {field} of 18446744073709551615 s is longer than 100 years");
        assert_eq!(said, [
            too_long("a sleep"),
            too_long("a receive's time limit"),
            too_long("the time limit"),
            "InvalidArgument: a step's time limit must be longer than nothing".to_owned(),
            "ok".to_owned(),
            "ok".to_owned(),
            "ok".to_owned(),
        ]);
    }

    // B27, B65: how large they may be has a test of its own.
    async fn attributes_are_an_object_that_every_backend_can_store(fresh: Fresh) {
        let border = Border::of(fresh).await;
        let start = |attributes: Value| {
            let attributes: Map<String, Value> = attributes.as_object().unwrap().clone();
            border.dbos.start(echo, json!(1)).attributes(&attributes)
        };
        for bad in [json!({"a": "x\0y"}), json!({"a": [{"b": "\0"}]}), json!({"\0": 1})] {
            border.refuses(start(bad), "attributes must not contain NUL").await;
        }
        // The six characters of an escape are not what they stand for.
        for good in [json!({}), json!({"a": r"C:\u0000"}), json!({"é'--": {"b": [1, null, 1.5, "$1"]}}), json!({"a": "x".repeat(60_000)})] {
            let handle = start(good.clone()).await.unwrap();
            assert_eq!(handle.status().await.unwrap().attributes, good);
        }
        assert_eq!(border.fresh.scalar("SELECT count(*) FROM workflow_status").await, 5);
    }

    // B27
    async fn values_may_hold_any_text(fresh: Fresh) {
        let dbos = builder(&fresh).launch().await.unwrap();
        let value = json!({"nul": "a\0b", "\0": "'; --", "deep": [[[[1.5, -0.0, u64::MAX, i64::MIN]]]], "emoji": "👩‍🚀"});
        let handle = dbos.start(echo, value.clone()).authenticated_roles(&["a b", "\0", "'\"", ""]).await.unwrap();
        assert_eq!(handle.result().await.unwrap(), value);
        assert_eq!(handle.status().await.unwrap().authenticated_roles, ["a b", "\0", "'\"", ""]);
        assert!(dbos.send(handle.id(), &value).await.unwrap());
        assert_eq!(fresh.scalar("SELECT count(*) FROM notifications").await, 1);
    }
}

async fn times(ctx: Ctx, _: ()) -> Result<Vec<String>, Error> {
    let said = |result: Result<(), Error>| {
        result.map_or_else(|error| format!("{:?}: {error}", error.kind()), |()| "ok".to_owned())
    };
    let me = ctx.workflow_id().clone();
    Ok(vec![
        said(ctx.sleep(Duration::MAX).await),
        said(ctx.recv::<u32>("t").timeout(Duration::MAX).await.map(drop)),
        said(ctx.get_event::<u32>(&me, "key").timeout(Duration::MAX).await.map(drop)),
        said(ctx.step("instant", || async { Ok(()) }).timeout(Duration::ZERO).await),
        said(ctx.step("patient", || async { Ok(()) }).timeout(Duration::MAX).await),
        said(ctx.sleep(Duration::ZERO).await),
        said(ctx.get_event::<u32>(&me, "key").timeout(Duration::ZERO).await.map(drop)),
    ])
}
