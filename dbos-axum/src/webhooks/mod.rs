//! Deliveries from outside, handed to workflows exactly once.
//!
//! A [`Webhooks`] router takes signed requests from other services. It checks the signature over the bytes as they came,
//! asks the application what the event means, makes that durable, and only then answers. The same delivery can come as
//! often as its sender likes, to any process.
//!
//! ```
//! use axum::Router;
//! use dbos_axum::webhooks::{self, Deliver, Stripe, Webhooks};
//! use dbos_runtime::Dbos;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Event {
//!     r#type: String,
//!     data: Data,
//! }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Data {
//!     object: Payment,
//! }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Payment {
//!     /// The workflow that waits for it: `recv::<Payment>("payment")`.
//!     client_reference_id: String,
//!     amount_total: u64,
//! }
//!
//! fn app(dbos: Dbos, secret: &str) -> Result<Router, webhooks::Misconfigured> {
//!     let hooks = Webhooks::new(dbos).source("stripe", Stripe::new(secret)?, |event: Event| {
//!         match event.r#type.as_str() {
//!             "checkout.session.completed" => {
//!                 let payment = event.data.object;
//!                 Deliver::send(payment.client_reference_id.as_str(), "payment", &payment)
//!             }
//!             _ => Deliver::ignore(),
//!         }
//!     });
//!     // Stripe is told https://shop.example/in/hooks/stripe
//!     Ok(Router::new().nest("/in", hooks.into_router()?))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let file = std::env::temp_dir().join(format!("dbos-hooks-{}.sqlite", std::process::id()));
//! # let url = format!("sqlite:{}", file.display());
//! // Each delivery is a workflow, which the application has to know.
//! let dbos = Dbos::builder("shop").database_url(url).register(webhooks::inbox()).launch().await?;
//! let app = app(dbos.clone(), "whsec_5f1d0a3b7c9e8f2a4b6c8d0e1f3a5b7c")?;
//! # drop(app);
//! # dbos.shutdown(std::time::Duration::ZERO).await;
//! # std::fs::remove_file(file)?;
//! # Ok(())
//! # }
//! ```
//!
//! | the delivery | the answer |
//! |---|---|
//! | accepted, a duplicate, or of no interest | 202 `{"delivery": "…", "duplicate": false}` |
//! | not signed, signed otherwise, or at another time | 401, with one body for all of them |
//! | signed in more than one way, or of another shape than the closure takes | 400 |
//! | too long; too slow; no JSON by its headers | 413; 408; 415 |
//! | of a source that is not there | 404 |
//! | the database is away; too much comes at once | 503; 429, both with `Retry-After` |

mod callback;
mod custom;
mod deliver;
mod delivery_id;
#[cfg(feature = "openapi")]
mod describe;
mod encoding;
mod github;
mod inbox;
mod keys;
mod misconfigured;
mod operation;
mod reading;
mod receiver;
mod scheme;
mod source;
mod standard;
mod stripe;
mod unsigned;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use dbos_runtime::Timestamp;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use crate::layer::DbosLayer;
use crate::routes;

pub use callback::Callbacks;
pub use custom::{Hmac, HmacBuilder};
pub use deliver::{Deliver, IntoDeliver};
pub use encoding::Encoding;
pub use github::GitHub;
pub use inbox::{Inbox, inbox};
pub use keys::Algorithm;
pub use misconfigured::Misconfigured;
pub use scheme::{Refused, SignatureScheme, Verified};
pub use source::Delivery;
pub use standard::StandardWebhooks;
pub use stripe::Stripe;
pub use unsigned::Unsigned;

use operation::ROUTES;
use reading::Readers;
use receiver::{BodyLimits, Clock, Receiver, Way};
use source::Source;

/// How long a message waits for its workflow by default: as long as most senders would try.
const PATIENCE: Duration = Duration::from_secs(3 * 24 * 3600);
/// As many deliveries are taken at a time by default.
const AT_ONCE: usize = 512;
/// As many bytes of bodies are held while they are read, by default.
const BYTES_AT_ONCE: usize = 128 * 1024 * 1024;
/// A sender that takes longer is none, by default: they wait for their answer for 10 to 30 seconds themselves.
const DEADLINE: Duration = Duration::from_secs(15);

/// A router for deliveries from outside.
///
/// | route | |
/// |---|---|
/// | `POST /hooks/{source}`, `POST /hooks/{source}/{*tail}` | a delivery of a [`source`](Self::source) |
/// | `POST /callbacks/{token}` | an answer to an address of [`Callbacks`] |
///
/// A delivery is started as the workflow `dbos.webhook` under the id `wh:{source}:{delivery}`, so it is taken once, and
/// what it stands for is done however often the process dies. The [module's page](self) has the answers.
#[must_use = "nothing is served until the router is nested"]
pub struct Webhooks {
    layer: DbosLayer,
    sources: Vec<Source>,
    direct: bool,
    patience: Duration,
    body_limit: Option<usize>,
    at_once: usize,
    bytes_at_once: usize,
    deadline: Duration,
    clock: Option<Clock>,
}

