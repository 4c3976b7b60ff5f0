//! The page, built into the binary.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;

use super::visitor;
use crate::state::AppState;

/// The page, its script and its style. Who opens the page is a visitor from then on
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/", get(index))
        .route(
            "/app.js",
            get(async || file("text/javascript; charset=utf-8", include_str!("../../html/app.js"))),
        )
        .route(
            "/style.css",
            get(async || file("text/css; charset=utf-8", include_str!("../../html/style.css"))),
        )
        .route("/favicon.ico", get(StatusCode::NO_CONTENT))
}

async fn index(headers: HeaderMap) -> impl IntoResponse {
    (visitor::greeting(&headers), file("text/html; charset=utf-8", include_str!("../../html/index.html")))
}

fn file(content_type: &'static str, content: &'static str) -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "private, no-cache"),
        (CONTENT_SECURITY_POLICY, "default-src 'self'"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, content)
}
