//! The product, and the button that fills the shelf.

use axum::Json;
use serde_json::{Value, json};

use super::connection::Connection;
use crate::db::inventory::{self, Product};
use crate::error::ShopError;

/// `GET /product`
pub(crate) async fn show(mut db: Connection) -> Result<Json<Product>, ShopError> {
    Ok(Json(inventory::product(&mut db).await?))
}

/// `POST /restock`
pub(crate) async fn restock(mut db: Connection) -> Result<Json<Value>, ShopError> {
    inventory::restock(&mut db).await?;
    Ok(Json(json!({ "message": "The shelf is full." })))
}
