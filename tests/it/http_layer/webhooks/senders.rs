//! Senders, with signatures that are made here.

use base64::Engine as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

pub(super) const SECRET: &str = "a-secret-of-the-tests-0123456789";

#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Sender {
    Standard,
    Stripe,
    GitHub,
    Custom,
}

impl Sender {
    pub(super) const ALL: [Self; 4] = [Self::Standard, Self::Stripe, Self::GitHub, Self::Custom];

    /// Of its source.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Stripe => "stripe",
            Self::GitHub => "github",
            Self::Custom => "custom",
        }
    }

    pub(super) fn has_a_time(self) -> bool {
        self != Self::GitHub
    }

    /// The headers of a signed delivery; the signature comes first.
    pub(super) fn headers(self, secret: &str, id: &str, at: i64, body: &[u8]) -> Vec<(&'static str, String)> {
        let sign = |parts: &[&[u8]]| {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
            parts.iter().for_each(|part| mac.update(part));
            mac.finalize().into_bytes().to_vec()
        };
        let at = at.to_string();
        let (id_bytes, at_bytes) = (id.as_bytes(), at.as_bytes());
        match self {
            Self::Standard => {
                let signature = sign(&[id_bytes, b".", at_bytes, b".", body]);
                vec![
                    ("webhook-signature", format!("v1,{}", base64(&signature))),
                    ("webhook-id", id.to_owned()),
                    ("webhook-timestamp", at.clone()),
                ]
            }
            Self::Stripe => {
                let signature = hex(&sign(&[at_bytes, b".", body]));
                vec![("stripe-signature", format!("t={at},v1={signature}"))]
            }
            Self::GitHub => {
                let signature = hex(&sign(&[body]));
                vec![
                    ("x-hub-signature-256", format!("sha256={signature}")),
                    ("x-github-delivery", id.to_owned()),
                ]
            }
            Self::Custom => {
                let signature = hex(&sign(&[at_bytes, b"|", id_bytes, b"|", body]));
                vec![
                    ("x-shop-signature", signature),
                    ("x-shop-id", id.to_owned()),
                    ("x-shop-time", at.clone()),
                ]
            }
        }
    }
}

pub(super) fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
