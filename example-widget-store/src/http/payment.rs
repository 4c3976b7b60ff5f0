//! What the payment provider calls. The page's two buttons play the provider.

use axum::extract::{Path, State};
use dbos_runtime::WorkflowId;

use crate::app::AppState;
use crate::error::ShopError;
use crate::workflows::checkout::{DECISION, ORDER_ID, PAYMENT_STATUS};

/// `POST /payment_webhook/{payment_id}/{payment_status}`
///
/// Providers repeat themselves, so the message has a key: the first decision counts, and every call gets the order.
pub(crate) async fn webhook(
    State(app): State<AppState>,
    Path((payment_id, status)): Path<(WorkflowId, String)>,
) -> Result<String, ShopError> {
    app.dbos.send(&payment_id, &status).topic(PAYMENT_STATUS).idempotency_key(DECISION).await?;
    let order = app.dbos.get_event(&payment_id, ORDER_ID, app.settings.patience).await?;
    order.ok_or(ShopError::NoAnswerYet)
}
