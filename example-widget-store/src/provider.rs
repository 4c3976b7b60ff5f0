//! A payment provider to play with. No money moves.
//!
//! It knows the shop as a real one would: by the address of a webhook, and a secret that both have. The customer decides
//! here, and the shop is told over HTTP, in a message that is signed as Standard Webhooks says.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Request, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbos_axum::{Path, Problem, WorkflowId};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use crate::secret::Secret;

/// The shop takes the news at once, or it is tried again.
const PATIENCE: Duration = Duration::from_secs(15);

/// The routes of the provider: `POST /provider/payments/{payment_id}/{decision}`, where the decision is `paid` or
/// `failed`.
///
/// The shop's webhook is at that address.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(webhook: &str, secret: &Secret) -> Router<S> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let provider = Provider { webhook: webhook.to_owned(), secret: secret.clone(), client };
    Router::new()
        .route("/provider/payments/{payment_id}/{decision}", post(decide))
        .with_state(Arc::new(provider))
}

#[derive(Debug)]
struct Provider {
    webhook: String,
    secret: Secret,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// What the customer has decided.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Decision {
    #[serde(rename(serialize = "payment.paid", deserialize = "paid"))]
    Paid,
    #[serde(rename(serialize = "payment.failed", deserialize = "failed"))]
    Failed,
}

/// What the shop is told.
#[derive(Debug, Serialize)]
struct Event<'a> {
    r#type: Decision,
    data: Payment<'a>,
}

#[derive(Debug, Serialize)]
struct Payment<'a> {
    payment_id: &'a str,
}

/// Answers when the shop has taken the news.
async fn decide(
    State(provider): State<Arc<Provider>>,
    Path((payment_id, decision)): Path<(WorkflowId, Decision)>,
) -> Result<StatusCode, Problem> {
    let event = Event { r#type: decision, data: Payment { payment_id: payment_id.as_str() } };
    let body = serde_json::to_string(&event).map_err(|error| trouble(&error))?;
    let answer = provider.tell(&body).await?;
    if !answer.is_success() {
        return Err(trouble(&format!("it answered {answer}")));
    }
    Ok(StatusCode::ACCEPTED)
}

impl Provider {
    /// Sends a signed message.
    async fn tell(&self, body: &str) -> Result<StatusCode, Problem> {
        // The same news has the same id, however often it is sent: that is how the shop knows what it has heard already.
        let id = Sha256::digest(body).iter().take(16).fold("msg_".to_owned(), |mut id, byte| {
            // Writing to a string does not fail.
            let _ = write!(id, "{byte:02x}");
            id
        });
        let now = now_s();
        let request = Request::post(&self.webhook)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-signature", self.sign(&format!("{id}.{now}.{body}"))?)
            .header("webhook-id", id)
            .header("webhook-timestamp", now)
            .body(Full::from(body.to_owned()))
            .map_err(|error| trouble(&error))?;
        match timeout(PATIENCE, self.client.request(request)).await {
            Ok(answer) => Ok(answer.map_err(|error| trouble(&error))?.status()),
            Err(silence) => Err(trouble(&silence)),
        }
    }

    fn sign(&self, content: &str) -> Result<String, Problem> {
        let secret = self.secret.reveal();
        let key = STANDARD
            .decode(secret.strip_prefix("whsec_").unwrap_or(secret))
            .map_err(|error| trouble(&error))?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|error| trouble(&error))?;
        mac.update(content.as_bytes());
        Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    }
}

#[expect(clippy::disallowed_methods, reason = "another company's clock")]
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The customer may try again.
fn trouble(error: &dyn std::fmt::Display) -> Problem {
    tracing::warn!(%error, "the provider cannot tell the shop");
    Problem::new(StatusCode::BAD_GATEWAY).with_detail("The shop does not take the news about the payment.")
}
