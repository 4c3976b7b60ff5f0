//! Start of a purchase, once per key.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use dbos_runtime::WorkflowId;

use crate::app::AppState;
use crate::error::ShopError;
use crate::workflows::checkout::{self, PAYMENT_ID};

/// `POST /checkout/{key}`
pub(crate) async fn by_path(State(app): State<AppState>, Path(key): Path<String>) -> Result<String, ShopError> {
    checkout(&app, WorkflowId::parse(key)?).await
}

/// `POST /checkout` with the header `Idempotency-Key`
pub(crate) async fn by_header(State(app): State<AppState>, headers: HeaderMap) -> Result<String, ShopError> {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).ok_or(ShopError::NoKey)?;
    checkout(&app, WorkflowId::parse(key)?).await
}

/// Starts the purchase or finds the one of this key, and says where to pay.
///
/// A client that hangs up meanwhile loses nothing: the purchase goes on, and the key finds it again.
async fn checkout(app: &AppState, key: WorkflowId) -> Result<String, ShopError> {
    let purchase = app.dbos.start(checkout::checkout, ()).id(key.as_str()).await?;
    match app.dbos.get_event(purchase.id(), PAYMENT_ID, app.settings.patience).await? {
        Some(Some(payment_id)) => Ok(payment_id),
        Some(None) => Err(ShopError::SoldOut),
        None => Err(ShopError::NoAnswerYet),
    }
}
