//! GitHub's signatures.

use dbos_runtime::Timestamp;
use http::{HeaderMap, HeaderName};

use super::encoding::Encoding;
use super::keys::{Algorithm, Keys, LEAST_BYTES};
use super::misconfigured::Misconfigured;
use super::scheme::{Refused, SignatureScheme, Verified, needed, only};

const SIGNATURE: HeaderName = HeaderName::from_static("x-hub-signature-256");
const DELIVERY: HeaderName = HeaderName::from_static("x-github-delivery");

/// GitHub's own limit for what it sends.
const BODY_BYTES: usize = 25 * 1024 * 1024;

/// Deliveries signed as GitHub does: `X-Hub-Signature-256: sha256=…` over the body. A delivery is told from others by
/// `X-GitHub-Delivery`, which stays the same when it is sent again.
///
/// The signature covers neither a time nor the delivery's name: whoever has seen a delivery can send it again under
/// another name.
#[derive(Clone, Debug)]
pub struct GitHub {
    keys: Keys,
}

impl GitHub {
    /// The scheme with the webhook's secret.
    ///
    /// # Errors
    ///
    /// When it has less than 24 bytes.
    pub fn new(secret: impl AsRef<str>) -> Result<Self, Misconfigured> {
        Ok(Self { keys: Keys::new(Algorithm::Sha256, secret.as_ref().as_bytes(), LEAST_BYTES)? })
    }

    /// Accepts deliveries that are signed with this secret too: the old one, while it is being replaced.
    ///
    /// # Errors
    ///
    /// As of [`new`](Self::new).
    pub fn also_accept(self, secret: impl AsRef<str>) -> Result<Self, Misconfigured> {
        Ok(Self { keys: self.keys.with(secret.as_ref().as_bytes(), LEAST_BYTES)? })
    }
}

impl SignatureScheme for GitHub {
    fn verify(&self, headers: &HeaderMap, body: &[u8], _: Timestamp) -> Result<Verified, Refused> {
        let signature = needed(headers, &SIGNATURE)?.strip_prefix("sha256=");
        let signature: Vec<Vec<u8>> =
            signature.and_then(|text| Encoding::Hex.decode(text)).into_iter().collect();
        let delivery = only(headers, &DELIVERY)?.filter(|name| !name.is_empty());
        if !self.keys.signed(&[body], &signature) {
            return Err(Refused::Unverified("no signature fits"));
        }
        Ok(delivery.map_or_else(|| Verified::by_content(&[body]), Verified::named))
    }

    fn body_limit(&self) -> usize {
        BODY_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of GitHub's documentation.
    #[test]
    fn the_signature_of_githubs_own_example_is_good() {
        let scheme = GitHub::new("It's a Secret to Everybody").unwrap();
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let verify = |name: &'static str, value: &str, body: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            headers.insert(DELIVERY, "72d3162e-cc78-11e3-81ab-4c9367dc0958".parse().unwrap());
            scheme.verify(&headers, body, Timestamp::from_millis(0))
        };
        let header = "x-hub-signature-256";
        let good = verify(header, signature, b"Hello, World!");
        assert_eq!(good, Ok(Verified::named("72d3162e-cc78-11e3-81ab-4c9367dc0958")));
        let bad = [
            (header, signature, &b"Hello, World"[..]),
            (header, &signature[..70], b"Hello, World!"),
            (header, &signature[7..], b"Hello, World!"),
            (header, "sha256=", b"Hello, World!"),
            (header, "", b"Hello, World!"),
            // The older header has SHA-1 in it.
            ("x-hub-signature", signature, b"Hello, World!"),
        ];
        for (name, value, body) in bad {
            assert!(matches!(verify(name, value, body), Err(Refused::Unverified(_))), "{name}: {value}");
        }
        assert!(GitHub::new("too short").is_err());
    }
}
