//! A sender, and what its deliveries mean.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

use super::deliver::{Deliver, IntoDeliver, Order};
use super::delivery_id::DeliveryId;
use super::misconfigured::Misconfigured;
use super::scheme::SignatureScheme;
use crate::json;
use crate::problem::{self, Problem};

/// A longer name does not fit into the ids of deliveries.
const NAME_BYTES: usize = 64;

/// An authentic delivery, as [`Webhooks::source_with`](super::Webhooks::source_with) hands it to the closure.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Delivery<E> {
    /// The name of the delivery: what its sender calls it, or a hash.
    pub id: String,
    /// The body.
    pub event: E,
    /// The headers. What is not signed is not to be trusted.
    pub headers: HeaderMap,
    /// What follows the source in the path, without the slash; often nothing.
    pub tail: String,
}

/// What came in, with its signature checked.
pub(super) struct Incoming<'a> {
    pub(super) id: &'a DeliveryId,
    pub(super) headers: HeaderMap,
    pub(super) tail: String,
    pub(super) body: Bytes,
}

pub(super) struct Source {
    pub(super) name: String,
    pub(super) scheme: Box<dyn SignatureScheme>,
    meaning: Box<Meaning>,
}

type Meaning = dyn Fn(Incoming<'_>) -> Result<Order, Problem> + Send + Sync;

impl Source {
    pub(super) fn new<E, D>(
        name: &str,
        scheme: impl SignatureScheme,
        map: impl Fn(Delivery<E>) -> D + Send + Sync + 'static,
    ) -> Self
    where
        E: DeserializeOwned,
        D: IntoDeliver,
    {
        let meaning = move |Incoming { id, headers, tail, body }: Incoming<'_>| {
            json::content(&headers)?;
            let event = json::parse(&body).map_err(|problem| unreadable(&problem))?;
            let Deliver { order } =
                map(Delivery { id: id.as_str().to_owned(), event, headers, tail }).into_deliver()?;
            order
        };
        Self { name: name.to_owned(), scheme: Box::new(scheme), meaning: Box::new(meaning) }
    }

    /// What is to be done about a delivery.
    pub(super) fn meaning_of(&self, delivery: Incoming<'_>) -> Result<Order, Problem> {
        (self.meaning)(delivery)
    }

    pub(super) fn check(&self) -> Result<(), Misconfigured> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if (1..=NAME_BYTES).contains(&self.name.len()) && self.name.bytes().all(plain) {
            return Ok(());
        }
        let name = &self.name;
        Err(Misconfigured::new(format!(
            "the source {name:?} has to be 1 to 64 of A-Z, a-z, 0-9, '-' and '_'"
        )))
    }
}

/// JSON of another shape is no better than none: the sender cannot tell the two apart.
fn unreadable(problem: &Problem) -> Problem {
    if problem.status() == StatusCode::BAD_REQUEST {
        return problem.clone();
    }
    let detail = problem.detail().unwrap_or("The body has another shape than the source takes.");
    Problem::of(problem::DELIVERY_INVALID).with_detail(detail.to_owned())
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("name", &self.name).finish_non_exhaustive()
    }
}
