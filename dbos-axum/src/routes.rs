//! One table builds a router, and is what its description is made from.

use axum::Router;
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter};
use http::header::CACHE_CONTROL;
use http::{HeaderValue, Method};

use crate::fallback::{method_not_allowed, not_found};

/// A row of a table of routes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route<O> {
    pub(crate) method: Verb,
    /// As axum writes it, below where the router is mounted.
    pub(crate) path: &'static str,
    pub(crate) operation: O,
}

/// The methods that we use. What has an effect is a `POST`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verb {
    Get,
    Post,
}

impl Verb {
    pub(crate) fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
        }
    }

    pub(crate) fn name(self) -> Method {
        match self {
            Self::Get => Method::GET,
            Self::Post => Method::POST,
        }
    }
}

/// A router of the table's rows and of those that are in no table, with problems for everything else. It is meant to be
/// nested: a fallback of the outer router must not answer for it.
pub(crate) fn router<S, O: Copy>(
    table: &[Route<O>],
    handler: impl Fn(O, MethodFilter) -> MethodRouter<S>,
    extra: Vec<(&str, MethodRouter<S>)>,
) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let add = |router: Router<S>, row: &Route<O>| {
        let answers = handler(row.operation, row.method.filter());
        #[cfg(feature = "metrics")]
        let answers = answers.route_layer(crate::meter::Timed);
        router.route(row.path, answers)
    };
    let router = table.iter().fold(Router::new(), add);
    let router = extra.into_iter().fold(router, |router, (path, answers)| router.route(path, answers));
    // Only the routes that are there by now are told.
    let router = router.fallback(not_found).method_not_allowed_fallback(method_not_allowed);
    router.layer(map_response(unstored))
}

/// What is answered is for this caller and this moment, whatever a cache on the way thinks of it.
async fn unstored(mut response: Response) -> Response {
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().entry(CACHE_CONTROL).or_insert(no_store);
    response
}
