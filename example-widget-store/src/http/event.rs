//! Waiting for what a workflow publishes.

use dbos_axum::DbosCtx;
use dbos_runtime::WorkflowId;
use serde::de::DeserializeOwned;

use crate::error::ShopError;
use crate::state::AppState;

/// A purchase's event, as soon as it is published. Nothing is held meanwhile, and a shop that closes does not wait.
pub(crate) async fn wait_for<T: DeserializeOwned>(
    ctx: &DbosCtx,
    purchase: &WorkflowId,
    key: &str,
    app: &AppState,
) -> Result<T, ShopError> {
    tokio::select! {
        event = ctx.dbos().get_event(purchase, key, app.settings.patience) => event?.ok_or(ShopError::NoAnswerYet),
        () = ctx.shutdown_token().cancelled() => Err(ShopError::Closing),
    }
}
