//! Bearer tokens.

use std::fmt;
use std::marker::PhantomData;

use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;

use super::secrets::{InvalidSecret, Secrets, hash, strong};
use super::{credentials, refused};
use crate::principal::{IntoPrincipal, Principal};
use crate::problem::Problem;

/// The tokens that [`BearerToken`] lets in, and whose they are. It belongs in the application's state, and clones
/// share one list.
///
/// A token is kept as its SHA-256 only. It has at least 16 of the characters that RFC 6750 allows in tokens; make one
/// with `openssl rand -hex 32`. Somebody may have several, so that a token can be replaced while the old one is still
/// in use.
///
/// `N` is a name, for applications with more than one list.
///
/// # Examples
///
/// ```
/// use axum::extract::FromRef;
/// use axum::{Router, routing::get};
/// use dbos_axum::{BearerToken, IntoPrincipal, Principal, Tokens};
///
/// #[derive(Clone)]
/// struct App {
///     operators: Tokens,
/// }
///
/// impl FromRef<App> for Tokens {
///     fn from_ref(app: &App) -> Self {
///         app.operators.clone()
///     }
/// }
///
/// async fn whoami(token: BearerToken) -> String {
///     token.principal().user().unwrap_or_default().to_owned()
/// }
///
/// # fn main() -> Result<(), dbos_axum::InvalidSecret> {
/// # let (old, new) = ("b7d3a1f5c09e4482", "4c1fe0a99d2b7735");
/// let ada = Principal::new("ada").with_roles(["operator"]);
/// let operators = Tokens::new().add(ada.clone(), old)?.add(ada, new)?;
/// let app: Router = Router::new().route("/whoami", get(whoami)).with_state(App { operators });
/// # Ok(()) }
/// ```
pub struct Tokens<N = ()> {
    secrets: Secrets,
    name: PhantomData<fn() -> N>,
}

impl<N> Tokens<N> {
    /// No token at all: nobody is let in.
    #[must_use]
    pub fn new() -> Self {
        Self { secrets: Secrets::default(), name: PhantomData }
    }

    /// Lets that caller in who has the token.
    ///
    /// # Errors
    ///
    /// [`InvalidSecret`] for a token that is empty or shorter than 16 bytes, that has a character which no token may
    /// have, or that is there already.
    pub fn add(mut self, whose: Principal, token: &str) -> Result<Self, InvalidSecret> {
        strong(token)?;
        if !token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)) {
            return Err(InvalidSecret("a token has letters, digits and -._~+/= only"));
        }
        self.secrets.add(hash(&[token.as_bytes()]), whose)?;
        Ok(self)
    }

    /// Lets that caller in who has the token of which this is the SHA-256, in hexadecimal digits. So the
    /// configuration need not hold the token: `printf %s "$TOKEN" | sha256sum`.
    ///
    /// # Errors
    ///
    /// [`InvalidSecret`] for a text that is no such hash, or one that is there already.
    pub fn add_sha256(mut self, whose: Principal, digits: &str) -> Result<Self, InvalidSecret> {
        self.secrets
            .add(from_hex(digits).ok_or(InvalidSecret("a SHA-256 has 64 hexadecimal digits"))?, whose)?;
        Ok(self)
    }
}

fn from_hex(digits: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if digits.len() != 2 * hash.len() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in hash.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
    }
    Some(hash)
}

impl<N> Clone for Tokens<N> {
    fn clone(&self) -> Self {
        Self { secrets: self.secrets.clone(), name: PhantomData }
    }
}

impl<N> Default for Tokens<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<N> fmt::Debug for Tokens<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tokens").field(&self.secrets).finish()
    }
}

/// A caller with one of the [`Tokens`] in the application's state: `Authorization: Bearer <token>`. Anybody else gets
/// a problem of status 401 with `WWW-Authenticate: Bearer`.
pub struct BearerToken<N = ()> {
    whose: Principal,
    name: PhantomData<fn() -> N>,
}

