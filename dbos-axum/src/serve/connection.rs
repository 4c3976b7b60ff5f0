//! One connection: its time limits, and how it ends when the server does.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::Request;
use hyper::body::{Body as _, Incoming};
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tower_http::timeout::TimeoutBody;
use tower_service::Service;

use super::Limits;
use super::patient::Patient;
use crate::ctx::Draining;

/// A request's head has to fit into this.
const HEAD_BYTES: u16 = u16::MAX;
/// Once the server stops, a new connection's head that is under way has to be there within this.
const LAST_HEAD: Duration = Duration::from_secs(1);

/// What all connections share.
pub(super) struct Server {
    app: Router,
    limits: Limits,
    draining: CancellationToken,
    builder: Builder<Streams>,
}

impl Server {
    pub(super) fn new(app: Router, limits: Limits, draining: CancellationToken, streams: &Streams) -> Self {
        Self { app, limits, draining, builder: builder(streams, limits) }
    }

    /// Serves one connection to its end.
    pub(super) async fn connection(&self, stream: TcpStream, peer: SocketAddr) {
        // Best effort: without it, small answers leave a little later.
        let _ = stream.set_nodelay(true);
        let intake = Arc::new(Intake {
            peer,
            body_limit: self.limits.body,
            draining: self.draining.clone(),
            asked: AtomicBool::new(false),
        });
        let (app, shared) = (self.app.clone(), Arc::clone(&intake));
        // A router is always ready.
        let service = service_fn(move |request| app.clone().call(shared.take(request)));
        let stream = TokioIo::new(Patient::new(stream, self.limits.write));
        let mut connection = pin!(self.builder.serve_connection_with_upgrades(stream, service));
        // hyper's own limit begins once it knows the version of the protocol, for which it waits without one.
        let mut first = pin!(sleep(self.limits.header));
        let (mut told, mut waiting) = (false, true);
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection broke off");
                    }
                    return;
                }
                () = self.draining.cancelled(), if !told => {
                    told = true;
                    connection.as_mut().graceful_shutdown();
                    let soon = first.deadline().min(Instant::now() + LAST_HEAD);
                    first.as_mut().reset(soon);
                }
                () = &mut first, if waiting => {
                    waiting = false;
                    if !intake.asked.load(Ordering::Relaxed) {
                        tracing::debug!("a connection made no request in time");
                        return;
                    }
                }
            }
        }
    }
}

/// What a request is given on its way in.
struct Intake {
    peer: SocketAddr,
    body_limit: Duration,
    draining: CancellationToken,
    /// Whether there has been a request.
    asked: AtomicBool,
}

impl Intake {
    fn take(&self, request: Request<Incoming>) -> Request<Body> {
        self.asked.store(true, Ordering::Relaxed);
        let mut request = request.map(|body| {
            let empty = body.is_end_stream();
            if empty { Body::empty() } else { Body::new(TimeoutBody::new(self.body_limit, body)) }
        });
        request.extensions_mut().insert(ConnectInfo(self.peer));
        request.extensions_mut().insert(Draining(self.draining.clone()));
        request
    }
}

fn builder(streams: &Streams, limits: Limits) -> Builder<Streams> {
    let mut builder = Builder::new(streams.clone());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.idle).max_buf_size(HEAD_BYTES.into());
    let mut http2 = builder.http2();
    http2.timer(TokioTimer::new()).max_header_list_size(HEAD_BYTES.into());
    http2.keep_alive_interval(limits.idle).keep_alive_timeout(limits.header);
    builder
}

/// The tasks that HTTP/2 needs, one for each stream.
#[derive(Clone, Default)]
pub(super) struct Streams {
    tasks: TaskTracker,
    dropped: CancellationToken,
}

impl Streams {
    /// Ends the streams when it is dropped.
    pub(super) fn guard(&self) -> DropGuard {
        self.dropped.clone().drop_guard()
    }

    /// Drops what is left, and waits until it is gone.
    pub(super) async fn end(&self) {
        self.dropped.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let dropped = self.dropped.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                _ = stream => {}
                () = dropped.cancelled() => {}
            }
        });
    }
}
