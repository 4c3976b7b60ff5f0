//! Who is shopping: whoever has a secret. The page keeps it in a cookie, programs send it as a bearer token.
//!
//! There is nothing to sign up for, so the shop stores nothing about visitors: the hash of the secret is their name, and
//! their orders and workflows belong to that name.

use std::fmt::Write as _;

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use dbos_axum::{IntoPrincipal, Principal};
use sha2::{Digest, Sha256};

use crate::error::ShopError;
use crate::secret;

const COOKIE_NAME: &str = "visitor";
const YEAR_S: u32 = 365 * 24 * 3600;

/// A visitor of the shop. As an argument of a handler it refuses everybody without a secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Visitor {
    name: String,
}

impl Visitor {
    /// Whom the visitor's orders belong to.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn of(headers: &HeaderMap) -> Option<Self> {
        let secret = bearer_token(headers).or_else(|| cookie(headers)).filter(|text| is_secret(text))?;
        let hash = Sha256::digest(secret);
        let name = hash.iter().take(16).fold("visitor-".to_owned(), |mut name, byte| {
            // Writing to a string does not fail.
            let _ = write!(name, "{byte:02x}");
            name
        });
        Some(Self { name })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = ShopError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ShopError> {
        Self::of(&parts.headers).ok_or(ShopError::Stranger)
    }
}

impl IntoPrincipal for Visitor {
    fn principal(&self) -> Principal {
        Principal::new(&self.name)
    }
}

/// The cookie that makes a stranger a visitor. A shop behind TLS adds `Secure` to it.
pub(crate) fn greeting(headers: &HeaderMap) -> Option<[(HeaderName, String); 1]> {
    let stranger = cookie(headers).is_none_or(|text| !is_secret(text));
    stranger.then(|| {
        let secret = secret::random_hex();
        let cookie = format!("{COOKIE_NAME}={secret}; Path=/; Max-Age={YEAR_S}; HttpOnly; SameSite=Lax");
        [(SET_COOKIE, cookie)]
    })
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies
        .flat_map(|value| value.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find_map(|(name, value)| (name == COOKIE_NAME).then_some(value))
}

/// Long enough that nobody finds it by trying, and of characters that both headers can carry.
fn is_secret(text: &str) -> bool {
    (32..=256).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const OTHER: &str = "fedcba9876543210fedcba9876543210";

    fn visitor(headers: &[(HeaderName, &str)]) -> Option<Visitor> {
        let headers =
            headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
        Visitor::of(&headers.collect())
    }

    #[test]
    fn a_secret_makes_a_visitor_wherever_it_comes_from() {
        let bearer = visitor(&[(AUTHORIZATION, &format!("Bearer {SECRET}"))]).unwrap();
        assert!(bearer.name().starts_with("visitor-") && bearer.name().len() == 40);
        assert!(!bearer.name().contains(SECRET));
        let cases = [
            (COOKIE, format!("visitor={SECRET}"), true),
            (COOKIE, format!("a=b; visitor={SECRET}; c=d"), true),
            (AUTHORIZATION, format!("bearer  {SECRET} "), true),
            (COOKIE, format!("visitor={OTHER}"), false),
        ];
        for (name, value, same) in cases {
            assert_eq!(visitor(&[(name, &value)]).unwrap() == bearer, same, "{value}");
        }
        let both = [(COOKIE, &*format!("visitor={OTHER}")), (AUTHORIZATION, &*format!("Bearer {SECRET}"))];
        assert_eq!(visitor(&both), Some(bearer));
    }

    #[test]
    fn without_a_good_secret_nobody_is_a_visitor() {
        let cases = [
            (COOKIE, String::new()),
            (COOKIE, format!("visitors={SECRET}")),
            (COOKIE, format!("visitor={}", &SECRET[1..])),
            (COOKIE, format!("visitor={}", SECRET.repeat(9))),
            (COOKIE, format!("visitor={SECRET}\"")),
            (AUTHORIZATION, SECRET.to_owned()),
            (AUTHORIZATION, format!("Basic {SECRET}")),
            (AUTHORIZATION, "Bearer short".to_owned()),
        ];
        for (name, value) in cases {
            assert_eq!(visitor(&[(name, &value)]), None, "{value}");
        }
    }

    #[test]
    fn only_strangers_get_a_cookie() {
        let headers = |cookie: &str| HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(cookie).unwrap())]);
        let [(name, first)] = greeting(&HeaderMap::new()).unwrap();
        assert_eq!(name, SET_COOKIE);
        let [(_, second)] = greeting(&headers("visitor=broken")).unwrap();
        assert_ne!(first, second);
        let kept = first.split(';').next().unwrap();
        assert_eq!(kept.len(), "visitor=".len() + 64);
        assert!(first.ends_with("; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax"), "{first}");
        assert!(greeting(&headers(kept)).is_none());
    }
}
