//! The orders, for everybody to see.

use axum::Json;
use dbos_axum::Path;

use super::connection::Connection;
use crate::db::orders::{self, Order};
use crate::error::ShopError;

/// `GET /orders`, newest first
pub(crate) async fn list(mut db: Connection) -> Result<Json<Vec<Order>>, ShopError> {
    Ok(Json(orders::newest(&mut db).await?))
}

/// `GET /order/{id}`
pub(crate) async fn show(Path(id): Path<i64>, mut db: Connection) -> Result<Json<Order>, ShopError> {
    let order = orders::find(&mut db, id).await?;
    order.map(Json).ok_or(ShopError::NoSuchOrder(id))
}
