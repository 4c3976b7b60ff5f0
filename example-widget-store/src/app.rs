//! The routes of the shop.

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use dbos_axum::{
    Admin, BearerToken, DbosLayer, Metrics, MetricsPage, Problem, ReadOnly, WorkflowApi, method_not_allowed,
    not_found,
};
use tower_http::csrf::CsrfLayer;

use crate::error::StartError;
use crate::http::visitor::Visitor;
use crate::state::AppState;
use crate::{http, provider};

/// All routes of the shop.
///
/// # Errors
///
/// The secret of the webhook is too easy to guess, or something else in this process counts requests.
pub fn app(state: AppState) -> Result<Router, StartError> {
    // Visitors look at their workflows and do nothing else: a message would be a payment that nobody made, and a cancelled
    // purchase would keep its widget.
    let layer = DbosLayer::new(state.dbos.clone()).policy(ReadOnly);
    let admin = Admin::<BearerToken>::new(state.dbos.clone());
    let metrics = MetricsPage::<BearerToken>::new(Metrics::install(state.dbos.clone())?);
    let webhooks = http::payment::webhooks(&state.dbos, &state.webhook_secret)?;
    let webhook_url = format!("{}/in/hooks/payments", state.settings.shop_url);
    let app = Router::new()
        .merge(http::page::routes())
        .route("/product", get(http::products::show))
        .route("/restock", post(http::products::restock))
        .route("/orders", get(http::orders::list))
        .route("/order/{id}", get(http::orders::show))
        .route("/checkout", post(http::checkout::by_header))
        .route("/checkout/{key}", post(http::checkout::by_path))
        .merge(provider::routes(&webhook_url, &state.webhook_secret))
        .merge(http::crash::routes(&state.settings))
        .route("/healthz", get(http::health::check))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(layer.clone())
        .nest("/dbos", WorkflowApi::<Visitor>::new(layer).into_router())
        .nest("/in", webhooks.into_router()?)
        .nest("/admin", admin.into_router())
        .nest("/ops", metrics.into_router())
        .layer(CsrfLayer::new().with_rejection_response(|_| forged()))
        .with_state(state);
    Ok(app)
}

/// Cookies come along with what another site's page sends, too.
fn forged() -> Response {
    Problem::new(StatusCode::FORBIDDEN)
        .with_detail("The request comes from another site's page.")
        .into_response()
}
