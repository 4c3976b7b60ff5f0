//! Standard Webhooks 1.0.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbos_runtime::Timestamp;
use http::{HeaderMap, HeaderName};

use super::keys::{Algorithm, Keys, LEAST_BYTES};
use super::misconfigured::Misconfigured;
use super::scheme::{Refused, SignatureScheme, Verified, few, fresh, needed};

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// The standard allows no longer secret.
const MOST_BYTES: usize = 64;

/// Deliveries signed as [Standard Webhooks](https://www.standardwebhooks.com) says: `v1`, HMAC-SHA256 with a shared
/// secret. Signatures of other versions are ignored.
///
/// # Examples
///
/// ```
/// use dbos_axum::webhooks::StandardWebhooks;
///
/// let scheme = StandardWebhooks::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?
///     .also_accept("whsec_b2xkZXIsIGFuZCB2YWxpZCBmb3IgYSB3aGlsZQ==")?;
/// assert!(StandardWebhooks::new("").is_err());
/// # drop(scheme);
/// # Ok::<(), dbos_axum::webhooks::Misconfigured>(())
/// ```
#[derive(Clone, Debug)]
pub struct StandardWebhooks {
    keys: Keys,
}

impl StandardWebhooks {
    /// The scheme with that secret: base64, with or without `whsec_` before it.
    ///
    /// # Errors
    ///
    /// When it is not base64, or does not stand for 24 to 64 bytes.
    pub fn new(secret: impl AsRef<str>) -> Result<Self, Misconfigured> {
        Ok(Self { keys: Keys::new(Algorithm::Sha256, &decoded(secret.as_ref())?, LEAST_BYTES)? })
    }

    /// Accepts deliveries that are signed with this secret too: the old one, while it is being replaced.
    ///
    /// # Errors
    ///
    /// As of [`new`](Self::new).
    pub fn also_accept(self, secret: impl AsRef<str>) -> Result<Self, Misconfigured> {
        Ok(Self { keys: self.keys.with(&decoded(secret.as_ref())?, LEAST_BYTES)? })
    }
}

fn decoded(secret: &str) -> Result<Vec<u8>, Misconfigured> {
    let text = secret.strip_prefix("whsec_").unwrap_or(secret);
    let bytes = STANDARD
        .decode(text)
        .map_err(|_| Misconfigured::new("a secret of Standard Webhooks is base64 behind `whsec_`"))?;
    if bytes.len() > MOST_BYTES {
        return Err(Misconfigured::new("a secret of Standard Webhooks has at most 64 bytes"));
    }
    Ok(bytes)
}

impl SignatureScheme for StandardWebhooks {
    fn verify(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Verified, Refused> {
        let signatures: Vec<&str> =
            needed(headers, &SIGNATURE)?.split(' ').filter(|entry| !entry.is_empty()).collect();
        few(&signatures)?;
        let (id, timestamp) = (needed(headers, &ID)?, needed(headers, &TIMESTAMP)?);
        fresh(timestamp, now)?;
        let v1 = |entry: &&str| STANDARD.decode(entry.strip_prefix("v1,")?).ok();
        let signatures: Vec<Vec<u8>> = signatures.iter().filter_map(v1).collect();
        let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
        if id.is_empty() || !self.keys.signed(&signed, &signatures) {
            return Err(Refused::Unverified("no signature fits"));
        }
        Ok(Verified::named(id))
    }
}

#[cfg(test)]
mod tests {
    use standardwebhooks::Webhook;

    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const OTHER: &str = "whsec_b2xkZXIsIGFuZCB2YWxpZCBmb3IgYSB3aGlsZQ==";

