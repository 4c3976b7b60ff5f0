//! Tokens for browsers: an `EventSource` can send no header, so it carries the right to one stream in its address.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dbos_runtime::WorkflowId;
use hmac::{Hmac, KeyInit, Mac};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::access::Action;
use crate::ctx::DbosCtx;
use crate::principal::Principal;
use crate::problem::Problem;

/// A shorter secret is none.
const SECRET_BYTES: usize = 32;
/// A token is in the address of a request, where more eyes see it than a header.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// What the secret is used for, so that no signature made with it for something else is a token.
const PURPOSE: &[u8] = b"dbos-axum/stream-token/1";

/// Makes and checks tokens that let their holder read one stream of one workflow for some minutes.
///
/// Give it to [`DbosLayer::stream_tokens`](crate::DbosLayer::stream_tokens). A handler mints a token for its caller with
/// [`DbosCtx::stream_token`]; the stream's route of [`WorkflowApi`](crate::WorkflowApi) takes it as `?access_token=…`, and
/// nothing else does. All processes that serve the application need the same secret.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use dbos_axum::{DbosCtx, DbosLayer, Json, Path, Principal, Problem, ShortSecret, StreamTokens, WorkflowId};
/// use dbos_runtime::Dbos;
///
/// fn layer(dbos: Dbos, secret: &str) -> Result<DbosLayer, ShortSecret> {
///     Ok(DbosLayer::new(dbos).stream_tokens(StreamTokens::new(secret)?))
/// }
///
/// async fn mint(ctx: DbosCtx, user: Principal, Path(id): Path<WorkflowId>) -> Result<Json<String>, Problem> {
///     ctx.on_behalf_of(&user).stream_token(&id, "progress", Duration::from_secs(600)).await.map(Json)
/// }
/// # let _ = axum::Router::<()>::new().route("/token/{id}", axum::routing::get(mint));
/// ```
#[derive(Clone)]
pub struct StreamTokens {
    secret: Hmac<Sha256>,
    now: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

/// A secret has fewer than 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShortSecret;

impl fmt::Display for ShortSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the secret of stream tokens needs at least {SECRET_BYTES} bytes")
    }
}

impl std::error::Error for ShortSecret {}

/// What a token says: until when (in seconds since 1970), and on whose behalf.
#[derive(Serialize, Deserialize)]
struct Claims(u64, Option<String>, Option<String>, Vec<String>);

impl StreamTokens {
    /// Tokens signed with that secret, which has to be random and has at least 32 bytes.
    ///
    /// # Errors
    ///
    /// [`ShortSecret`].
    pub fn new(secret: impl AsRef<[u8]>) -> Result<Self, ShortSecret> {
        let secret =
            Some(secret.as_ref()).filter(|secret| secret.len() >= SECRET_BYTES).ok_or(ShortSecret)?;
        let secret = Hmac::new_from_slice(secret).map_err(|_| ShortSecret)?;
        #[expect(clippy::disallowed_methods, reason = "the one place; `clock` replaces it")]
        let now = SystemTime::now;
        Ok(Self { secret, now: Arc::new(now) })
    }

    /// With a clock of one's own, for tests.
    #[must_use]
    pub fn clock(self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self { now: Arc::new(now), ..self }
    }

    fn mint(&self, who: &Principal, id: &WorkflowId, key: &str, ttl: Duration) -> Result<String, Problem> {
        let until = self.seconds().saturating_add(ttl.min(LONGEST).as_secs());
        let owned = |text: Option<&str>| text.map(ToOwned::to_owned);
        let claims = Claims(until, owned(who.tenant()), owned(who.user()), who.roles().to_vec());
        let claims =
            serde_json::to_vec(&claims).map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR))?;
        let signature = self.signature(&claims, id, key).finalize().into_bytes();
        Ok(format!("{}.{}", URL_SAFE_NO_PAD.encode(claims), URL_SAFE_NO_PAD.encode(signature)))
    }

    /// On whose behalf the stream is read; nothing when the token does not allow it.
    pub(crate) fn check(&self, token: &str, id: &WorkflowId, key: &str) -> Option<Principal> {
        let (claims, signature) = token.split_once('.')?;
        let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        // In constant time, and before anything that it signs is believed.
        self.signature(&claims, id, key).verify_slice(&signature).ok()?;
        let Claims(until, tenant, user, roles) = serde_json::from_slice(&claims).ok()?;
        if self.seconds() >= until {
            return None;
        }
        let who = Principal::new(user.unwrap_or_default()).with_tenant(tenant.unwrap_or_default());
        Some(who.with_roles(roles))
    }

    fn signature(&self, claims: &[u8], id: &WorkflowId, key: &str) -> Hmac<Sha256> {
        let mut mac = self.secret.clone();
        for part in [PURPOSE, claims, id.as_str().as_bytes(), key.as_bytes()] {
            // With its length, so that no two parts run together into others.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }

    fn seconds(&self) -> u64 {
        (self.now)().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
    }
}

impl fmt::Debug for StreamTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamTokens").finish_non_exhaustive()
    }
}

