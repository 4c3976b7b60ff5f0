//! What a router answers where it has nothing: as problems, like everything else.

use http::request::Parts;
use http::{Method, StatusCode};

use crate::problem::Problem;
use crate::seen::Seen;

/// A problem for a path that no route has. Give it to axum's `fallback`.
///
/// # Examples
///
/// ```
/// use axum::{Router, routing::get};
///
/// let app: Router = Router::new()
///     .route("/health", get(|| async { "ok" }))
///     .fallback(dbos_axum::not_found)
///     .method_not_allowed_fallback(dbos_axum::method_not_allowed);
/// # let _ = app;
/// ```
pub async fn not_found(parts: Parts) -> Problem {
    Problem::new(StatusCode::NOT_FOUND).within(&Seen::of(&parts))
}

/// A problem for a method that a route does not have. Give it to axum's `method_not_allowed_fallback`.
pub async fn method_not_allowed(method: Method, parts: Parts) -> Problem {
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED).within(&Seen::of(&parts));
    problem.with_detail(format!("The path has no method {method}."))
}
