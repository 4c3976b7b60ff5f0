//! The shelf: what the shop sells, and how many there are.

use serde::Serialize;
use sqlx::{AnyConnection, FromRow};

/// The one product of this shop.
const WIDGET: i64 = 1;
/// How many fit on the shelf.
const FULL: i64 = 100;

/// A product as the shop shows it.
#[derive(Debug, Serialize, FromRow)]
pub struct Product {
    product_id: i64,
    product: String,
    description: String,
    inventory: i64,
    /// A decimal number as text: a float would turn 99.99 into 99.98999….
    price: String,
}

/// The widget.
pub async fn product(db: &mut AnyConnection) -> sqlx::Result<Product> {
    sqlx::query_as("SELECT * FROM products_as_text WHERE product_id = $1").bind(WIDGET).fetch_one(db).await
}

/// Takes one widget from the shelf; `false` when the shelf is empty.
pub async fn reserve(db: &mut AnyConnection) -> sqlx::Result<bool> {
    let sql = "UPDATE products SET inventory = inventory - 1 WHERE product_id = $1 AND inventory > 0";
    let taken = sqlx::query(sql).bind(WIDGET).execute(db).await?;
    Ok(taken.rows_affected() > 0)
}

/// Puts one widget back on the shelf.
pub async fn put_back(db: &mut AnyConnection) -> sqlx::Result<()> {
    let sql = "UPDATE products SET inventory = inventory + 1 WHERE product_id = $1";
    sqlx::query(sql).bind(WIDGET).execute(db).await?;
    Ok(())
}

/// Fills the shelf.
pub async fn restock(db: &mut AnyConnection) -> sqlx::Result<()> {
    let sql = "UPDATE products SET inventory = $1 WHERE product_id = $2";
    sqlx::query(sql).bind(FULL).bind(WIDGET).execute(db).await?;
    Ok(())
}
