//! Path parameters whose refusals are problems.

use axum::extract::FromRequestParts;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use http::StatusCode;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::problem::{self, Problem};
use crate::seen::Seen;

/// The parameters of a path, as axum's type of the name, whose refusals are problems: 400 for a parameter that is not
/// of its type.
///
/// # Examples
///
/// ```
/// use axum::{Router, routing::get};
/// use dbos_axum::{Path, WorkflowId};
///
/// async fn show(Path((id, step)): Path<(WorkflowId, u32)>) -> String {
///     format!("{} {step}", id.as_str())
/// }
/// # let _: Router = Router::new().route("/workflows/{id}/steps/{step}", get(show));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Path<T>(pub T);

impl<T, S> FromRequestParts<S> for Path<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(value)| Self(value))
            .map_err(|rejection| refused(rejection).within(&Seen::of(parts)))
    }
}

fn refused(rejection: PathRejection) -> Problem {
    let detail = match rejection {
        PathRejection::FailedToDeserializePathParams(failed)
            if failed.status() == StatusCode::BAD_REQUEST =>
        {
            match failed.into_kind() {
                ErrorKind::DeserializeError { key, message, .. } => format!("`{key}` in the path: {message}"),
                ErrorKind::ParseErrorAtKey { key, .. } | ErrorKind::InvalidUtf8InPathParam { key } => {
                    format!("`{key}` in the path is not valid.")
                }
                ErrorKind::Message(message) => format!("The path: {message}"),
                _ => "A parameter in the path is not valid.".to_owned(),
            }
        }
        rejection => {
            tracing::error!(%rejection, "a handler asks for other parameters than its route has");
            return Problem::new(StatusCode::INTERNAL_SERVER_ERROR);
        }
    };
    Problem::of(problem::INVALID_ARGUMENT).with_detail(detail)
}
