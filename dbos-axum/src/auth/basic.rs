//! User names with passwords.

use std::fmt;
use std::marker::PhantomData;

use axum::extract::{FromRef, FromRequestParts};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::request::Parts;

use super::secrets::{InvalidSecret, Secrets, hash, strong};
use super::{credentials, refused};
use crate::principal::{IntoPrincipal, Principal};
use crate::problem::Problem;

/// The users that [`Basic`] lets in, and their passwords. It belongs in the application's state, and clones share
/// one list.
///
/// This is for a few people with generated passwords, where a browser has to ask; it is no store of accounts. A
/// password has at least 16 bytes, and only a SHA-256 of it is kept. A user may have several.
///
/// `N` is a name, for applications with more than one list.
///
/// # Examples
///
/// ```
/// use axum::{Router, routing::get};
/// use dbos_axum::{Basic, IntoPrincipal, Passwords, Principal};
///
/// async fn whoami(user: Basic) -> String {
///     user.principal().user().unwrap_or_default().to_owned()
/// }
///
/// # fn main() -> Result<(), dbos_axum::InvalidSecret> {
/// # let password = "correct horse battery";
/// let operators = Passwords::new().add(Principal::new("ada").with_roles(["operator"]), password)?;
/// let app: Router = Router::new().route("/whoami", get(whoami)).with_state(operators);
/// # Ok(()) }
/// ```
pub struct Passwords<N = ()> {
    secrets: Secrets,
    name: PhantomData<fn() -> N>,
}

impl<N> Passwords<N> {
    /// No user at all: nobody is let in.
    #[must_use]
    pub fn new() -> Self {
        Self { secrets: Secrets::default(), name: PhantomData }
    }

    /// Lets that user in with the password. They give the [user name](Principal::user) of the principal.
    ///
    /// # Errors
    ///
    /// [`InvalidSecret`] for a password that is empty or shorter than 16 bytes, or that is there already; for a user
    /// without a name, or of a name with a colon, which cannot be sent.
    pub fn add(mut self, whose: Principal, password: &str) -> Result<Self, InvalidSecret> {
        strong(password)?;
        let user = whose.user().filter(|user| !user.contains(':'));
        let user = user.ok_or(InvalidSecret("a user has a name without a colon"))?;
        if user.chars().chain(password.chars()).any(char::is_control) {
            return Err(InvalidSecret("a user name or a password has no control characters"));
        }
        self.secrets.add(hash(&[user.as_bytes(), b":", password.as_bytes()]), whose)?;
        Ok(self)
    }
}

impl<N> Clone for Passwords<N> {
    fn clone(&self) -> Self {
        Self { secrets: self.secrets.clone(), name: PhantomData }
    }
}

impl<N> Default for Passwords<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<N> fmt::Debug for Passwords<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Passwords").field(&self.secrets).finish()
    }
}

/// A user with one of the [`Passwords`] in the application's state, as browsers ask for it. Anybody else gets a
/// problem of status 401 with `WWW-Authenticate: Basic`.
///
/// A browser sends the password along with whatever another site makes it send. What has an effect must therefore
/// look where a request comes from, as the routers of this crate do, or take JSON alone.
pub struct Basic<N = ()> {
    whose: Principal,
    name: PhantomData<fn() -> N>,
}

impl<N, S> FromRequestParts<S> for Basic<N>
where
    Passwords<N>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let passwords = Passwords::<N>::from_ref(state);
        let pair = credentials(parts, "Basic").and_then(|pair| BASE64_STANDARD.decode(pair).ok());
        let whose = pair.and_then(|pair| passwords.secrets.find(&hash(&[&pair])).cloned());
        let whose = whose.ok_or_else(|| refused(parts, r#"Basic realm="dbos", charset="UTF-8""#))?;
        Ok(Self { whose, name: PhantomData })
    }
}

impl<N> IntoPrincipal for Basic<N> {
    fn principal(&self) -> Principal {
        self.whose.clone()
    }
}

impl<N> fmt::Debug for Basic<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Basic").field(&self.whose).finish()
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const PASSWORD: &str = "pass:word\u{e9} of Ada's";

    async fn asked(header: &str) -> Result<Basic, Problem> {
        let passwords = Passwords::new().add(Principal::new("ada"), PASSWORD).unwrap();
        let request = Request::builder().header("authorization", header).body(()).unwrap();
        let (mut parts, ()) = request.into_parts();
        Basic::from_request_parts(&mut parts, &passwords).await
    }

    #[tokio::test]
    async fn a_user_with_the_password_is_let_in_and_nobody_else() {
        let pair = |text: &str| BASE64_STANDARD.encode(text);
        let good = pair(&format!("ada:{PASSWORD}"));
        assert_eq!(asked(&format!("Basic {good}")).await.unwrap().principal().user(), Some("ada"));
        for bad in [
            pair(&format!("bob:{PASSWORD}")),
            pair(&format!("ada{PASSWORD}")),
            pair("ada:pass"),
            pair("ada"),
            pair(""),
            good.trim_end_matches('=').to_owned() + "!",
            String::new(),
        ] {
            let problem = asked(&format!("Basic {bad}")).await.unwrap_err();
            assert!(problem.is(crate::problem::UNAUTHENTICATED), "{bad}");
        }
        assert!(asked(&format!("Bearer {good}")).await.is_err());
    }

    #[test]
    fn a_user_that_could_never_be_let_in_is_refused_when_the_list_is_made() {
        let add =
            |user: &str, password: &str| Passwords::<()>::new().add(Principal::new(user), password).is_ok();
        assert!(add("ada", PASSWORD));
        for (user, password) in
            [("", PASSWORD), ("a:da", PASSWORD), ("ada\n", PASSWORD), ("ada", ""), ("ada", "short")]
        {
            assert!(!add(user, password), "{user:?} {password:?}");
        }
    }
}