impl<N, S> FromRequestParts<S> for BearerToken<N>
where
    Tokens<N>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let tokens = Tokens::<N>::from_ref(state);
        let whose =
            credentials(parts, "Bearer").and_then(|token| tokens.secrets.find(&hash(&[token.as_bytes()])));
        let whose = whose.cloned().ok_or_else(|| refused(parts, "Bearer"))?;
        Ok(Self { whose, name: PhantomData })
    }
}

impl<N> IntoPrincipal for BearerToken<N> {
    fn principal(&self) -> Principal {
        self.whose.clone()
    }
}

impl<N> fmt::Debug for BearerToken<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BearerToken").field(&self.whose).finish()
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const ADAS: &str = "b7d3a1f5c09e4482";
    const BOBS: &str = "4c1fe0a99d2b7735";

    fn tokens() -> Tokens {
        let bobs = hash(&[BOBS.as_bytes()]).iter().map(|byte| format!("{byte:02X}")).collect::<String>();
        let ada = Principal::new("ada").with_roles(["operator"]);
        let tokens = Tokens::new().add(ada.clone(), ADAS).unwrap().add(ada, "anotherOneOfAdas").unwrap();
        tokens.add_sha256(Principal::new("bob"), &bobs).unwrap()
    }

    async fn asked(headers: &[&[u8]]) -> Result<BearerToken, Problem> {
        let mut request = Request::builder();
        for header in headers {
            request = request.header("authorization", *header);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        BearerToken::from_request_parts(&mut parts, &tokens()).await
    }

    #[tokio::test]
    async fn who_has_a_token_is_known_by_it() {
        for (header, user) in [
            (format!("Bearer {ADAS}"), "ada"),
            ("bearer   anotherOneOfAdas".to_owned(), "ada"),
            (format!("BEARER {BOBS}"), "bob"),
        ] {
            let token = asked(&[header.as_bytes()]).await.unwrap();
            assert_eq!(token.principal().user(), Some(user), "{header}");
        }
    }

    #[tokio::test]
    async fn s10_anything_else_gets_the_same_refusal() {
        let good = format!("Bearer {ADAS}");
        let cases: [&[&[u8]]; 10] = [
            &[],
            &[b""],
            &[b"Bearer"],
            &[b"Bearer "],
            &[b"Bearer b7d3a1f5c09e4483"],
            &[b"Bearer b7d3a1f5c09e448"],
            &[b"Basic b7d3a1f5c09e4482"],
            &[b"b7d3a1f5c09e4482"],
            &[b"Bearer \xff"],
            &[good.as_bytes(), good.as_bytes()],
        ];
        for headers in cases {
            let problem = asked(headers).await.unwrap_err();
            assert!(problem.is(crate::problem::UNAUTHENTICATED), "{headers:?}");
            let response = axum::response::IntoResponse::into_response(problem);
            assert_eq!(response.headers()["www-authenticate"], "Bearer", "{headers:?}");
        }
    }

    #[test]
    fn a_bad_token_is_refused_when_the_list_is_made() {
        let add = |token: &str| Tokens::<()>::new().add(Principal::new("ada"), token).map(drop);
        for bad in ["", "fifteen-bytes-x", "sixteen bytes, so", "sixteen\u{e9}bytes-so", "sixteen-bytes-so\n"]
        {
            assert!(add(bad).is_err(), "{bad:?}");
        }
        assert!(add("sixteen-bytes-so").is_ok());
        assert_eq!(
            tokens().add(Principal::new("eve"), ADAS).unwrap_err().to_string(),
            "the secret is given twice"
        );
        let all = "0".repeat(64);
        for bad in ["", "00", &all[1..], &"+1".repeat(32), &format!("{all}0")] {
            assert!(Tokens::<()>::new().add_sha256(Principal::new("ada"), bad).is_err(), "{bad:?}");
        }
    }

    // S24
    #[test]
    fn a_token_is_not_printed() {
        let text = format!("{:?}", tokens());
        assert!(text.contains("ada") && !text.contains(ADAS) && !text.contains("183"), "{text}");
    }
}
