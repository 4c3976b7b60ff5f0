//! The exporter's HTTP client, on a thread of its own: it works whatever the application's runtime is doing, also when
//! that is about to end.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use std::{io, thread};

use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// As long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Client {
    http: HyperClient,
    runtime: Handle,
}

/// The thread, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Thread(
    #[expect(dead_code, reason = "being dropped is what it is for")] oneshot::Sender<()>,
);

impl Client {
    pub(super) fn launch() -> io::Result<(Self, Thread)> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (sender, dropped) = oneshot::channel();
        thread::Builder::new().name("otlp-client".to_owned()).spawn(move || runtime.block_on(dropped))?;
        Ok((
            Self { http: HyperClient::with_default_connector(PATIENCE, None), runtime: handle },
            Thread(sender),
        ))
    }
}

// As `async-trait` would write it.
impl HttpClient for Client {
    fn send_bytes<'a, 'f>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        'a: 'f,
        Self: 'f,
    {
        let http = self.http.clone();
        let sent = self.runtime.spawn(async move { http.send_bytes(request).await });
        Box::pin(async move { sent.await? })
    }
}
