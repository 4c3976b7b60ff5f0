//! What the payment provider calls. The page's two buttons play the provider.

use axum::extract::State;
use dbos_axum::{DbosCtx, Path};
use dbos_runtime::WorkflowId;

use super::connection::Connection;
use super::event::wait_for;
use crate::db::orders;
use crate::error::ShopError;
use crate::state::AppState;
use crate::workflows::checkout::{DECISION, ORDER_ID, PAYMENT_STATUS};

/// `POST /payment_webhook/{payment_id}/{payment_status}`
///
/// Providers repeat themselves, so the message has a key: the first decision counts, and every call gets the order.
pub(crate) async fn webhook(
    ctx: DbosCtx,
    State(app): State<AppState>,
    Path((payment_id, status)): Path<(WorkflowId, String)>,
    mut db: Connection,
) -> Result<String, ShopError> {
    if !orders::has_payment(&mut db, payment_id.as_str()).await? {
        return Err(ShopError::NoSuchPayment(payment_id));
    }
    drop(db);
    ctx.dbos().send(&payment_id, &status).topic(PAYMENT_STATUS).idempotency_key(DECISION).await?;
    wait_for(&ctx, &payment_id, ORDER_ID, &app).await
}
