//! Stripe's signatures.

use dbos_runtime::Timestamp;
use http::{HeaderMap, HeaderName};
use serde::Deserialize;

use super::encoding::Encoding;
use super::keys::{Algorithm, Keys, LEAST_BYTES};
use super::misconfigured::Misconfigured;
use super::scheme::{Refused, SignatureScheme, Verified, few, fresh, needed};

const SIGNATURE: HeaderName = HeaderName::from_static("stripe-signature");

/// Deliveries signed as Stripe does: `Stripe-Signature: t=…,v1=…` over the time and the body. A delivery is told from
/// others by the `id` of its event.
///
/// # Examples
///
/// ```
/// use dbos_axum::webhooks::Stripe;
///
/// let scheme = Stripe::new("whsec_5f1d0a3b7c9e8f2a4b6c8d0e1f3a5b7c")?;
/// assert!(Stripe::new("").is_err());
/// # drop(scheme);
/// # Ok::<(), dbos_axum::webhooks::Misconfigured>(())
/// ```
#[derive(Clone, Debug)]
pub struct Stripe {
    keys: Keys,
}

impl Stripe {
    /// The scheme with the endpoint's secret, as Stripe shows it.
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

#[derive(Deserialize)]
struct Event {
    id: String,
}

impl SignatureScheme for Stripe {
    fn verify(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Verified, Refused> {
        let entries: Vec<(&str, &str)> = needed(headers, &SIGNATURE)?
            .split(',')
            .filter_map(|entry| entry.trim().split_once('='))
            .collect();
        let of = |name: &str| -> Vec<&str> {
            entries.iter().filter(|(other, _)| *other == name).map(|(_, value)| *value).collect()
        };
        let (times, signatures) = (of("t"), of("v1"));
        few(&entries)?;
        let time = match times.as_slice() {
            [time] => *time,
            [] => return Err(Refused::Unverified("no timestamp")),
            _ => return Err(Refused::Malformed("The signature has more than one timestamp.")),
        };
        fresh(time, now)?;
        let signatures: Vec<Vec<u8>> =
            signatures.into_iter().filter_map(|text| Encoding::Hex.decode(text)).collect();
        if !self.keys.signed(&[time.as_bytes(), b".", body], &signatures) {
            return Err(Refused::Unverified("no signature fits"));
        }
        let event: Event = serde_json::from_slice(body)
            .map_err(|_| Refused::Malformed("The body is no event: it has no `id` that is a text."))?;
        Ok(Verified::named(&event.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_5f1d0a3b7c9e8f2a4b6c8d0e1f3a5b7c";
    const BODY: &[u8] = br#"{"id": "evt_1", "type": "charge.succeeded"}"#;
    const AT: &str = "1795353448";

    fn verify(scheme: &Stripe, header: &str, body: &[u8]) -> Result<Verified, Refused> {
        let mut headers = HeaderMap::new();
        headers.insert(SIGNATURE, header.parse().unwrap());
        scheme.verify(&headers, body, Timestamp::from_millis(1_795_353_448_000))
    }

    fn signature(secret: &str, body: &[u8]) -> String {
        let keys = Keys::new(Algorithm::Sha256, secret.as_bytes(), LEAST_BYTES).unwrap();
        Encoding::Hex.encode(&keys.sign(&[AT.as_bytes(), b".", body]))
    }

    #[test]
    fn the_header_is_read_as_stripe_writes_it() {
        let scheme = Stripe::new(SECRET).unwrap();
        let (good, old) = (signature(SECRET, BODY), signature("whsec_the_secret_before_this_one", BODY));
        let unverified = Err(Refused::Unverified(""));
        let malformed = Err(Refused::Malformed(""));
        let many = format!("t={AT},v1={good}{}", ",v1=00".repeat(9));
        let cases = [
            (format!("t={AT},v1={good}"), Ok(())),
            (format!("t={AT}, v1={old}, v1={good}, v0=00"), Ok(())),
            (format!("t={AT},v1={}", good.to_uppercase()), Ok(())),
            (format!("t={AT},v1={old}"), unverified),
            (format!("t={AT},v0={good}"), unverified),
            (format!("v1={good}"), unverified),
            (format!("t={AT}"), unverified),
            (format!("t=1795353449,v1={good}"), unverified),
            (format!("t=1795000000,v1={good}"), unverified),
            (format!("t=-9223372036854775808,v1={good}"), unverified),
            (format!("t={AT},v1={}", &good[..62]), unverified),
            (format!("t={AT},v1={}zz", &good[..62]), unverified),
            (String::new(), unverified),
            ("t=,v1=".to_owned(), unverified),
            (format!("t={AT},t={AT},v1={good}"), malformed),
            (many, malformed),
        ];
        for (header, expected) in cases {
            let verdict = verify(&scheme, &header, BODY);
            assert_eq!(verdict.is_ok(), expected.is_ok(), "{header}");
            let kind = |refused: Refused| matches!(refused, Refused::Malformed(_));
            assert_eq!(verdict.err().map(kind), expected.err().map(kind), "{header}");
        }
        let both = scheme.also_accept("whsec_the_secret_before_this_one").unwrap();
        let verdict = verify(&both, &format!("t={AT},v1={old}"), BODY);
        assert_eq!(verdict, Ok(Verified::named("evt_1")));
    }

    #[test]
    fn a_signed_body_that_is_no_event_is_malformed() {
        let scheme = Stripe::new(SECRET).unwrap();
        let bodies: [&[u8]; 6] = [b"", b"{", b"[]", b"{}", br#"{"id": 7}"#, b"\xff"];
        for body in bodies {
            let header = format!("t={AT},v1={}", signature(SECRET, body));
            assert!(matches!(verify(&scheme, &header, body), Err(Refused::Malformed(_))), "{body:?}");
        }
    }
}
