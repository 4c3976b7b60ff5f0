//! A stream that a client asked for: found, checked, and opened.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use dbos_runtime::{EncodedPage, WorkflowId, WorkflowInfo};
use http::HeaderValue;
use http::header::RETRY_AFTER;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::kept::Kept;
use super::response::StreamSse;
use super::shape::{Redaction, Shape, retyped};
use super::values::Values;
use crate::access::Action;
use crate::ctx::DbosCtx;
use crate::ids::LastEventId;
use crate::problem::{self, Problem};

/// Offsets are numbers of 32 bits in the database; nothing comes after this one.
const LAST: i64 = i32::MAX as i64;

impl DbosCtx {
    /// Reads a stream of a workflow: live as server-sent events with [`sse`](StreamRead::sse), or as it is now with
    /// [`page`](StreamRead::page). Each value is read as a `T` and written as one, so nothing else leaves.
    ///
    /// # Examples
    ///
    /// ```
    /// use dbos_axum::{DbosCtx, LastEventId, Path, Principal, Problem, StreamSse, WorkflowId};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Progress {
    ///     percent: u8,
    /// }
    ///
    /// async fn progress(
    ///     ctx: DbosCtx,
    ///     user: Principal,
    ///     Path(id): Path<WorkflowId>,
    ///     at: LastEventId,
    /// ) -> Result<StreamSse, Problem> {
    ///     ctx.on_behalf_of(&user).stream::<Progress>(&id, "progress").resume(at).sse().await
    /// }
    /// # let _ = axum::Router::<()>::new().route("/progress/{id}", axum::routing::get(progress));
    /// ```
    pub fn stream<T: DeserializeOwned + Serialize>(&self, id: &WorkflowId, key: &str) -> StreamRead<T> {
        StreamRead { read: Read::new(self, id, key, Shape::Typed(retyped::<T>)), value: PhantomData }
    }

    /// Reads a stream of a workflow as it is stored, whatever its values are: the cheapest way to hand it on, since a
    /// value is encoded once for all who read it.
    pub fn json_stream(&self, id: &WorkflowId, key: &str) -> StreamRead<Value> {
        StreamRead { read: Read::new(self, id, key, Shape::Stored), value: PhantomData }
    }

    /// A stream as the routers of this crate give it out.
    pub(crate) fn public_read(&self, id: &WorkflowId, key: &str) -> StreamRead<Value> {
        StreamRead { read: Read::new(self, id, key, Shape::Redacted(None)), value: PhantomData }
    }
}

/// A stream that is about to be read, as a response. Made by [`DbosCtx::stream`].
#[must_use = "nothing is read until `sse` or `page` is awaited"]
pub struct StreamRead<T> {
    pub(super) read: Read,
    value: PhantomData<fn() -> T>,
}

impl<T> StreamRead<T> {
    /// Goes on behind what the client has already.
    pub fn resume(mut self, at: LastEventId) -> Self {
        self.read.at = at;
        self
    }

    /// Begins with the next value that is written, unless the client says how far it has come.
    pub fn live(mut self) -> Self {
        self.read.live = true;
        self
    }

    /// The stream as server-sent events, to its end.
    ///
    /// The answer is 204 for a client that has seen the end, if nothing has come since. A client that can only take events
    /// and comes at a bad moment gets an answer that makes it come back; see [`StreamLimits`](crate::StreamLimits).
    ///
    /// # Errors
    ///
    /// 404 when there is no such workflow or it belongs to somebody else, 400 for a key that no stream can have, 503 when
    /// too many streams are open, the server stops, or the database is away.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is changed.
    pub async fn sse(self) -> Result<StreamSse, Problem> {
        let seen = Arc::clone(&self.read.ctx.seen);
        StreamSse::or_later(&seen, self.read.open().await)
    }
}

impl<T> fmt::Debug for StreamRead<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamRead")
            .field("id", &self.read.id)
            .field("key", &self.read.key)
            .finish_non_exhaustive()
    }
}

/// The question, without the type of its values.
pub(super) struct Read {
    pub(super) ctx: DbosCtx,
    pub(super) id: WorkflowId,
    pub(super) key: String,
    pub(super) shape: Shape,
    at: LastEventId,
    live: bool,
}

impl Read {
    fn new(ctx: &DbosCtx, id: &WorkflowId, key: &str, shape: Shape) -> Self {
        let (ctx, id, key) = (ctx.clone(), id.clone(), key.to_owned());
        Self { ctx, id, key, shape, at: LastEventId::default(), live: false }
    }

    async fn open(mut self) -> Result<StreamSse, Problem> {
        let reader = self.ctx.dbos().read_encoded_stream(&self.id, &self.key)?;
        let permit = self.ctx.enter()?;
        let workflow = self.ctx.look(&self.id, Action::Read).await?;
        self.knows(&workflow);
        let next = self.start().await?;
        if self.at.saw_end() && over(&self.page_at(next, 1).await?) {
            return Ok(StreamSse::nothing_more(&self.id));
        }
        let begins_now = self.begins_now();
        let values = Values::new(reader.from(unsigned(next)), next, self.shape, Arc::clone(&self.ctx.seen));
        let values = if begins_now { values.cursor_first() } else { values };
        Ok(StreamSse::open(&self.id, Kept::new(values, permit, &self.ctx.draining)))
    }

    /// Tells the redactor whose values these are.
    pub(super) fn knows(&mut self, workflow: &WorkflowInfo) {
        if let Shape::Redacted(redaction) = &mut self.shape
            && let Some(redactor) = &self.ctx.scope.settings.redactor
        {
            let workflow = workflow.name.clone().unwrap_or_default();
            *redaction = Some(Redaction::new(Arc::clone(redactor), workflow, self.key.clone()));
        }
    }

    fn begins_now(&self) -> bool {
        self.live && !self.at.is_said()
    }

    /// The offset of the first value that the client does not have.
    pub(super) async fn start(&self) -> Result<i64, Problem> {
        if self.begins_now() {
            let length = self.ctx.dbos().stream_length(&self.id, &self.key).await?;
            return Ok(i64::try_from(length).unwrap_or(LAST));
        }
        Ok(self.at.next_offset().min(LAST))
    }

    pub(super) async fn page_at(&self, next: i64, values: u32) -> Result<EncodedPage, Problem> {
        let look = || self.ctx.dbos().encoded_page(&self.id, &self.key, unsigned(next), values);
        let page = look().await?;
        // Once more after the end of a workflow is seen: it may be set from outside while the body still writes.
        let ended = page.ended && !page.closed && page.values.is_empty();
        Ok(if ended { look().await? } else { page })
    }
}

/// Whether nothing comes after what a page holds, which is nothing.
pub(super) fn over(page: &EncodedPage) -> bool {
    page.values.is_empty() && (page.closed || page.ended)
}

pub(super) fn unsigned(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or_default()
}

impl DbosCtx {
    /// The right to one more event stream.
    pub(crate) fn enter(&self) -> Result<super::admission::Permit, Problem> {
        let refused = |detail: &'static str| {
            let soon = HeaderValue::from_static("5");
            Problem::of(problem::UNAVAILABLE).with_detail(detail).with_header(RETRY_AFTER, soon)
        };
        if self.draining.is_cancelled() {
            return Err(refused("The server is about to stop."));
        }
        let permit = self.scope.settings.streams.enter(self.caller());
        permit.ok_or_else(|| refused("Too many streams are open."))
    }
}
