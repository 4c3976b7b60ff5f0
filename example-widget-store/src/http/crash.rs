//! The button that crashes the shop, to see it come back.

use std::process;
use std::thread;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::app::AppState;
use crate::error::ShopError;

/// Long enough for the answer to leave.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// `GET /demo`: whether there is the button
pub(crate) async fn demo(State(app): State<AppState>) -> Json<Value> {
    Json(json!({ "crash": app.settings.crash }))
}

/// `POST /crash_application`
pub(crate) async fn crash(State(app): State<AppState>) -> Result<Json<Value>, ShopError> {
    if !app.settings.crash {
        return Err(ShopError::NoSuchPage);
    }
    tracing::warn!("crashing, as asked");
    thread::spawn(|| {
        thread::sleep(LAST_WORDS);
        process::exit(1)
    });
    Ok(Json(json!({ "message": "Crashing the shop." })))
}
