//! One connection: its time limits, and how it ends when the server does.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{Request, Version};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tower_http::timeout::{DeadlineBody, TimeoutBody};
use tower_service::Service;

use super::Limits;
use super::clock::WriteLimit;
use super::patient::Patient;
use super::quiet::Requests;
use super::streams::{Pieces, Streams};
use crate::ctx::Draining;

/// A request's head has to fit into this.
const HEAD_BYTES: u16 = u16::MAX;
/// Once the server stops, a new connection's head that is under way has to be there within this.
const LAST_HEAD: Duration = Duration::from_secs(1);
/// As much of an answer may be on its way through HTTP/2, of which nobody knows whether it is taken.
const UNDER_WAY: usize = 64 * 1024;

/// What all connections share.
pub(super) struct Server {
    app: Router,
    limits: Limits,
    write: WriteLimit,
    builder: Builder<Streams>,
}

impl Server {
    pub(super) fn new(app: Router, limits: Limits, write: WriteLimit, streams: &Streams) -> Self {
        Self { app, limits, write, builder: builder(streams, limits) }
    }

    /// Serves one connection to its end.
    pub(super) async fn connection(&self, stream: TcpStream, peer: SocketAddr) {
        // Best effort: without it, small answers leave a little later.
        let _ = stream.set_nodelay(true);
        let intake = Arc::new(Intake {
            peer,
            limits: self.limits,
            draining: self.write.draining.clone(),
            asked: AtomicBool::new(false),
            requests: Requests::new(),
        });
        let (app, shared) = (self.app.clone(), Arc::clone(&intake));
        let service = service_fn(move |request: Request<Incoming>| {
            let live = (request.version() == Version::HTTP_2).then(|| shared.requests.enter());
            // A router is always ready.
            let answer = app.clone().call(shared.take(request));
            async move {
                let answer = answer.await?;
                Ok::<_, Infallible>(match live {
                    Some(live) => answer.map(|body| Body::new(Pieces::new(body, live))),
                    None => answer,
                })
            }
        });
        let stream = TokioIo::new(Patient::new(stream, self.write.clone()));
        let mut connection = pin!(self.builder.serve_connection_with_upgrades(stream, service));
        // hyper's own limit begins once it knows the version of the protocol, for which it waits without one.
        let mut first = pin!(sleep(self.limits.header));
        let mut quiet = pin!(intake.requests.clone().none_for(self.limits.idle));
        let (mut told, mut waiting) = (false, true);
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection broke off");
                    }
                    return;
                }
                () = self.write.draining.cancelled(), if !told => {
                    told = true;
                    connection.as_mut().graceful_shutdown();
                    quiet.set(intake.requests.clone().none_for(self.write.last));
                    let soon = first.deadline().min(Instant::now() + LAST_HEAD);
                    first.as_mut().reset(soon);
                }
                () = quiet.as_mut() => {
                    if told {
                        tracing::debug!("a connection does not end by itself");
                        return;
                    }
                    told = true;
                    connection.as_mut().graceful_shutdown();
                    quiet.set(intake.requests.clone().none_for(self.write.last));
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
    limits: Limits,
    draining: CancellationToken,
    /// Whether there has been a request.
    asked: AtomicBool,
    requests: Requests,
}

impl Intake {
    fn take(&self, request: Request<Incoming>) -> Request<Body> {
        self.asked.store(true, Ordering::Relaxed);
        let mut request = request.map(|body| {
            if body.is_end_stream() {
                return Body::empty();
            }
            let body = TimeoutBody::new(self.limits.body, body);
            Body::new(DeadlineBody::new(self.limits.whole_body, body))
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
    http2.max_send_buf_size(UNDER_WAY);
    builder
}