impl Webhooks {
    /// Deliveries to the workflows of a runtime, or of a layer's; with the layer's [`Callbacks`], if it has some.
    pub fn new(layer: impl Into<DbosLayer>) -> Self {
        Self {
            layer: layer.into(),
            sources: Vec::new(),
            direct: false,
            patience: PATIENCE,
            body_limit: None,
            at_once: AT_ONCE,
            bytes_at_once: BYTES_AT_ONCE,
            deadline: DEADLINE,
            clock: None,
        }
    }

    /// Takes deliveries at `POST /hooks/{name}` that are signed by that scheme. The closure says what an event means; it
    /// may fail, with a [`Problem`](crate::Problem) that the sender is answered with.
    ///
    /// The name is 1 to 64 of `A-Z`, `a-z`, `0-9`, `-` and `_`.
    pub fn source<E, D>(
        self,
        name: &str,
        scheme: impl SignatureScheme,
        meaning: impl Fn(E) -> D + Send + Sync + 'static,
    ) -> Self
    where
        E: DeserializeOwned + 'static,
        D: IntoDeliver + 'static,
    {
        self.source_with(name, scheme, move |delivery: Delivery<E>| meaning(delivery.event))
    }

    /// Like [`source`](Self::source), with a closure that sees the whole [`Delivery`]: its headers, its name, the rest
    /// of its path.
    pub fn source_with<E, D>(
        mut self,
        name: &str,
        scheme: impl SignatureScheme,
        meaning: impl Fn(Delivery<E>) -> D + Send + Sync + 'static,
    ) -> Self
    where
        E: DeserializeOwned + 'static,
        D: IntoDeliver + 'static,
    {
        self.sources.push(Source::new(name, scheme, meaning));
        self
    }

    /// Sends and starts at once, without a workflow in between. A message to a workflow that does not exist is answered
    /// with 404, and it is up to the sender to try again.
    pub fn direct(mut self) -> Self {
        self.direct = true;
        self
    }

    /// How long a message waits for a workflow that does not exist yet; three days by default. Then the delivery's
    /// workflow ends with the error.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// How long a body may be, in bytes, for every source and for callbacks; 1 MiB by default, 25 MiB from GitHub.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = Some(bytes);
        self
    }

    /// How long a body may take to come; 15 seconds by default. Then it is answered with 408.
    pub fn body_deadline(mut self, limit: Duration) -> Self {
        self.deadline = limit;
        self
    }

    /// How many bytes may be held of bodies that are still coming, in all; 128 MiB by default, and never less than one body
    /// may have. When there are more, the body that has been coming for the longest is answered with 429: nobody has to sign
    /// anything to send bytes, so whoever is slow must not keep others out.
    pub fn bytes_at_once(mut self, most: usize) -> Self {
        self.bytes_at_once = most;
        self
    }

    /// How many deliveries that have come to their end are taken at a time; 512 by default. One more is answered with 429.
    pub fn at_once(mut self, most: usize) -> Self {
        self.at_once = most.min(Semaphore::MAX_PERMITS);
        self
    }

    /// The clock by which deliveries are too old and callbacks expire; the database's by default. For tests.
    pub fn clock(mut self, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.clock = Some(Arc::new(now));
        self
    }

    /// The router, for an application with any state.
    ///
    /// # Errors
    ///
    /// When a source has no good name, or the name of another; when the runtime does not know [`inbox`] and something
    /// would need it.
    pub fn into_router<S>(self) -> Result<Router<S>, Misconfigured>
    where
        S: Clone + Send + Sync + 'static,
    {
        let (dbos, callbacks) = self.layer.delivering();
        for (n, source) in self.sources.iter().enumerate() {
            source.check()?;
            if self.sources.iter().take(n).any(|other| other.name == source.name) {
                return Err(Misconfigured::new(format!(
                    "there are two sources of the name {:?}",
                    source.name
                )));
            }
        }
        if !self.direct && !self.sources.is_empty() && !dbos.has_workflow(inbox::NAME) {
            let advice = "add `.register(dbos_axum::webhooks::inbox())` before the launch";
            return Err(Misconfigured::new(format!(
                "the runtime does not know the workflow of webhooks: {advice}"
            )));
        }
        let limits = BodyLimits(self.body_limit);
        let longest =
            self.sources.iter().map(|source| limits.of(source)).fold(limits.of_callbacks(), usize::max);
        let now = dbos.clone();
        let receiver = Arc::new(Receiver {
            clock: self.clock.unwrap_or_else(|| Arc::new(move || now.now())),
            dbos,
            sources: self.sources,
            callbacks,
            way: if self.direct { Way::Direct } else { Way::Inbox(self.patience) },
            limits,
            readers: Readers::new(self.bytes_at_once, longest, self.deadline),
            at_once: Semaphore::new(self.at_once),
        });
        Ok(routes::router(ROUTES, |operation, method| operation.handler(method, &receiver), Vec::new()))
    }
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks").field("sources", &self.sources).finish_non_exhaustive()
    }
}