impl DbosCtx {
    /// A token with which the caller's browser reads that stream: `…/streams/{key}?access_token={token}`. It is good for
    /// `ttl`, and for 15 minutes at most; the stream that is open by then stays open.
    ///
    /// # Errors
    ///
    /// 404 when there is no such workflow or the caller may not read it, 503 when the database is away, 500 when the
    /// layer has no [`StreamTokens`].
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is changed.
    pub async fn stream_token(&self, id: &WorkflowId, key: &str, ttl: Duration) -> Result<String, Problem> {
        let minted = async {
            self.look(id, Action::Read).await?;
            let Some(tokens) = &self.scope.settings.stream_tokens else {
                let detail = "The layer makes no stream tokens: give it `.stream_tokens(..)`.";
                tracing::error!("{detail}");
                return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR).with_detail(detail));
            };
            tokens.mint(self.caller(), id, key, ttl)
        };
        minted.await.map_err(|problem| problem.within(&self.seen))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const SECRET: [u8; 32] = [7; 32];

    fn id(text: &str) -> WorkflowId {
        WorkflowId::parse(text).unwrap()
    }

    #[test]
    fn a_short_secret_is_refused_and_none_is_shown() {
        assert_eq!(StreamTokens::new([0; 31]).err(), Some(ShortSecret));
        assert_eq!(StreamTokens::new("").err(), Some(ShortSecret));
        assert_eq!(format!("{:?}", StreamTokens::new(SECRET).unwrap()), "StreamTokens { .. }");
    }

    #[test]
    fn a_token_is_good_for_its_stream_and_its_time() {
        let now = Arc::new(AtomicU64::new(1_000_000));
        let clock = Arc::clone(&now);
        let at = move || UNIX_EPOCH + Duration::from_secs(clock.load(Ordering::Relaxed));
        let tokens = StreamTokens::new(SECRET).unwrap().clock(at.clone());
        let ada = Principal::new("ada").with_tenant("acme").with_roles(["buyer"]);
        let token = tokens.mint(&ada, &id("w"), "k", Duration::from_secs(60)).unwrap();
        assert_eq!(tokens.check(&token, &id("w"), "k"), Some(ada.clone()));
        for (workflow, key) in [("w", "k2"), ("w2", "k"), ("wk", ""), ("v", "k")] {
            assert_eq!(tokens.check(&token, &id(workflow), key), None, "{workflow} {key}");
        }
        let others = StreamTokens::new([8; 32]).unwrap().clock(at);
        assert_eq!(others.check(&token, &id("w"), "k"), None);
        now.fetch_add(59, Ordering::Relaxed);
        assert!(tokens.check(&token, &id("w"), "k").is_some());
        now.fetch_add(1, Ordering::Relaxed);
        assert_eq!(tokens.check(&token, &id("w"), "k"), None);

        let long = tokens.mint(&ada, &id("w"), "k", Duration::MAX).unwrap();
        now.fetch_add(15 * 60 - 1, Ordering::Relaxed);
        assert!(tokens.check(&long, &id("w"), "k").is_some());
        now.fetch_add(1, Ordering::Relaxed);
        assert_eq!(tokens.check(&long, &id("w"), "k"), None);
    }

    #[test]
    fn a_token_that_was_touched_is_none() {
        let tokens = StreamTokens::new(SECRET).unwrap();
        let token = tokens.mint(&Principal::new("ada"), &id("w"), "k", LONGEST).unwrap();
        let (claims, signature) = token.split_once('.').unwrap();
        let forged = Claims(u64::MAX, None, Some("bob".to_owned()), Vec::new());
        let forged = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&forged).unwrap());
        let bad = [
            String::new(),
            ".".to_owned(),
            claims.to_owned(),
            format!("{claims}."),
            format!("{claims}.{}", &signature[..signature.len() - 2]),
            format!("{forged}.{signature}"),
            format!("{token}."),
            format!("{token}=="),
            format!(" {token}"),
            "\0.\0".to_owned(),
            "é.é".to_owned(),
        ];
        for token in bad {
            assert_eq!(tokens.check(&token, &id("w"), "k"), None, "{token:?}");
        }
        for at in 0..token.len() {
            let mut touched = token.clone().into_bytes();
            touched[at] = if touched[at] == b'A' { b'B' } else { b'A' };
            let touched = String::from_utf8(touched).unwrap();
            if URL_SAFE_NO_PAD.decode(touched.split_once('.').map_or("", |(_, s)| s)).ok()
                != URL_SAFE_NO_PAD.decode(signature).ok()
                || !touched.starts_with(claims)
            {
                assert_eq!(tokens.check(&touched, &id("w"), "k"), None, "{touched:?}");
            }
        }
    }
}
