//! The routes of the shop.

use axum::Router;
use axum::routing::{get, post};
use dbos_axum::{DbosLayer, WorkflowApi, method_not_allowed, not_found};

use crate::http;
use crate::http::visitor::Visitor;
use crate::state::AppState;

/// All routes of the shop.
pub fn app(state: AppState) -> Router {
    let layer = DbosLayer::new(state.dbos.clone());
    Router::new()
        .merge(http::page::routes())
        .route("/product", get(http::products::show))
        .route("/restock", post(http::products::restock))
        .route("/orders", get(http::orders::list))
        .route("/order/{id}", get(http::orders::show))
        .route("/checkout", post(http::checkout::by_header))
        .route("/checkout/{key}", post(http::checkout::by_path))
        .route("/payment_webhook/{payment_id}/{payment_status}", post(http::payment::webhook))
        .merge(http::crash::routes(&state.settings))
        .route("/healthz", get(http::health::check))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(layer.clone())
        .nest("/dbos", WorkflowApi::<Visitor>::new(layer).into_router())
        .with_state(state)
}
