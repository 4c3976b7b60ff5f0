//! The endpoints of the contract.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use dbos_runtime::{Arguments, Dbos, Error, ErrorKind, Filter, StepFilter, WorkflowHandle, WorkflowRef};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::contract::{CLASS, DATE, DRIVER, INSTANCE, Peer, TOPIC};
use crate::workflows::{Driven, ECHO_OF_PEER, Failure, Passed};

pub(crate) fn router(dbos: Dbos) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/enqueue/{target}", post(enqueue))
        .route("/enqueue-async/{target}", post(enqueue_async))
        .route("/interop/{target}", post(interop))
        .route("/workflow/{id}", get(workflow))
        .route("/workflows", get(workflows))
        .route("/steps/{id}", get(steps))
        .with_state(dbos)
}

/// The queues are worked on since the launch, which came before the first request.
async fn healthz(State(dbos): State<Dbos>) -> Result<Json<Value>, Refused> {
    dbos.ping().await?;
    Ok(Json(json!({"status": "ok"})))
}

async fn enqueue(
    State(dbos): State<Dbos>,
    Path(target): Path<String>,
    Json(arguments): Json<Passed>,
) -> Result<Json<Value>, Refused> {
    let target = peer(&target)?;
    let echo = start(&dbos, target, target, arguments).await?;
    Ok(Json(echo.result().await?))
}

#[derive(Deserialize)]
struct Owner {
    owner: Option<String>,
}

async fn enqueue_async(
    State(dbos): State<Dbos>,
    Path(target): Path<String>,
    Query(Owner { owner }): Query<Owner>,
    Json(arguments): Json<Passed>,
) -> Result<Json<Value>, Refused> {
    let target = peer(&target)?;
    let owner = owner.as_deref().map_or(Ok(target), peer)?;
    let echo = start(&dbos, target, owner, arguments).await?;
    Ok(Json(json!({"childId": echo.id()})))
}

/// Enqueues the target's echo for `owner`, and sends it its date.
async fn start(
    dbos: &Dbos,
    target: Peer,
    owner: Peer,
    arguments: Passed,
) -> Result<WorkflowHandle<Value>, Error> {
    let echo = dbos
        .start(ECHO_OF_PEER, Arguments::from(arguments))
        .queue(&target.queue())
        .class_name(CLASS)
        .config_name(INSTANCE)
        .application(&owner.application())
        .application_version(&target.version())
        .await?;
    dbos.send(echo.id(), DATE).topic(TOPIC).await?;
    Ok(echo)
}

async fn interop(
    State(dbos): State<Dbos>,
    Path(target): Path<String>,
    Json(arguments): Json<Passed>,
) -> Result<Json<Driven>, Refused> {
    const DRIVE: WorkflowRef<(Peer, Passed), Driven, Failure> = WorkflowRef::named(DRIVER);
    let driver = dbos.start(DRIVE, (peer(&target)?, arguments)).await?;
    Ok(Json(driver.result().await?))
}

async fn workflow(State(dbos): State<Dbos>, Path(id): Path<String>) -> Result<Json<Value>, Refused> {
    let info = dbos.workflows().info(id).await?;
    Ok(Json(json!({
        "workflowId": info.id,
        "name": info.name,
        "status": info.status_text,
        "queueName": info.queue_name,
        "applicationName": info.application_name,
        "applicationVersion": info.application_version,
        "parentWorkflowId": info.parent_workflow_id,
        "executorId": info.executor_id,
    })))
}

#[derive(Deserialize)]
struct Listed {
    application_name: Option<String>,
}

async fn workflows(
    State(dbos): State<Dbos>,
    Query(Listed { application_name }): Query<Listed>,
) -> Result<Json<Value>, Refused> {
    let filter = application_name.map_or_else(Filter::new, |name| Filter::new().applications([name]));
    let found = dbos.workflows().list(&filter).await?;
    let rows = found.into_iter().map(
        |info| json!({"workflowId": info.id, "name": info.name, "applicationName": info.application_name}),
    );
    Ok(Json(rows.collect()))
}

async fn steps(State(dbos): State<Dbos>, Path(id): Path<String>) -> Result<Json<Value>, Refused> {
    let found = dbos.workflows().steps(id, &StepFilter::new().without_output()).await?;
    let rows = found.into_iter().map(|step| {
        json!({"functionId": step.number, "functionName": step.name, "childWorkflowId": step.child_workflow_id})
    });
    Ok(Json(rows.collect()))
}

fn peer(language: &str) -> Result<Peer, Refused> {
    Peer::of(language).ok_or_else(|| Refused(StatusCode::BAD_REQUEST, format!("unknown target {language:?}")))
}

/// A failed request: its status, and what its body says.
struct Refused(StatusCode, String);

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::NonExistentWorkflow => StatusCode::NOT_FOUND,
            ErrorKind::InvalidArgument => StatusCode::BAD_REQUEST,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.to_string())
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Runtime(error) => error.into(),
            own => Self(StatusCode::INTERNAL_SERVER_ERROR, own.to_string()),
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}
