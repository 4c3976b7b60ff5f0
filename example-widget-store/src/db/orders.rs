//! The orders, and how far each one is.

use serde::Serialize;
use sqlx::{AnyConnection, FromRow};

/// How many orders a list holds at most.
const PAGE: i64 = 1000;

/// Where an order stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Nobody paid for it, or nothing was left.
    Cancelled = -1,
    /// Waits for its payment.
    Pending = 0,
    /// On its way to the customer.
    Dispatched = 1,
    /// Paid, and being dispatched.
    Paid = 2,
}

/// An order as the shop shows it.
#[derive(Debug, Serialize, FromRow)]
pub struct Order {
    order_id: i64,
    order_status: i64,
    last_update_time: String,
    progress_remaining: i64,
    /// The id of the workflow that makes the purchase.
    pub payment_id: String,
}

/// Writes a new order, and gives its number.
pub async fn create(db: &mut AnyConnection, payment_id: &str, owner: &str) -> sqlx::Result<i64> {
    let sql = "INSERT INTO orders (payment_id, owner) VALUES ($1, $2) RETURNING order_id";
    sqlx::query_scalar(sql).bind(payment_id).bind(owner).fetch_one(db).await
}

/// Moves an order to another status.
pub async fn set_status(db: &mut AnyConnection, order: i64, status: Status) -> sqlx::Result<()> {
    let sql = "UPDATE orders SET order_status = $1, last_update_time = CURRENT_TIMESTAMP WHERE order_id = $2";
    sqlx::query(sql).bind(status as i64).bind(order).execute(db).await?;
    Ok(())
}

/// Takes an order one tick nearer to its customer. The last tick makes it [`Status::Dispatched`].
pub async fn advance(db: &mut AnyConnection, order: i64) -> sqlx::Result<()> {
    let sql = "UPDATE orders SET \
               progress_remaining = progress_remaining - 1, \
               order_status = CASE progress_remaining WHEN 1 THEN $1 ELSE order_status END, \
               last_update_time = CURRENT_TIMESTAMP \
               WHERE order_id = $2";
    sqlx::query(sql).bind(Status::Dispatched as i64).bind(order).execute(db).await?;
    Ok(())
}

/// One order of that owner's.
pub async fn find(db: &mut AnyConnection, order: i64, owner: &str) -> sqlx::Result<Option<Order>> {
    let sql = "SELECT * FROM orders_as_text WHERE order_id = $1 AND owner = $2";
    sqlx::query_as(sql).bind(order).bind(owner).fetch_optional(db).await
}

/// The newest orders of that owner's, newest first.
pub async fn newest(db: &mut AnyConnection, owner: &str) -> sqlx::Result<Vec<Order>> {
    let sql = "SELECT * FROM orders_as_text WHERE owner = $1 ORDER BY order_id DESC LIMIT $2";
    sqlx::query_as(sql).bind(owner).bind(PAGE).fetch_all(db).await
}
