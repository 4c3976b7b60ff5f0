//! A document at an address.

use std::sync::Arc;

use axum::extract::{FromRequestParts, OriginalUri};
use axum::routing::{MethodRouter, get};
use utoipa::openapi::OpenApi;

use super::document::server;
use crate::json::Json;

/// Where a router has its document.
pub(crate) const PATH: &str = "/openapi.json";

/// Answers with the document those whom `E` lets in; `()` is everybody. Its server is where the router was found to be mounted: the path of the request up to here.
pub(crate) fn served<E, S>(document: OpenApi) -> MethodRouter<S>
where
    E: FromRequestParts<S> + Send + 'static,
    S: Clone + Send + Sync + 'static,
{
    let document = Arc::new(document);
    get(async move |_: E, OriginalUri(uri): OriginalUri| {
        let mut document = OpenApi::clone(&document);
        if let Some(mounted) = uri.path().strip_suffix(PATH) {
            document.servers = Some(vec![server(mounted)]);
        }
        Json(document)
    })
}
