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
    payment_id: String,
}

/// Writes a new order, and gives its number.
pub async fn create(db: &mut AnyConnection, payment_id: &str) -> sqlx::Result<i64> {
    let sql = "INSERT INTO orders (payment_id) VALUES ($1) RETURNING order_id";
    sqlx::query_scalar(sql).bind(payment_id).fetch_one(db).await
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

/// One order.
pub async fn find(db: &mut AnyConnection, order: i64) -> sqlx::Result<Option<Order>> {
    sqlx::query_as("SELECT * FROM orders_as_text WHERE order_id = $1").bind(order).fetch_optional(db).await
}

/// Whether an order waits, or has waited, for this payment.
pub async fn has_payment(db: &mut AnyConnection, payment_id: &str) -> sqlx::Result<bool> {
    let sql = "SELECT order_id FROM orders WHERE payment_id = $1";
    let order: Option<i64> = sqlx::query_scalar(sql).bind(payment_id).fetch_optional(db).await?;
    Ok(order.is_some())
}

/// The newest orders, newest first.
pub async fn newest(db: &mut AnyConnection) -> sqlx::Result<Vec<Order>> {
    let sql = "SELECT * FROM orders_as_text ORDER BY order_id DESC LIMIT $1";
    sqlx::query_as(sql).bind(PAGE).fetch_all(db).await
}
