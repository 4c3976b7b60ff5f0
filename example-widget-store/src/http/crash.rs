//! The button that crashes the shop, to see it come back.

use std::process;
use std::thread;
use std::time::Duration;

use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::settings::Settings;
use crate::state::AppState;

/// Long enough for the answer to leave.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// `GET /demo` says whether there is `POST /crash_application`
pub(crate) fn routes(settings: &Settings) -> Router<AppState> {
    let demo = json!({ "crash": settings.crash });
    let routes = Router::new().route("/demo", get(async || Json(demo)));
    if settings.crash { routes.route("/crash_application", post(crash)) } else { routes }
}

async fn crash() -> Json<Value> {
    tracing::warn!("crashing, as asked");
    thread::spawn(|| {
        thread::sleep(LAST_WORDS);
        process::exit(1)
    });
    Json(json!({ "message": "Crashing the shop." }))
}
