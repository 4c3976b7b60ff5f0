//! HMAC signatures of any other shape.

use std::fmt;
use std::sync::Arc;

use dbos_runtime::Timestamp;
use http::{HeaderMap, HeaderName};

use super::encoding::Encoding;
use super::keys::{Algorithm, Keys, LEAST_BYTES};
use super::misconfigured::Misconfigured;
use super::scheme::{Refused, SignatureScheme, Verified, fresh, needed};

/// Finds the name of a delivery.
type Namer = Arc<dyn Fn(&HeaderMap, &[u8]) -> Option<String> + Send + Sync>;

/// Deliveries with an HMAC in a header: what is signed, and how it is written, is up to the sender.
///
/// # Examples
///
/// Slack signs a version, a time and the body:
///
/// ```
/// use dbos_axum::webhooks::Hmac;
///
/// let slack = Hmac::custom("8f742231b10e8888abcd99yyyzzz85a5")
///     .header("x-slack-signature")
///     .prefix("v0=")
///     .timestamp("x-slack-request-timestamp")
///     .signs("v0:{timestamp}:{body}")
///     .build()?;
/// # drop(slack);
/// # Ok::<(), dbos_axum::webhooks::Misconfigured>(())
/// ```
#[derive(Clone)]
pub struct Hmac {
    keys: Keys,
    header: HeaderName,
    prefix: String,
    encoding: Encoding,
    timestamp: Option<HeaderName>,
    id: Option<HeaderName>,
    namer: Option<Namer>,
    content: Vec<Part>,
}

/// A part of what is signed.
#[derive(Clone, PartialEq, Debug)]
enum Part {
    Text(String),
    Timestamp,
    Id,
    Body,
}

impl Hmac {
    /// Begins to describe a scheme with that secret. Unless said, it is HMAC-SHA256 over the body, in hexadecimal
    /// digits; the header has to be said.
    pub fn custom(secret: impl AsRef<[u8]>) -> HmacBuilder {
        HmacBuilder {
            secrets: vec![secret.as_ref().to_vec()],
            algorithm: Algorithm::default(),
            encoding: Encoding::default(),
            header: String::new(),
            prefix: String::new(),
            timestamp: None,
            id: None,
            namer: None,
            content: "{body}".to_owned(),
        }
    }
}

impl SignatureScheme for Hmac {
    fn verify(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Verified, Refused> {
        let signature = needed(headers, &self.header)?.strip_prefix(&self.prefix);
        let signature: Vec<Vec<u8>> =
            signature.and_then(|text| self.encoding.decode(text)).into_iter().collect();
        let id = self.id.as_ref().map(|name| needed(headers, name)).transpose()?.unwrap_or_default();
        let time = self.timestamp.as_ref().map(|name| needed(headers, name)).transpose()?;
        time.map_or(Ok(()), |time| fresh(time, now))?;
        let time = time.unwrap_or_default();
        let signed = self.content.iter().map(|part| match part {
            Part::Timestamp => time.as_bytes(),
            Part::Id => id.as_bytes(),
            Part::Body => body,
            Part::Text(text) => text.as_bytes(),
        });
        let signed: Vec<&[u8]> = signed.collect();
        if !self.keys.signed(&signed, &signature) {
            return Err(Refused::Unverified("no signature fits"));
        }
        if let Some(namer) = &self.namer {
            let name = namer(headers, body);
            return name
                .map(|name| Verified::named(&name))
                .ok_or(Refused::Malformed("The delivery has no name."));
        }
        Ok(if id.is_empty() { Verified::by_content(&[time.as_bytes(), body]) } else { Verified::named(id) })
    }
}

impl fmt::Debug for Hmac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hmac").field("keys", &self.keys).field("header", &self.header).finish_non_exhaustive()
    }
}

/// A scheme that is being described. Made by [`Hmac::custom`].
#[must_use = "nothing is verified until the scheme is built"]
pub struct HmacBuilder {
    secrets: Vec<Vec<u8>>,
    algorithm: Algorithm,
    encoding: Encoding,
    header: String,
    prefix: String,
    timestamp: Option<String>,
    id: Option<String>,
    namer: Option<Namer>,
    content: String,
}

