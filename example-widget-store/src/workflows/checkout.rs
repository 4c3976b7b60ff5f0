//! One purchase: an order, a widget from the shelf, a payment. Without the payment, everything goes back.

use dbos_runtime::{IsolationLevel, Result, TransactionOptions, workflow};
use serde_json::Value;

use super::Ctx;
use super::dispatch::dispatch_order;
use crate::db::orders::Status;
use crate::db::{inventory, orders};

// ---- Params -----------------------------------------------------------------------------------------------------

/// The event that tells the shop where to pay; null when nothing is left to pay for.
pub const PAYMENT_ID: &str = "payment_id";
/// The event that tells the shop, at the end, which order it was.
pub const ORDER_ID: &str = "order_id";
/// The topic of the message about the payment.
pub const PAYMENT_STATUS: &str = "payment_status";
/// That message when the money is there.
pub const PAID: &str = "paid";
/// That message when it will not come.
pub const FAILED: &str = "failed";

// ---- Steps ------------------------------------------------------------------------------------------------------

async fn create_order(ctx: &Ctx) -> Result<i64> {
    let payment_id = ctx.workflow_id().clone();
    let owner = ctx.authenticated_user().unwrap_or_default().to_owned();
    let create = async move |tx: &mut _| Ok(orders::create(tx, payment_id.as_str(), &owner).await?);
    ctx.transaction(&ctx.state().db, "create_order", create).await
}

async fn reserve_inventory(ctx: &Ctx) -> Result<bool> {
    // All customers want this one row. The statement is right at any level, and at this one they queue for the row
    // instead of trying again and again.
    let queueing = TransactionOptions::named("reserve_inventory").isolation(IsolationLevel::ReadCommitted);
    ctx.transaction(&ctx.state().db, queueing, async |tx| Ok(inventory::reserve(tx).await?)).await
}

async fn wait_for_payment(ctx: &Ctx) -> Result<bool> {
    let status = ctx.recv::<String>(PAYMENT_STATUS).timeout(ctx.state().payment_timeout).await?;
    Ok(status.is_some_and(|status| status == PAID))
}

async fn mark_paid(ctx: &Ctx, order: i64) -> Result<()> {
    let mark = async move |tx: &mut _| Ok(orders::set_status(tx, order, Status::Paid).await?);
    ctx.transaction(&ctx.state().db, "mark_paid", mark).await
}

/// The id of a purchase's dispatch. A customer's key has no `::`, so nobody can take this id before.
pub fn dispatch_of(payment_id: &str) -> String {
    format!("{payment_id}::dispatch")
}

// ---- Body -------------------------------------------------------------------------------------------------------

/// Sells one widget. Its id is the id of the payment.
#[workflow]
pub async fn checkout(ctx: Ctx) -> Result<()> {
    let order = create_order(&ctx).await?;
    if reserve_inventory(&ctx).await? {
        ctx.set_event(PAYMENT_ID, ctx.workflow_id()).await?;
        if wait_for_payment(&ctx).await? {
            mark_paid(&ctx, order).await?;
            ctx.start(dispatch_order, order).id(dispatch_of(ctx.workflow_id().as_str())).await?;
        } else {
            undo_reserve_inventory(&ctx).await?;
            cancel_order(&ctx, order).await?;
        }
    } else {
        cancel_order(&ctx, order).await?;
        ctx.set_event(PAYMENT_ID, &Value::Null).await?;
    }
    ctx.set_event(ORDER_ID, &order.to_string()).await
}

// ---- Undo -------------------------------------------------------------------------------------------------------

async fn undo_reserve_inventory(ctx: &Ctx) -> Result<()> {
    ctx.transaction(&ctx.state().db, "undo_reserve_inventory", async |tx| Ok(inventory::put_back(tx).await?))
        .await
}

async fn cancel_order(ctx: &Ctx, order: i64) -> Result<()> {
    let cancel = async move |tx: &mut _| Ok(orders::set_status(tx, order, Status::Cancelled).await?);
    ctx.transaction(&ctx.state().db, "cancel_order", cancel).await
}
