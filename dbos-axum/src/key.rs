//! The idempotency key of a request: two headers, two spellings, one rule.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use serde::{Deserialize, Deserializer};

use crate::ids;
use crate::problem::{self, Problem};
use crate::seen::Seen;

/// The IETF's header, and the one of the other DBOS SDKs.
const HEADERS: [HeaderName; 2] =
    [HeaderName::from_static("idempotency-key"), HeaderName::from_static("dbos-idempotency-key")];

const MOST_BYTES: usize = 255;
const RULE: &str = "A key is 1 to 255 of A-Z, a-z, 0-9, '.', '_', '~', '-', and single ':' between them.";

/// The client's name for one operation: whatever is sent again under it happens once.
///
/// It comes in the header `Idempotency-Key` or `dbos-idempotency-key`, bare (`order-1001`) or as the quoted string of
/// the IETF's draft (`"order-1001"`); both are the same key. It is 1 to 255 of `A-Z`, `a-z`, `0-9`, `.`, `_`, `~`, `-`,
/// with single `:` between them. Anything else is answered with 400: an empty key, a header that comes twice, two
/// headers that disagree.
///
/// [`DbosCtx`](crate::DbosCtx) reads the key itself. As an extractor, this type demands one, and `Option` of it takes
/// what there is. It is deserialized by the same rule, for an application that has its keys in a path or a body.
///
/// # Examples
///
/// ```
/// use dbos_axum::IdempotencyKey;
///
/// let key: IdempotencyKey = "order-1001".parse()?;
/// assert_eq!(key.as_str(), "order-1001");
/// assert!("order 1001".parse::<IdempotencyKey>().is_err());
/// # Ok::<(), dbos_axum::Problem>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(Arc<str>);

impl IdempotencyKey {
    /// The key's text, without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key that the headers carry.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut found: Option<Self> = None;
        for name in HEADERS {
            let mut values = headers.get_all(&name).iter();
            let Some(value) = values.next() else { continue };
            if values.next().is_some() {
                return Err(invalid(format!("The header {name} comes more than once.")));
            }
            let key = Self::from_bytes(unquoted(value.as_bytes()))?;
            if found.as_ref().is_some_and(|other| *other != key) {
                return Err(invalid(format!("The headers {} and {} disagree.", HEADERS[0], HEADERS[1])));
            }
            found = Some(key);
        }
        Ok(found)
    }

    pub(crate) fn missing() -> Problem {
        let detail =
            format!("Send the header {} with a value of your own for each operation. {RULE}", HEADERS[0]);
        Problem::of(problem::KEY_MISSING).with_detail(detail).described()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Problem> {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._~-:".contains(byte);
        // Within a workflow's id the key stands between colons, and `::` separates a message's key from its address.
        let colons =
            bytes.starts_with(b":") || bytes.ends_with(b":") || bytes.windows(2).any(|pair| pair == b"::");
        let fits = (1..=MOST_BYTES).contains(&bytes.len()) && bytes.iter().all(plain) && !colons;
        match str::from_utf8(bytes) {
            Ok(text) if fits => Ok(Self(text.into())),
            _ => Err(invalid(RULE)),
        }
    }
}

/// The inside of a quoted string. No character that would need an escape is allowed in a key, so none is undone.
fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value)
}

fn invalid(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::of(problem::KEY_INVALID).with_detail(detail).described()
}

impl FromStr for IdempotencyKey {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        Self::from_bytes(text.as_bytes())
    }
}

impl<'de> Deserialize<'de> for IdempotencyKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ids::from_text(deserializer)
    }
}

/// Hides the key: an anonymous caller's is as good as a password.
impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdempotencyKey({} bytes)", self.0.len())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let key = Self::read(&parts.headers).and_then(|key| key.ok_or_else(Self::missing));
        key.map_err(|problem| problem.within(&Seen::of(parts)))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        Self::read(&parts.headers).map_err(|problem| problem.within(&Seen::of(parts)))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    type Header = (&'static str, &'static [u8]);

    fn headers(values: &[(&'static str, &[u8])]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &[u8])| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap())
        };
        values.iter().map(pair).collect()
    }

    #[test]
    fn both_headers_and_both_spellings_give_the_same_key() {
        let cases: &[(&[Header], Option<&str>)] = &[
            (&[], None),
            (&[("idempotency-key", b"order-1001")], Some("order-1001")),
            (&[("idempotency-key", b"\"order-1001\"")], Some("order-1001")),
            (&[("dbos-idempotency-key", b"order-1001")], Some("order-1001")),
            (&[("idempotency-key", b"\"a\""), ("dbos-idempotency-key", b"a")], Some("a")),
            (
                &[("idempotency-key", b"8e03978e-40d5-43e8-bc93-6894a57f9324")],
                Some("8e03978e-40d5-43e8-bc93-6894a57f9324"),
            ),
            (&[("idempotency-key", b"shop:7:order")], Some("shop:7:order")),
            (&[("idempotency-key", b".._~-")], Some(".._~-")),
        ];
        for (given, expected) in cases {
            let key = IdempotencyKey::read(&headers(given)).unwrap();
            assert_eq!(key.as_ref().map(IdempotencyKey::as_str), *expected, "{given:?}");
        }
    }

    #[test]
    fn whatever_breaks_the_rule_is_refused() {
        let long = [b'a'; 256];
        let cases: &[&[u8]] = &[
            b"",
            b"\"\"",
            b"\"",
            b" ",
            b"   ",
            b"a b",
            b"a\tb",
            b"a ",
            b" a",
            b"\xe9",
            "é".as_bytes(),
            "🦀".as_bytes(),
            b"a::b",
            b":a",
            b"a:",
            b":",
            b"a/b",
            b"a%2Fb",
            b"a\\b",
            b"'; DROP TABLE x; --",
            b"$1",
            b"{}",
            b"a,b",
            b"a!b",
            b"\"a",
            b"a\"",
            b"\"a\"b\"",
            b"\"a\\\"b\"",
            b"\"a\";p=1",
            b"\"a\", \"b\"",
            &long,
        ];
        for value in cases {
            let problem = IdempotencyKey::read(&headers(&[("idempotency-key", value)])).unwrap_err();
            assert!(problem.is(problem::KEY_INVALID), "{value:?}");
        }
    }

    #[test]
    fn the_longest_key_has_255_bytes_quotes_aside() {
        let (longest, longer) = ("k".repeat(255), "k".repeat(256));
        for (text, good) in
            [(longest.clone(), true), (format!("\"{longest}\""), true), (format!("\"{longer}\""), false)]
        {
            let key = IdempotencyKey::read(&headers(&[("idempotency-key", text.as_bytes())]));
            assert_eq!(key.is_ok(), good, "{} bytes", text.len());
        }
    }

    #[test]
    fn headers_that_repeat_or_disagree_are_refused() {
        let (ours, theirs) = ("idempotency-key", "dbos-idempotency-key");
        let cases: [&[Header]; 4] = [
            &[(ours, b"a"), (ours, b"a")],
            &[(ours, b"a"), (ours, b"b")],
            &[(theirs, b"a"), (theirs, b"a")],
            &[(ours, b"a"), (theirs, b"b")],
        ];
        for given in cases {
            assert!(IdempotencyKey::read(&headers(given)).is_err(), "{given:?}");
        }
    }

    #[test]
    fn a_key_is_not_printed() {
        let key: IdempotencyKey = "a-secret-of-the-caller".parse().unwrap();
        assert_eq!(format!("{key:?}"), "IdempotencyKey(22 bytes)");
    }
}
