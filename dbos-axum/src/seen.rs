//! What an answer repeats of its request.

use axum::extract::OriginalUri;
use http::request::Parts;
use http::{Extensions, HeaderMap, Request, Uri};

use crate::sse;

/// A longer path is not repeated.
const PATH_BYTES: usize = 2048;
/// A longer request id is not one.
const REQUEST_ID_BYTES: usize = 128;

/// Where a request went, and what a proxy or a middleware called it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    uri: Uri,
    request_id: Option<String>,
    only_events: bool,
}

impl Seen {
    pub(crate) fn of(parts: &Parts) -> Self {
        Self::read(&parts.extensions, &parts.headers, &parts.uri)
    }

    pub(crate) fn of_request<B>(request: &Request<B>) -> Self {
        Self::read(request.extensions(), request.headers(), request.uri())
    }

    fn read(extensions: &Extensions, headers: &HeaderMap, uri: &Uri) -> Self {
        let original = extensions.get::<OriginalUri>();
        let request_id = headers.get("x-request-id").and_then(|id| id.to_str().ok());
        Self {
            uri: original.map_or_else(|| uri.clone(), |original| original.0.clone()),
            request_id: request_id
                .filter(|id| (1..=REQUEST_ID_BYTES).contains(&id.len()))
                .map(ToOwned::to_owned),
            only_events: sse::only_events(headers),
        }
    }

    /// The path, before any router has taken a prefix away. The query stays out: it may hold a secret.
    pub(crate) fn path(&self) -> Option<&str> {
        Some(self.uri.path()).filter(|path| path.len() <= PATH_BYTES)
    }

    /// Whether it can only take events, as a browser's `EventSource`.
    pub(crate) fn only_events(&self) -> bool {
        self.only_events
    }

    /// The header `X-Request-Id`. The typed extension of tower-http would tie us to one of its versions.
    pub(crate) fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }
}