impl HmacBuilder {
    /// The header that the signature is in.
    pub fn header(mut self, name: &str) -> Self {
        name.clone_into(&mut self.header);
        self
    }

    /// What stands before the signature in its header, `sha256=` for example.
    pub fn prefix(mut self, text: &str) -> Self {
        text.clone_into(&mut self.prefix);
        self
    }

    /// The hash function; SHA-256 by default.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// How the signature is written; as hexadecimal digits by default.
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// The header with the time of the delivery, in seconds since the Unix epoch. It may be five minutes from now, and
    /// has to be signed.
    pub fn timestamp(mut self, header: &str) -> Self {
        self.timestamp = Some(header.to_owned());
        self
    }

    /// What is signed: a text with `{body}`, and `{timestamp}` and `{id}` where their headers are; `{body}` by default.
    pub fn signs(mut self, template: &str) -> Self {
        template.clone_into(&mut self.content);
        self
    }

    /// The header with the sender's name for the delivery, which has to be signed: else whoever has seen a delivery could
    /// send it again under another name. Without one, a delivery is told from others by its body and its time.
    pub fn delivery_id(mut self, header: &str) -> Self {
        self.id = Some(header.to_owned());
        self
    }

    /// Finds the sender's name for the delivery wherever it is, once the signature is known to be good; best in the body,
    /// since a header that is not signed can be changed by whoever sends a delivery again. A delivery in which it finds none
    /// is answered with 400.
    pub fn delivery_id_from(
        mut self,
        find: impl Fn(&HeaderMap, &[u8]) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.namer = Some(Arc::new(find));
        self
    }

    /// Accepts deliveries that are signed with this secret too: the old one, while it is being replaced.
    pub fn also_accept(mut self, secret: impl AsRef<[u8]>) -> Self {
        self.secrets.push(secret.as_ref().to_vec());
        self
    }

    /// The scheme.
    ///
    /// # Errors
    ///
    /// When a secret has less than 24 bytes, a header's name is none, or the template leaves out the body, the time or the
    /// id, or names something else.
    pub fn build(self) -> Result<Hmac, Misconfigured> {
        let mut keys = None;
        for secret in &self.secrets {
            keys = Some(match keys {
                None => Keys::new(self.algorithm, secret, LEAST_BYTES)?,
                Some(keys) => Keys::with(keys, secret, LEAST_BYTES)?,
            });
        }
        let content = parts(&self.content)?;
        let count = |part: &Part| content.iter().filter(|other| *other == part).count();
        if count(&Part::Body) != 1 {
            return Err(Misconfigured::new("what is signed has to have {body} in it, once"));
        }
        if (count(&Part::Timestamp) > 0) != self.timestamp.is_some() {
            return Err(Misconfigured::new(
                "a timestamp needs its header, and {timestamp} in what is signed",
            ));
        }
        if (count(&Part::Id) > 0) != self.id.is_some() {
            return Err(Misconfigured::new(
                "the header of a delivery's id needs {id} in what is signed, and the other way round",
            ));
        }
        Ok(Hmac {
            keys: keys.ok_or_else(|| Misconfigured::new("there is no secret"))?,
            header: header(&self.header)?,
            prefix: self.prefix,
            encoding: self.encoding,
            timestamp: self.timestamp.as_deref().map(header).transpose()?,
            id: self.id.as_deref().map(header).transpose()?,
            namer: self.namer,
            content,
        })
    }
}

fn header(name: &str) -> Result<HeaderName, Misconfigured> {
    name.parse().map_err(|_| Misconfigured::new(format!("{name:?} is not the name of a header")))
}

