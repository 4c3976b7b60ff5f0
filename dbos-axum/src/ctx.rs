//! What a handler holds: it starts workflows, sends to them and reads from them on behalf of the request.

use std::future::Future;
use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath};
use dbos_runtime::{Dbos, ErrorKind, WorkflowId, WorkflowInfo};
use http::StatusCode;
use http::request::Parts;
use tokio_util::sync::CancellationToken;

use crate::access::Action;
use crate::key::IdempotencyKey;
use crate::layer::Scope;
use crate::links::Links;
use crate::patience::Patience;
use crate::principal::{IntoPrincipal, Principal};
use crate::problem::{self, Problem};
use crate::reply::Asked;
use crate::scope::Keyed;
use crate::seen::Seen;
use crate::trace::Trace;

/// Put into requests by a server that drains them: cancelled when that begins.
#[derive(Clone, Debug)]
pub(crate) struct Draining(pub(crate) CancellationToken);

/// The request's way to the runtime. A handler takes it as an argument; [`DbosLayer`](crate::DbosLayer) has to be on
/// the route.
///
/// A request has one idempotency key and so one [`start`](Self::start); [`sub_key`](Self::sub_key) names further ones.
/// What is done [on behalf of](Self::on_behalf_of) a caller concerns that caller's workflows only.
///
/// # Examples
///
/// ```
/// # use dbos_axum::{DbosCtx, Json, PreferWait, Principal, Problem, Reply, Started};
/// # use dbos_runtime::{Ctx, Error, workflow};
/// # #[workflow] async fn checkout(_: Ctx, cart: u32) -> Result<u32, Error> { Ok(cart) }
/// # #[workflow] async fn newsletter(_: Ctx, cart: u32) -> Result<(), Error> { Ok(()) }
/// async fn handler(ctx: DbosCtx, user: Principal, Json(cart): Json<u32>) -> Result<Started<u32>, Problem> {
///     let ctx = ctx.on_behalf_of(&user);
///     ctx.sub_key("newsletter").start(newsletter, cart).await?;
///     ctx.start(checkout, cart).await
/// }
///
/// async fn patient(ctx: DbosCtx, wait: PreferWait, Json(cart): Json<u32>) -> Result<Reply<u32>, Problem> {
///     ctx.require_key().start(checkout, cart).await?.wait(wait).await
/// }
/// # let _ = axum::Router::<()>::new()
/// #     .route("/a", axum::routing::post(handler)).route("/b", axum::routing::post(patient));
/// ```
#[derive(Clone, Debug)]
pub struct DbosCtx {
    pub(crate) scope: Scope,
    pub(crate) seen: Arc<Seen>,
    pub(crate) draining: CancellationToken,
    pub(crate) trace: Arc<Trace>,
    links: Links,
    key: Result<Option<IdempotencyKey>, Problem>,
    key_required: bool,
    pub(crate) sub_key: Option<Arc<str>>,
    pub(crate) owner: Principal,
    system: bool,
}

impl DbosCtx {
    /// The runtime.
    pub fn dbos(&self) -> &Dbos {
        &self.scope.settings.dbos
    }

    /// The same, on behalf of that caller.
    #[must_use = "the context that was given is used up"]
    pub fn on_behalf_of(self, who: &impl IntoPrincipal) -> Self {
        Self { owner: who.principal(), ..self }
    }

    /// The same, for the application itself, which may address every workflow, whoever owns it.
    #[must_use = "the context that was given is used up"]
    pub fn as_system(self) -> Self {
        Self { system: true, ..self }
    }

    /// The same, with that key in place of the one in the request's headers.
    #[must_use = "the context that was given is used up"]
    pub fn with_key(self, key: IdempotencyKey) -> Self {
        Self { key: Ok(Some(key)), ..self }
    }

    /// The same, but what takes an idempotency key is answered with 400 when the request has none.
    #[must_use = "the context that was given is used up"]
    pub fn require_key(self) -> Self {
        Self { key_required: true, ..self }
    }

