//! What the HTTP layer holds against each threat of the table in `docs/guide/security.md`, by its number.

mod callers;
mod inputs;
mod outages;
mod requests;
mod secrets;
mod sockets;

use dbos_axum::{AllowAnyone, BearerToken, Tokens, WorkflowApi};
use http::Method;

use super::*;

const ADAS: &str = "adas-token-0123456789";
const BOBS: &str = "bobs-token-0123456789";

fn tokens() -> Tokens {
    let tokens = Tokens::new().add(Principal::new("ada").with_roles(["buyer"]), ADAS).unwrap();
    tokens.add(Principal::new("bob"), BOBS).unwrap()
}

/// The API with two of the three workflows exposed, for callers who have a token.
fn api(dbos: &Dbos) -> Client {
    let api = WorkflowApi::<BearerToken>::new(dbos.clone()).expose(checkout).expose(parked);
    let router = Router::new().nest("/dbos", api.into_router()).with_state(tokens());
    Client::new(router.fallback(dbos_axum::not_found))
}

/// Each route, with this workflow in the place of any.
fn routes(id: &str) -> Vec<(Method, String)> {
    let filled = |(method, path): (Method, &str)| {
        let path = path.replace("{id}", id).replace("{name}", "checkout");
        (method, format!("/dbos{}", path.replace("{key}", "given").replace("{topic}", "unheard")))
    };
    let routes: Vec<_> = WorkflowApi::<BearerToken>::routes().map(filled).collect();
    assert!(routes.len() >= 8, "{routes:?}");
    assert!(routes.iter().all(|(_, path)| !path.contains('{')), "{routes:?}");
    routes
}

/// A request of somebody.
fn of(client: &Client, token: &str, method: &Method, path: &str) -> harness::http::Request {
    client.request(method.clone(), path).header("authorization", format!("Bearer {token}"))
}

/// The same with a body, where there is a use for one.
fn with_body(request: harness::http::Request, method: &Method) -> harness::http::Request {
    if method == Method::POST { request.json(&cart()) } else { request }
}

/// A workflow of Ada's that waits.
async fn parked_by_ada(client: &Client) -> String {
    let started = of(client, ADAS, &Method::POST, "/dbos/start/parked").json(&json!(7)).send().await;
    assert_eq!(started.status, StatusCode::ACCEPTED, "{}", started.text());
    let id = started.header("dbos-workflow-id").unwrap().to_owned();
    let event = format!("/dbos/workflows/{id}/events/nothing");
    let ready = of(client, ADAS, &Method::GET, &event).header("prefer", "wait=25").send().await;
    assert_eq!(ready.status, StatusCode::OK, "{}", ready.text());
    id
}

async fn count(fresh: &Fresh, from: &str) -> i64 {
    fresh.scalar(&format!("SELECT count(*) FROM {from}")).await
}