fn parts(template: &str) -> Result<Vec<Part>, Misconfigured> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some((text, after)) = rest.split_once('{') {
        let (name, after) = after
            .split_once('}')
            .ok_or_else(|| Misconfigured::new("a brace in what is signed is not closed"))?;
        if !text.is_empty() {
            parts.push(Part::Text(text.to_owned()));
        }
        parts.push(match name {
            "timestamp" => Part::Timestamp,
            "id" => Part::Id,
            "body" => Part::Body,
            _ => return Err(Misconfigured::new(format!("nothing that is signed is called {name:?}"))),
        });
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

impl fmt::Debug for HmacBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HmacBuilder").field("header", &self.header).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn what_would_not_protect_is_not_built() {
        let good = || Hmac::custom(SECRET).header("x-signature");
        assert!(good().build().is_ok());
        assert!(good().timestamp("x-time").signs("{timestamp}.{body}").build().is_ok());
        assert!(good().delivery_id("x-id").signs("{id}.{body}").build().is_ok());
        let bad = [
            Hmac::custom("").header("x-signature"),
            Hmac::custom("short").header("x-signature"),
            Hmac::custom(SECRET),
            good().header("x signature"),
            good().also_accept("short"),
            good().signs(""),
            good().signs("text"),
            good().signs("{body}{body}"),
            good().signs("{timestamp}.{body}"),
            good().timestamp("x-time"),
            good().timestamp("no header").signs("{timestamp}.{body}"),
            good().signs("{id}.{body}"),
            good().delivery_id("x-id"),
            good().delivery_id("x-id").timestamp("x-time").signs("{timestamp}.{body}"),
            good().signs("{body"),
            good().signs("{url}{body}"),
        ];
        for (n, builder) in bad.into_iter().enumerate() {
            assert!(builder.build().is_err(), "{n}");
        }
        assert!(!format!("{:?}", good()).contains(SECRET));
        assert!(!format!("{:?}", good().build()).contains(SECRET));
    }

    #[test]
    fn a_template_says_what_is_signed() {
        let scheme = Hmac::custom(SECRET)
            .header("x-signature")
            .prefix("v0=")
            .algorithm(Algorithm::Sha512)
            .encoding(Encoding::Base64)
            .timestamp("x-time")
            .delivery_id("x-id")
            .signs("v0:{id}:{timestamp}:{body}!");
        let scheme = scheme.build().unwrap();
        let keys = Keys::new(Algorithm::Sha512, SECRET.as_bytes(), LEAST_BYTES).unwrap();
        let tag = Encoding::Base64.encode(&keys.sign(&[b"v0:d-1:1795353448:{}!"]));
        let verify = |signature: &str, id: &str, time: &str, body: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert("x-signature", signature.parse().unwrap());
            headers.insert("x-id", id.parse().unwrap());
            headers.insert("x-time", time.parse().unwrap());
            scheme.verify(&headers, body, Timestamp::from_millis(1_795_353_448_000))
        };
        let signature = format!("v0={tag}");
        assert_eq!(verify(&signature, "d-1", "1795353448", b"{}"), Ok(Verified::named("d-1")));
        for (signature, id, time, body) in [
            (tag.as_str(), "d-1", "1795353448", &b"{}"[..]),
            (&signature, "d-2", "1795353448", b"{}"),
            (&signature, "d-1", "1795353449", b"{}"),
            (&signature, "d-1", "1795000000", b"{}"),
            (&signature, "d-1", "1795353448", b"{} "),
            (&signature[..80], "d-1", "1795353448", b"{}"),
        ] {
            let verdict = verify(signature, id, time, body);
            assert!(matches!(verdict, Err(Refused::Unverified(_))), "{signature} {id} {time}");
        }
    }

    #[test]
    fn a_delivery_without_a_header_for_its_name_is_named_by_its_body_or_a_function() {
        let keys = Keys::new(Algorithm::Sha256, SECRET.as_bytes(), LEAST_BYTES).unwrap();
        let verify = |scheme: &Hmac, body: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert("x-signature", Encoding::Hex.encode(&keys.sign(&[body])).parse().unwrap());
            scheme.verify(&headers, body, Timestamp::from_millis(0))
        };
        let plain = Hmac::custom(SECRET).header("x-signature").build().unwrap();
        assert_eq!(verify(&plain, b"1"), verify(&plain, b"1"));
        assert_ne!(verify(&plain, b"1"), verify(&plain, b"2"));
        let find = |_: &HeaderMap, body: &[u8]| String::from_utf8(body.to_vec()).ok();
        let named = Hmac::custom(SECRET).header("x-signature").delivery_id_from(find).build().unwrap();
        assert_eq!(verify(&named, b"d-7"), Ok(Verified::named("d-7")));
        assert!(matches!(verify(&named, b"\xff"), Err(Refused::Malformed(_))));
    }
}
