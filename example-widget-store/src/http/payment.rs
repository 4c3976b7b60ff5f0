//! What the payment provider tells the shop.

use std::time::Duration;

use dbos_axum::webhooks::{Deliver, Misconfigured, StandardWebhooks, Webhooks};
use dbos_runtime::Dbos;
use serde::Deserialize;

use crate::secret::Secret;
use crate::workflows::checkout::{FAILED, PAID, PAYMENT_STATUS};

/// Nobody can pay before the purchase is there, so news about another one is not kept for long.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Deserialize)]
struct Event {
    r#type: String,
    data: Payment,
}

#[derive(Debug, Deserialize)]
struct Payment {
    payment_id: String,
}

/// `POST /hooks/payments`, for whoever has the secret.
pub(crate) fn webhooks(dbos: &Dbos, secret: &Secret) -> Result<Webhooks, Misconfigured> {
    let scheme = StandardWebhooks::new(secret.reveal())?;
    Ok(Webhooks::new(dbos.clone()).source("payments", scheme, decided).patience(PATIENCE))
}

/// The id of a payment is the id of the workflow that waits for it. The first decision counts: the workflow asks once.
fn decided(event: Event) -> Deliver {
    let decision = match event.r#type.as_str() {
        "payment.paid" => PAID,
        "payment.failed" => FAILED,
        _ => return Deliver::ignore(),
    };
    Deliver::send(event.data.payment_id, PAYMENT_STATUS, decision)
}