    /// A context for one more operation under the request's key, which is told from the others by this name.
    #[must_use = "the name counts for what is done with the context that is returned"]
    pub fn sub_key(&self, name: &str) -> Self {
        Self { sub_key: Some(name.into()), ..self.clone() }
    }

    /// Cancelled when the server drains its requests or the runtime shuts down: a long response should end then.
    ///
    /// Under `axum::serve` only the runtime cancels it, so shut that down on the signal that stops the server, not afterwards.
    pub fn shutdown_token(&self) -> &CancellationToken {
        &self.draining
    }

    /// On whose behalf this is.
    pub(crate) fn caller(&self) -> &Principal {
        &self.owner
    }

    /// The same, with the links of an API that is mounted there.
    pub(crate) fn api_at(self, path: &str) -> Self {
        Self { links: Links::below(path), ..self }
    }

    /// What an answer takes from the request.
    pub(crate) fn asked(&self) -> Asked {
        let long_polls = Arc::clone(&self.scope.settings.long_polls);
        let patience = Patience { long_polls, draining: self.draining.clone() };
        Asked { dbos: self.dbos().clone(), patience, links: self.links.clone(), seen: Arc::clone(&self.seen) }
    }

    /// The facts of a workflow for a caller who may do that with it.
    pub(crate) async fn look(&self, id: &WorkflowId, to: Action) -> Result<WorkflowInfo, Problem> {
        let info = self.dbos().info(id).await?;
        // A foreign workflow gets the answer of one that is not there, so that nobody finds out which ids exist.
        if self.may(to, &info) {
            Ok(info)
        } else {
            Err(Problem::of(problem::NOT_FOUND).named(ErrorKind::NonExistentWorkflow).about(id))
        }
    }

    pub(crate) fn may(&self, to: Action, info: &WorkflowInfo) -> bool {
        self.system || self.scope.settings.policy.allows(&self.owner, to, info)
    }

    /// The request's key with what gives it its meaning; nothing when the request has none.
    pub(crate) fn keyed(&self) -> Result<Option<Keyed<'_>>, Problem> {
        match &self.key {
            Ok(Some(key)) => Ok(Some(Keyed { key, sub_key: self.sub_key.as_deref(), owner: &self.owner })),
            Ok(None) if self.key_required => Err(IdempotencyKey::missing()),
            Ok(None) => Ok(None),
            Err(problem) => Err(problem.clone()),
        }
    }

    /// Does something once in a request. A second time is refused, unless the first one failed.
    pub(crate) async fn once<T>(
        &self,
        claim: &str,
        doing: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let done = if self.scope.claim(claim) {
            doing.await.inspect_err(|_| self.scope.release(claim))
        } else {
            Err(used_up())
        };
        done.map_err(|problem| problem.within(&self.seen))
    }
}

fn used_up() -> Problem {
    let detail = "The request's idempotency key is used up: name each further operation of the handler with `sub_key`.";
    tracing::error!("{detail}");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR).with_detail(detail)
}

impl<S: Send + Sync> FromRequestParts<S> for DbosCtx {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(scope) = parts.extensions.get::<Scope>() else { return Err(no_layer(parts)) };
        let draining = match parts.extensions.get::<Draining>() {
            Some(Draining(token)) => token.clone(),
            None => scope.settings.dbos.shutdown_token(),
        };
        let seen = Arc::new(Seen::of(parts));
        Ok(Self {
            scope: scope.clone(),
            trace: Arc::new(Trace::of(parts, &seen, &scope.settings)),
            seen,
            draining,
            links: scope.settings.links.clone(),
            key: IdempotencyKey::read(&parts.headers),
            key_required: false,
            sub_key: None,
            owner: parts.extensions.get::<Principal>().cloned().unwrap_or_default(),
            system: false,
        })
    }
}

fn no_layer(parts: &Parts) -> Problem {
    let route = parts.extensions.get::<MatchedPath>().map_or("this route", MatchedPath::as_str);
    let detail = format!("DbosCtx needs DbosLayer: add `.layer(DbosLayer::new(dbos))` after {route}.");
    tracing::error!("{detail}");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR).with_detail(detail).within(&Seen::of(parts))
}
