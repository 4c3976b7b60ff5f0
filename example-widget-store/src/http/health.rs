//! For whoever watches over the shop.

use axum::extract::State;

use crate::error::ShopError;
use crate::state::AppState;

/// `GET /healthz`: whether the shop can work, which it cannot without its database
pub(crate) async fn check(State(app): State<AppState>) -> Result<&'static str, ShopError> {
    app.dbos.ping().await?;
    Ok("ok")
}
