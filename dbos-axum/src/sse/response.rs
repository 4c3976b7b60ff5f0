//! The answer to a client that follows something.

use std::fmt;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use dbos_runtime::WorkflowId;
use futures_core::Stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::frame;
use super::kept::Kept;
use crate::problem::Problem;
use crate::reply;
use crate::seen::Seen;

/// Turns off the buffer of nginx for this response.
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// An open stream of server-sent events; or 204, for a client that has had all of it.
///
/// It ends when what it tells of does, when it has lived [long enough](crate::StreamLimits::lifetime), and when the server
/// drains its requests. Its limits are held until it is dropped.
pub struct StreamSse {
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
}

impl StreamSse {
    pub(super) fn open<S>(id: &WorkflowId, events: Kept<S>) -> Self
    where
        S: Stream<Item = Bytes> + Unpin + Send + 'static,
    {
        Self::events(Some(id), Body::from_stream(events))
    }

    /// For a client that has seen the end: a browser stops asking.
    pub(super) fn nothing_more(id: &WorkflowId) -> Self {
        Self { status: StatusCode::NO_CONTENT, headers: headers(Some(id)), body: Body::empty() }
    }

    /// A browser that is answered with 503 never asks again, so it gets an empty stream in its place.
    pub(super) fn or_later(seen: &Seen, opened: Result<Self, Problem>) -> Result<Self, Problem> {
        match opened {
            Err(problem) if problem.status() == StatusCode::SERVICE_UNAVAILABLE && seen.only_events() => {
                Ok(Self::events(None, Body::from(frame::NOT_NOW)))
            }
            opened => opened.map_err(|problem| problem.within(seen)),
        }
    }

    fn events(id: Option<&WorkflowId>, body: Body) -> Self {
        let mut headers = headers(id);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(BUFFERING, HeaderValue::from_static("no"));
        Self { status: StatusCode::OK, headers, body }
    }
}

/// What all answers about a stream say.
pub(super) fn headers(id: Option<&WorkflowId>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    if let Some(id) = id {
        reply::name(&mut headers, id);
    }
    headers
}

impl IntoResponse for StreamSse {
    fn into_response(self) -> Response {
        (self.status, self.headers, self.body).into_response()
    }
}

impl fmt::Debug for StreamSse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamSse").field("status", &self.status).finish_non_exhaustive()
    }
}
