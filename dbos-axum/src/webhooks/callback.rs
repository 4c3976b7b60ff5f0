//! Addresses that allow whoever has them to send one message to one workflow.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use dbos_runtime::{Timestamp, WorkflowId};
use http::StatusCode;
use http::uri::Uri;
use sha2::{Digest as _, Sha256};

use super::encoding::Encoding;
use super::keys::{Algorithm, Keys};
use super::misconfigured::Misconfigured;
use crate::ctx::DbosCtx;
use crate::problem::Problem;
use crate::scope::hex;

/// A shorter secret is guessed.
const LEAST_BYTES: usize = 32;
/// The longest id and the longest topic with everything around them stay below it.
const TOKEN_BYTES: usize = 8 * 1024;
/// What a signature of ours is for; no other use of the secret has the same.
const PURPOSE: &[u8] = b"dbos-axum/callback/1:";

/// Makes the addresses of callbacks: for somebody who cannot sign, but can be given a URL.
///
/// An address allows whoever has it to send one message on one topic to one workflow until it expires, and nothing
/// else. A second message to it is dropped, and answered like the first. Give the same value to
/// [`DbosLayer::callbacks`](crate::DbosLayer::callbacks), and the layer to [`Webhooks`](super::Webhooks), which takes
/// the messages.
///
/// # Examples
///
/// A workflow that asks a service for work and waits for its answer:
///
/// ```
/// use std::time::Duration;
///
/// use dbos_axum::webhooks::Callbacks;
/// use dbos_runtime::{Ctx, Error, workflow};
/// use serde_json::Value;
///
/// #[workflow]
/// async fn render(ctx: Ctx<Callbacks>, film: String) -> Result<Option<Value>, Error> {
///     let hour = Duration::from_secs(3600);
///     let until = ctx.now().await?.after(hour);
///     let url = ctx.state().url(ctx.workflow_id(), "rendered", until);
///     ctx.step("order", || order(&film, &url)).await?;
///     ctx.recv("rendered").timeout(hour).await
/// }
///
/// async fn order(film: &str, callback: &str) -> Result<(), Error> {
///     // POST {"film": …, "callback": …} to the service.
/// #   drop((film, callback));
///     Ok(())
/// }
///
/// let callbacks = Callbacks::new("a secret of at least 32 random bytes", "https://shop.example/in")?;
/// # drop((callbacks, render));
/// # Ok::<(), dbos_axum::webhooks::Misconfigured>(())
/// ```
#[derive(Clone)]
pub struct Callbacks {
    keys: Arc<Keys>,
    base: Arc<str>,
}

/// What a token allows.
#[derive(Debug)]
pub(super) struct Capability {
    pub(super) workflow: WorkflowId,
    pub(super) topic: Option<String>,
    /// The same for every message that comes with the token.
    pub(super) key: String,
}

/// What is written in a token: workflow, topic, and the time at which it expires.
type Claims<'a> = (&'a str, Option<&'a str>, i64);

impl Callbacks {
    /// Addresses that are made with this secret, below the URL where the router of [`Webhooks`](super::Webhooks) is
    /// nested, as the world sees it. All processes of an application need the same secret.
    ///
    /// # Errors
    ///
    /// When the secret has less than 32 bytes, or the URL is none of `http` or `https`, or has a query.
    pub fn new(secret: impl AsRef<[u8]>, base: &str) -> Result<Self, Misconfigured> {
        let uri: Option<Uri> = base.parse().ok();
        let web = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.query().is_none();
        if !uri.as_ref().is_some_and(web) || base.contains('#') {
            return Err(Misconfigured::new(format!("{base:?} is not an address of the web without a query")));
        }
        let keys = Keys::new(Algorithm::Sha256, secret.as_ref(), LEAST_BYTES)?;
        Ok(Self { keys: Arc::new(keys), base: base.trim_end_matches('/').into() })
    }

    /// Accepts addresses that were made with this secret too: the old one, while it is being replaced.
    ///
    /// # Errors
    ///
    /// When the secret has less than 32 bytes.
    pub fn also_accept(self, secret: impl AsRef<[u8]>) -> Result<Self, Misconfigured> {
        let keys = Arc::unwrap_or_clone(self.keys).with(secret.as_ref(), LEAST_BYTES)?;
        Ok(Self { keys: Arc::new(keys), ..self })
    }

