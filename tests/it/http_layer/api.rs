//! The workflow API, route by route.

mod access;
mod bodies;
mod options;
mod outcomes;
mod signals;
mod starts;

use dbos_axum::{AllowAnyone, Exposed, StartOption, WorkflowApi};
use dbos_runtime::{Builder, Registration, WorkflowStatus};
use harness::{on_each_backend, until};

use super::*;

/// The caller, by the word of a header; refused without it.
struct User(Principal);

impl<S: Send + Sync> FromRequestParts<S> for User {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Caller::from_request_parts(parts, state).await {
            Ok(Caller(principal)) if !principal.is_anonymous() => Ok(Self(principal)),
            Ok(_) => Err(Problem::new(StatusCode::UNAUTHORIZED)),
        }
    }
}

impl IntoPrincipal for User {
    fn principal(&self) -> Principal {
        self.0.clone()
    }
}

/// Has a child that ends at once.
#[workflow]
async fn family(ctx: Ctx, cart: Cart) -> Result<Receipt, ShopError> {
    ctx.start(checkout, cart).await?.result().await
}

/// A runtime with the workflows that the tests expose, and some that they do not.
async fn launch(url: &str) -> Dbos {
    builder(url).launch().await.unwrap()
}

fn builder(url: &str) -> Builder<()> {
    let builder = Dbos::builder("http-tests").database_url(url).application_version("v1");
    let builder = builder.polling_interval(Duration::from_millis(50)).patience(harness::PATIENCE);
    builder
        .state(())
        .register(checkout)
        .register(refund)
        .register(parked)
        .register(family)
        .register_fn("sum", async |_: RuntimeCtx, (a, b): (i64, i64)| Ok::<_, Error>(a + b))
        .register_fn("nothing", async |_: RuntimeCtx, _: ()| Ok::<_, Error>(()))
        .register_fn("dbos.internal", async |_: RuntimeCtx, _: ()| Ok::<_, Error>(()))
        .register_fn(Registration::named("audit").roles(["auditor"]), async |_: RuntimeCtx, _: ()| {
            Ok::<_, Error>(())
        })
}

/// What most tests expose.
fn api(layer: impl Into<DbosLayer>) -> WorkflowApi<User> {
    WorkflowApi::new(layer).expose(checkout).expose(parked).expose_as("money-back", refund)
}

/// A client of an application with that API.
fn client_of(api: WorkflowApi<User>) -> Client {
    Client::new(Router::new().nest("/dbos", api.into_router()))
}

/// A runtime and a client of its API.
async fn served(fresh: &Fresh) -> (Dbos, Client) {
    let dbos = launch(fresh.url()).await;
    let client = client_of(api(dbos.clone()));
    (dbos, client)
}

/// A request of Ada's.
fn ada(request: harness::http::Request) -> harness::http::Request {
    request.header("x-user", "ada")
}

/// A start by Ada; gives the workflow's id.
async fn started(client: &Client, name: &str, input: &Value) -> String {
    let response = ada(client.post(format!("/dbos/start/{name}"))).json(input).send().await;
    assert_eq!(response.status, StatusCode::ACCEPTED, "{}", response.text());
    response.header("dbos-workflow-id").unwrap().to_owned()
}

/// Ada's look at something of a workflow.
async fn shown(client: &Client, id: &str, below: &str) -> Response {
    ada(client.get(format!("/dbos/workflows/{id}{below}"))).send().await
}

/// The end of a workflow, as Ada is told of it.
async fn ended(client: &Client, id: &str) -> Value {
    let request = ada(client.get(format!("/dbos/workflows/{id}/result"))).header("prefer", "wait=20");
    let response = request.send().await;
    assert_eq!(response.status, StatusCode::OK, "{}", response.text());
    response.json()
}

/// Lets a parked workflow go on.
async fn go(client: &Client, id: &str) {
    let told = ada(client.post(format!("/dbos/workflows/{id}/messages/go"))).json(&json!(null)).send().await;
    assert_eq!(told.status, StatusCode::ACCEPTED, "{}", told.text());
}

/// The number of workflows.
async fn workflows(fresh: &Fresh) -> i64 {
    fresh.scalar("SELECT count(*) FROM workflow_status").await
}
