//! How a delivery proves where it comes from.

use dbos_runtime::Timestamp;
use http::{HeaderMap, HeaderName};

use super::delivery_id::DeliveryId;

/// Bodies that are longer are not read, unless a scheme says otherwise.
const BODY_BYTES: usize = 1024 * 1024;
/// More signatures than that are not for rotation.
const MOST_SIGNATURES: usize = 10;
/// How far a sender's clock may be from the database's, with the time that the delivery takes.
const TOLERANCE_SECONDS: u64 = 300;

/// A way to sign deliveries, and to tell one from the next. [`StandardWebhooks`](super::StandardWebhooks),
/// [`Stripe`](super::Stripe) and [`GitHub`](super::GitHub) are ready-made, [`Hmac`](super::Hmac) fits most others.
///
/// # Examples
///
/// A sender that cannot sign, and sends a password instead:
///
/// ```
/// use axum::http::HeaderMap;
/// use dbos_axum::webhooks::{Refused, SignatureScheme, Verified};
/// use dbos_runtime::Timestamp;
/// use subtle::ConstantTimeEq;
///
/// struct SharedToken(String);
///
/// impl SignatureScheme for SharedToken {
///     fn verify(&self, headers: &HeaderMap, body: &[u8], _now: Timestamp) -> Result<Verified, Refused> {
///         let given = headers.get("x-token").ok_or(Refused::Unverified("no token"))?;
///         if bool::from(given.as_bytes().ct_eq(self.0.as_bytes())) {
///             Ok(Verified::by_content(&[body]))
///         } else {
///             Err(Refused::Unverified("another token"))
///         }
///     }
/// }
/// ```
pub trait SignatureScheme: Send + Sync + 'static {
    /// Checks the bytes of a delivery as they came, and says which delivery it is. `now` is the time by the database's
    /// clock.
    ///
    /// # Errors
    ///
    /// [`Refused`] when it is not authentic, or cannot be read in exactly one way.
    fn verify(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Verified, Refused>;

    /// How long a body may be; 1 MiB by default.
    fn body_limit(&self) -> usize {
        BODY_BYTES
    }
}

/// An authentic delivery, by the name under which it is recognized when it comes again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified {
    pub(super) delivery: DeliveryId,
}

impl Verified {
    /// The delivery that its sender calls so, each time that it is sent.
    pub fn named(delivery: &str) -> Self {
        Self { delivery: DeliveryId::named(delivery) }
    }

    /// A delivery without a name: it is the same one when all of these parts are the same.
    pub fn by_content(parts: &[&[u8]]) -> Self {
        Self { delivery: DeliveryId::of_content(parts) }
    }
}

/// Why a delivery is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// It does not prove where it comes from: 401, with the same body whatever the reason, which goes to the log.
    Unverified(&'static str),
    /// It can be read in no way, or in more than one: 400 with this sentence.
    Malformed(&'static str),
}

/// The header's one value, if there is one. Two of them may be read differently by a proxy in front.
pub(super) fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Refused> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refused::Malformed("A header of the signature comes more than once."));
    }
    value.to_str().map(Some).map_err(|_| Refused::Unverified("a header is not text"))
}

/// Like [`only`], for a header without which nothing can be verified.
pub(super) fn needed<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h str, Refused> {
    only(headers, name)?.ok_or(Refused::Unverified("a header is missing"))
}

/// Refuses more signatures than anybody sends.
pub(super) fn few<T>(signatures: &[T]) -> Result<(), Refused> {
    if signatures.len() > MOST_SIGNATURES {
        return Err(Refused::Malformed("There are more than 10 signatures."));
    }
    Ok(())
}

/// Refuses a time, in seconds since the Unix epoch, that is too long ago or too far ahead.
pub(super) fn fresh(seconds: &str, now: Timestamp) -> Result<(), Refused> {
    let seconds: i64 = seconds.parse().map_err(|_| Refused::Unverified("the timestamp is no number"))?;
    // The distance of two signed numbers, without overflow.
    if now.as_millis().div_euclid(1000).abs_diff(seconds) > TOLERANCE_SECONDS {
        return Err(Refused::Unverified("the timestamp is not of now"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_of_now_within_five_minutes_on_both_sides() {
        let now = Timestamp::from_millis(1_795_353_448_999);
        let cases = [
            ("1795353448", true),
            ("1795353148", true),
            ("1795353147", false),
            ("1795353748", true),
            ("1795353749", false),
            ("0", false),
            ("-1", false),
            ("-9223372036854775808", false),
            ("9223372036854775807", false),
            ("9223372036854775808", false),
            ("1795353448.5", false),
            ("1.795353448e9", false),
            ("", false),
            (" 1795353448", false),
            ("١٧٩٥٣٥٣٤٤٨", false),
        ];
        for (seconds, good) in cases {
            assert_eq!(fresh(seconds, now).is_ok(), good, "{seconds:?}");
        }
        for millis in [i64::MIN, i64::MAX] {
            for seconds in [i64::MIN, 0, i64::MAX] {
                assert!(fresh(&seconds.to_string(), Timestamp::from_millis(millis)).is_err());
            }
        }
    }
}
