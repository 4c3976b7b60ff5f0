//! A part of a stream as it is now, for clients and networks that do not take events.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use dbos_runtime::{EncodedPage, WorkflowId};
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::read::{Read, StreamRead, over, unsigned};
use super::response;
use crate::access::Action;
use crate::patience::Waited;
use crate::prefer::{self, PreferWait};
use crate::problem::Problem;

/// Values of one page.
const PAGE: u32 = 100;

impl<T> StreamRead<T> {
    /// The values that are there now, at most a hundred. When there is none yet, it waits for one as long as the client
    /// prefers, at most 25 seconds.
    ///
    /// The wait ends early when the server drains its requests, and there is none when too many wait already
    /// ([`DbosLayer::long_polls`](crate::DbosLayer::long_polls)).
    ///
    /// # Errors
    ///
    /// 404 when there is no such workflow or it belongs to somebody else, 400 for a key that no stream can have, 500 when a
    /// value is of another type, 503 when the database is away.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is changed.
    pub async fn page(self, wait: PreferWait) -> Result<StreamReply, Problem> {
        let seen = Arc::clone(&self.read.ctx.seen);
        self.read.page(wait).await.map_err(|problem| problem.within(&seen))
    }
}

impl Read {
    async fn page(mut self, wait: PreferWait) -> Result<StreamReply, Problem> {
        let mut reader = self.ctx.dbos().read_encoded_stream(&self.id, &self.key)?;
        let workflow = self.ctx.look(&self.id, Action::Read).await?;
        self.knows(&workflow);
        let next = self.start().await?;
        let mut page = self.page_at(next, PAGE).await?;
        let mut honoured = true;
        if page.values.is_empty() && !over(&page) && !wait.duration().is_zero() {
            reader = reader.from(unsigned(next));
            let waited = self.ctx.asked().patience.wait(wait, reader.next()).await;
            honoured = !matches!(waited, Waited::NoWait);
            page = self.page_at(next, PAGE).await?;
        }
        let applied = wait.applied(honoured, page.values.is_empty());
        let body = self.body(&page)?;
        Ok(StreamReply { id: self.id, body, next: page.next, closed: page.closed || over(&page), applied })
    }

    /// The values as a JSON array.
    fn body(&self, page: &EncodedPage) -> Result<String, Problem> {
        let mut body = String::from("[");
        for value in &page.values {
            if body.len() > 1 {
                body.push(',');
            }
            body.push_str("{\"offset\":");
            body.push_str(&value.offset().to_string());
            body.push_str(",\"value\":");
            match self.shape.apply(value) {
                None => body.push_str(value.json()),
                Some(text) => {
                    body.push_str(&text.map_err(|problem| problem.with_member("offset", value.offset()))?);
                }
            }
            body.push('}');
        }
        body.push(']');
        Ok(body)
    }
}

/// Values of a stream.
///
/// As a response it is 200 with `{"values": [{"offset": 0, "value": …}], "next": 1, "closed": false}`. The client comes
/// back with `?after=` the last offset, until `closed`: then no more values will come.
#[derive(Clone, PartialEq, Debug)]
pub struct StreamReply {
    id: WorkflowId,
    /// A JSON array.
    body: String,
    next: u64,
    closed: bool,
    applied: Option<HeaderValue>,
}

impl StreamReply {
    /// The offset to go on at.
    pub fn next_offset(&self) -> u64 {
        self.next
    }

    /// Whether no more values will come.
    pub fn closed(&self) -> bool {
        self.closed
    }
}

impl IntoResponse for StreamReply {
    fn into_response(self) -> Response {
        let mut headers = response::headers(Some(&self.id));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(applied) = self.applied {
            headers.insert(prefer::APPLIED, applied);
        }
        let Self { body, next, closed, .. } = self;
        (headers, format!("{{\"values\":{body},\"next\":{next},\"closed\":{closed}}}")).into_response()
    }
}
