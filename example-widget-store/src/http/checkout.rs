//! Start of a purchase, once per key.

use axum::extract::State;
use dbos_axum::{DbosCtx, IdempotencyKey, Path};

use super::event::wait_for;
use super::visitor::Visitor;
use crate::error::ShopError;
use crate::state::AppState;
use crate::workflows::checkout::{PAYMENT_ID, checkout};

/// `POST /checkout/{key}`
pub(crate) async fn by_path(
    visitor: Visitor,
    ctx: DbosCtx,
    State(app): State<AppState>,
    Path(key): Path<IdempotencyKey>,
) -> Result<String, ShopError> {
    start(&ctx.on_behalf_of(&visitor).with_key(key), &app).await
}

/// `POST /checkout` with the header `Idempotency-Key`
pub(crate) async fn by_header(
    visitor: Visitor,
    ctx: DbosCtx,
    State(app): State<AppState>,
) -> Result<String, ShopError> {
    start(&ctx.on_behalf_of(&visitor).require_key(), &app).await
}

/// Starts the purchase, or finds the visitor's one of this key, and says what to pay for.
///
/// A customer who leaves meanwhile loses nothing: the purchase goes on, and its key finds it again.
async fn start(ctx: &DbosCtx, app: &AppState) -> Result<String, ShopError> {
    let purchase = ctx.start(checkout, ()).await?;
    let payment_id: Option<String> = wait_for(ctx, purchase.id(), PAYMENT_ID, app).await?;
    payment_id.ok_or(ShopError::SoldOut)
}
