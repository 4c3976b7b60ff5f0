//! A visitor's orders. Somebody else's are not there.

use axum::Json;
use dbos_axum::Path;
use serde::Serialize;

use super::connection::Connection;
use super::visitor::Visitor;
use crate::db::orders::{self, Order};
use crate::error::ShopError;
use crate::workflows::checkout::dispatch_of;
use crate::workflows::dispatch::PROGRESS;

/// An order, and where its dispatch can be followed.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    #[serde(flatten)]
    order: Order,
    progress_url: String,
}

impl From<Order> for Shown {
    fn from(order: Order) -> Self {
        let progress_url = format!("/dbos/workflows/{}/streams/{PROGRESS}", dispatch_of(&order.payment_id));
        Self { order, progress_url }
    }
}

/// `GET /orders`, newest first
pub(crate) async fn list(visitor: Visitor, mut db: Connection) -> Result<Json<Vec<Shown>>, ShopError> {
    let orders = orders::newest(&mut db, visitor.name()).await?;
    Ok(Json(orders.into_iter().map(Into::into).collect()))
}

/// `GET /order/{id}`
pub(crate) async fn show(
    visitor: Visitor,
    Path(id): Path<i64>,
    mut db: Connection,
) -> Result<Json<Shown>, ShopError> {
    let order = orders::find(&mut db, id, visitor.name()).await?;
    order.map(|order| Json(order.into())).ok_or(ShopError::NoSuchOrder(id))
}
