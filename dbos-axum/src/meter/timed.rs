//! How long the answers of a route take.

use std::task::{Context, Poll};
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use futures_util::future::BoxFuture;
use tower_layer::Layer;
use tower_service::Service;

use super::names::REQUEST_SECONDS;
use super::recorder;

/// Measures each request to a route until the head of its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timed;

#[derive(Clone, Debug)]
pub(crate) struct TimedService<S>(S);

impl<S> Layer<S> for Timed {
    type Service = TimedService<S>;

    fn layer(&self, inner: S) -> TimedService<S> {
        TimedService(inner)
    }
}

impl<S> Service<Request> for TimedService<S>
where
    S: Service<Request, Response = Response>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The route as it was written: of paths themselves there is no end.
        let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str).to_owned();
        let method = request.method().clone();
        let answering = self.0.call(request);
        Box::pin(async move {
            let begun = Instant::now();
            let response = answering.await?;
            let labels = [
                ("route", route),
                // Another method does not get here.
                ("method", method.as_str().to_owned()),
                ("status", response.status().as_str().to_owned()),
            ];
            metrics::histogram!(REQUEST_SECONDS, &labels).record(begun.elapsed());
            recorder::upkeep();
            Ok(response)
        })
    }
}