    fn headers(pairs: &[(&HeaderName, String)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[expect(clippy::disallowed_methods, reason = "the reference implementation reads the machine's clock")]
    fn now() -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
    }

    /// The reference implementation and ours agree on whatever either could be sent.
    #[test]
    fn it_decides_as_the_reference_implementation_does() {
        let (reference, ours) = (Webhook::new(SECRET).unwrap(), StandardWebhooks::new(SECRET).unwrap());
        let other = Webhook::new(OTHER).unwrap();
        let (now, mut accepted, mut refused) = (now(), 0, 0);
        let seconds = now.as_millis() / 1000;
        for body in ["", "{}", r#"{"a":1,"b":[2]}"#, "null", "é\u{0}\u{10ffff}", &"x".repeat(70_000)] {
            for (id, at) in
                [("msg_1", seconds), ("a b", seconds - 200), ("x", seconds - 4000), ("y", seconds + 4000)]
            {
                let good = reference.sign(id, at, body.as_bytes()).unwrap();
                let foreign = other.sign(id, at, body.as_bytes()).unwrap();
                let variants = [
                    good.clone(),
                    foreign.clone(),
                    format!("{foreign} {good}"),
                    format!("v1a,AAAA {good} v2,x"),
                    good.replace("v1,", "v1a,"),
                    good.replace("v1,", ""),
                    good.trim_end_matches('=').to_owned(),
                    good[..good.len() - 4].to_owned(),
                    format!("{good}AAAA"),
                    good.replace(' ', ","),
                    String::new(),
                    "v1,".to_owned(),
                    ",".to_owned(),
                ];
                for signature in variants {
                    let mut sent = headers(&[
                        (&ID, id.to_owned()),
                        (&TIMESTAMP, at.to_string()),
                        (&SIGNATURE, signature.clone()),
                    ]);
                    for bytes in [body.to_owned(), format!("{body} ")] {
                        let theirs = reference.verify(bytes.as_bytes(), &sent).is_ok();
                        let verdict = ours.verify(&sent, bytes.as_bytes(), now);
                        assert_eq!(verdict.is_ok(), theirs, "{signature} at {at} over {}", bytes.len());
                        if theirs { accepted += 1 } else { refused += 1 }
                    }
                    sent.remove(&ID);
                    assert!(ours.verify(&sent, body.as_bytes(), now).is_err());
                }
            }
        }
        assert!(accepted >= 36 && refused > 300, "{accepted} {refused}");
    }

    /// What the reference implementation gets wrong.
    #[test]
    fn a_time_at_the_end_of_numbers_and_bytes_that_are_no_text_are_nothing_special() {
        let scheme = StandardWebhooks::new(SECRET).unwrap();
        let now = Timestamp::from_millis(1_795_353_448_000);
        for at in ["-9223372036854775808", "9223372036854775807", "1795353448"] {
            let body = b"\xff\xfe";
            let signature = scheme.keys.sign(&[b"m.", at.as_bytes(), b".", body]);
            let signature = format!("v1,{}", STANDARD.encode(signature));
            let sent =
                headers(&[(&ID, "m".to_owned()), (&TIMESTAMP, at.to_owned()), (&SIGNATURE, signature)]);
            assert_eq!(scheme.verify(&sent, body, now).is_ok(), at == "1795353448", "{at}");
        }
    }

    #[test]
    fn eleven_signatures_or_a_header_twice_are_malformed() {
        let scheme = StandardWebhooks::new(SECRET).unwrap();
        let now = Timestamp::from_millis(1_795_353_448_000);
        let good = format!("v1,{}", STANDARD.encode(scheme.keys.sign(&[b"m.1795353448.{}"])));
        let sent = |times: usize| {
            let signature = [vec!["v1,AAAA"; times - 1], vec![good.as_str()]].concat().join(" ");
            headers(&[(&ID, "m".to_owned()), (&TIMESTAMP, "1795353448".to_owned()), (&SIGNATURE, signature)])
        };
        assert!(scheme.verify(&sent(10), b"{}", now).is_ok());
        assert!(matches!(scheme.verify(&sent(11), b"{}", now), Err(Refused::Malformed(_))));
        for name in [&ID, &TIMESTAMP, &SIGNATURE] {
            let mut twice = sent(1);
            twice.append(name, twice[name].clone());
            assert!(matches!(scheme.verify(&twice, b"{}", now), Err(Refused::Malformed(_))), "{name}");
        }
    }

    #[test]
    fn weak_secrets_are_refused() {
        let encoded = |length: usize| STANDARD.encode(vec![7; length]);
        let bad = ["", "whsec_", "whsec_AAAA", "not base64!", &encoded(23), &encoded(65)];
        for secret in bad {
            assert!(StandardWebhooks::new(secret).is_err(), "{secret}");
            assert!(StandardWebhooks::new(SECRET).unwrap().also_accept(secret).is_err(), "{secret}");
        }
        for length in [24, 64] {
            assert!(StandardWebhooks::new(encoded(length)).is_ok(), "{length}");
        }
        assert!(!format!("{:?}", StandardWebhooks::new(SECRET)).contains("MfKQ"));
    }
}