    /// The address to which one message on that topic for that workflow can be sent, until it expires.
    ///
    /// The same arguments give the same address, so a workflow that is replayed gives out no second one.
    pub fn url<'t>(
        &self,
        workflow: &WorkflowId,
        topic: impl Into<Option<&'t str>>,
        expires: Timestamp,
    ) -> String {
        let claims: Claims<'_> = (workflow.as_str(), topic.into(), expires.as_millis());
        // Two texts and a number are always JSON.
        let claims = serde_json::to_vec(&claims).unwrap_or_default();
        let signature = self.keys.sign(&[PURPOSE, &claims]);
        let [claims, signature] = [claims, signature].map(|bytes| Encoding::Base64Url.encode(&bytes));
        format!("{}/callbacks/{claims}.{signature}", self.base)
    }

    /// What a token allows, if it is ours and has not expired.
    pub(super) fn open(&self, token: &str, now: Timestamp) -> Option<Capability> {
        let (claims, signature) = token.split_once('.').filter(|_| token.len() <= TOKEN_BYTES)?;
        let claims = Encoding::Base64Url.decode(claims)?;
        let signature = Encoding::Base64Url.decode(signature)?;
        if !self.keys.signed(&[PURPOSE, &claims], &[signature]) {
            return None;
        }
        let (workflow, topic, expires): (String, Option<String>, i64) =
            serde_json::from_slice(&claims).ok()?;
        if now >= Timestamp::from_millis(expires) {
            return None;
        }
        let key = format!("cb:{}", hex(Sha256::new().chain_update(&claims), 16));
        Some(Capability { workflow: WorkflowId::parse(workflow).ok()?, topic, key })
    }
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks").field("base", &self.base).finish_non_exhaustive()
    }
}

impl DbosCtx {
    /// The address to which somebody else can send one message on that topic for that workflow, for as long as said.
    /// The layer has to have [`callbacks`](crate::DbosLayer::callbacks).
    ///
    /// Inside of a workflow, use [`Callbacks::url`].
    ///
    /// # Errors
    ///
    /// 500 when the layer has none.
    pub fn callback_url<'t>(
        &self,
        workflow: &WorkflowId,
        topic: impl Into<Option<&'t str>>,
        valid_for: Duration,
    ) -> Result<String, Problem> {
        let Some(callbacks) = &self.scope.settings.callbacks else {
            let detail =
                "Callback URLs need a secret: give the layer `Callbacks` with `DbosLayer::callbacks`.";
            tracing::error!("{detail}");
            let problem = Problem::new(StatusCode::INTERNAL_SERVER_ERROR).with_detail(detail);
            return Err(problem.within(&self.seen));
        };
        Ok(callbacks.url(workflow, topic, self.dbos().now().after(valid_for)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "a secret of at least 32 random bytes";
    const OTHER: &str = "another one that has 32 random bytes";

    fn callbacks(secret: &str) -> Callbacks {
        Callbacks::new(secret, "https://shop.example/in/").unwrap()
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn an_address_opens_until_it_expires_and_only_as_it_was_made() {
        let ours = callbacks(SECRET);
        let id = WorkflowId::parse("order-7").unwrap();
        let url = ours.url(&id, "payment", at(1_000));
        assert_eq!(url, ours.url(&id, "payment", at(1_000)));
        let token = url.strip_prefix("https://shop.example/in/callbacks/").unwrap();

        let opened = ours.open(token, at(999)).unwrap();
        assert_eq!((opened.workflow.as_str(), opened.topic.as_deref()), ("order-7", Some("payment")));
        assert!(ours.open(token, at(1_000)).is_none());
        assert!(callbacks(OTHER).open(token, at(0)).is_none());
        let rotated = callbacks(OTHER).also_accept(SECRET).unwrap();
        assert_eq!(rotated.open(token, at(0)).unwrap().key, opened.key);

        // Each character counts, and so does the end.
        for index in 0..token.len() {
            let mut forged = token.to_owned().into_bytes();
            forged[index] = if forged[index] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert!(ours.open(&forged, at(0)).is_none(), "{index}: {forged}");
        }
        for forged in ["", ".", "a.b", &token[..token.len() - 1], &format!("{token}A"), &"x.".repeat(9_000)] {
            assert!(ours.open(forged, at(0)).is_none(), "{forged}");
        }
        let others = [ours.url(&id, None, at(1_000)), ours.url(&id, "payment", at(1_001))];
        for url in others {
            let token = url.rsplit_once('/').unwrap().1;
            assert_ne!(ours.open(token, at(0)).unwrap().key, opened.key, "{url}");
        }
    }

    #[test]
    fn a_secret_and_an_address_have_to_be_good() {
        for secret in ["", "only thirty-one bytes, not more"] {
            assert!(Callbacks::new(secret, "https://shop.example").is_err(), "{secret}");
            assert!(callbacks(SECRET).also_accept(secret).is_err(), "{secret}");
        }
        for base in
            ["", "shop.example", "/in", "ftp://shop.example", "https://shop.example/?x=1", "https://a/#b"]
        {
            assert!(Callbacks::new(SECRET, base).is_err(), "{base}");
        }
        assert!(!format!("{:?}", callbacks(SECRET)).contains("secret"));
    }
}
