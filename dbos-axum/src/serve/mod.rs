//! An HTTP server that ends in order: stop accepting, drain requests, drain the runtime.
//!
//! Every connection is a task of one set. The loop below only takes in what happens; when the server is told to stop,
//! the connections hear of it by a token, and what has not ended when the time is up is dropped.

mod clock;
mod connection;
mod patient;
mod quiet;
mod streams;
mod terminated;

use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use dbos_runtime::Dbos;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use clock::WriteLimit;
use connection::Server;
use streams::Streams;

pub use terminated::terminated;

/// No limit is longer than this, whatever is asked.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// When the process has no file left for a connection, the next try comes after this.
const ACCEPT_AGAIN: Duration = Duration::from_millis(500);

/// Serves an application until it is told to stop, then shuts the runtime down.
///
/// It stops when the future given to [`until`](Serve::until) is ready, or when somebody else shuts the runtime down.
/// Then, in this order: no more connections are accepted; requests that wait for a workflow are answered with 202, and
/// the others get the time of [`drain`](Serve::drain) to end; the runtime gets what is left of it. A workflow that is
/// not done by then is continued by the next process.
///
/// A handler finds the client's address with `ConnectInfo<SocketAddr>`.
///
/// # Examples
///
/// ```no_run
/// use std::time::Duration;
///
/// use axum::Router;
/// use dbos_runtime::Dbos;
/// use tokio::net::TcpListener;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let dbos = Dbos::builder("shop").launch().await?;
/// let listener = TcpListener::bind("127.0.0.1:3000").await?;
/// let server = dbos_axum::serve(listener, Router::new(), dbos);
/// server.until(dbos_axum::terminated()).drain(Duration::from_secs(20)).await?;
/// # Ok(()) }
/// ```
pub fn serve(listener: TcpListener, app: Router, dbos: Dbos) -> Serve {
    let limits = Limits {
        header: Duration::from_secs(10),
        idle: Duration::from_secs(75),
        body: Duration::from_secs(30),
        whole_body: Duration::from_secs(60),
        write: Duration::from_secs(30),
        connections: 10_000,
    };
    Serve {
        listener,
        app,
        dbos,
        until: Box::pin(std::future::pending()),
        drain: Duration::from_secs(20),
        limits,
    }
}

/// A server that has not begun. Made by [`serve`]; await it to run.
///
/// # Cancel safety
///
/// Dropping it closes all connections at once and leaves the runtime running.
#[must_use = "nothing is served until it is awaited"]
pub struct Serve {
    listener: TcpListener,
    app: Router,
    dbos: Dbos,
    until: Pin<Box<dyn Future<Output = ()> + Send>>,
    drain: Duration,
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    header: Duration,
    idle: Duration,
    body: Duration,
    whole_body: Duration,
    write: Duration,
    connections: usize,
}

impl Serve {
    /// Stops when that is ready: [`terminated`], most often.
    pub fn until(mut self, stop: impl Future<Output = ()> + Send + 'static) -> Self {
        self.until = Box::pin(stop);
        self
    }

    /// How long requests, and then workflows, may take to end once the server stops; 20 seconds by default.
    pub fn drain(mut self, limit: Duration) -> Self {
        self.drain = limit.min(LONGEST);
        self
    }

    /// How long a new connection may take to send the head of its first request; 10 seconds by default.
    pub fn header_timeout(mut self, limit: Duration) -> Self {
        self.limits.header = limit.min(LONGEST);
        self
    }

    /// How long a connection may take from an answer to the end of its next request's head; 75 seconds by default,
    /// which is more than a proxy in front leaves a connection idle. Over HTTP/2 it is the time without a request that is
    /// being answered.
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.limits.idle = limit.min(LONGEST);
        self
    }

    /// How long a request's body may make no progress while it is read; 30 seconds by default.
    pub fn body_timeout(mut self, limit: Duration) -> Self {
        self.limits.body = limit.min(LONGEST);
        self
    }

    /// How long a request's body may take in all; 60 seconds by default. An application that takes uploads may want more.
    pub fn body_deadline(mut self, limit: Duration) -> Self {
        self.limits.whole_body = limit.min(LONGEST);
        self
    }

    /// How long a client may take nothing at all of what is sent to it; 30 seconds by default. Then its connection is
    /// closed, and what its answer holds is free. Over HTTP/2 it is the time in which a client has to take 16 KiB of an
    /// answer that has as much, and it is the answer that is given up, since other answers may be read on the same
    /// connection.
    ///
    /// Once the server stops, it is a quarter of [`drain`](Self::drain) at most.
    pub fn write_timeout(mut self, limit: Duration) -> Self {
        self.limits.write = limit.min(LONGEST);
        self
    }

    /// How many connections may be open; 10 000 by default. The next one is accepted when one has ended.
    pub fn max_connections(mut self, most: usize) -> Self {
        self.limits.connections = most.clamp(1, Semaphore::MAX_PERMITS);
        self
    }
}

impl fmt::Debug for Serve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("listener", &self.listener)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl IntoFuture for Serve {
    type Output = io::Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(run(self))
    }
}

/// What the loop of a server learns of.
enum Event {
    Connection(TcpStream, SocketAddr, OwnedSemaphorePermit),
    Refused(io::Error),
    Stop,
}

async fn run(serve: Serve) -> io::Result<()> {
    let Serve { listener, app, dbos, mut until, drain, limits } = serve;
    let draining = dbos.shutdown_token().child_token();
    let write = WriteLimit { usual: limits.write, last: drain / 4, draining: draining.clone() };
    let streams = Streams::new(write.clone());
    // Also when this future is dropped, no stream is left behind.
    let _guard = streams.guard();
    let server = Arc::new(Server::new(app, limits, write, &streams));
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let event = tokio::select! {
            event = accept(&listener, &slots) => event,
            () = &mut until => Event::Stop,
            () = draining.cancelled() => Event::Stop,
        };
        match event {
            Event::Connection(stream, peer, slot) => {
                let server = Arc::clone(&server);
                connections.spawn(async move {
                    server.connection(stream, peer).await;
                    drop(slot);
                });
            }
            Event::Refused(error) => refused(&error).await,
            Event::Stop => break,
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let end = Instant::now() + drain;
    draining.cancel();
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout_at(end, drained).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "requests are dropped: they take longer than the drain"
        );
    }
    connections.shutdown().await;
    streams.end().await;
    dbos.shutdown(end.saturating_duration_since(Instant::now())).await;
    Ok(())
}

async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> Event {
    // First the slot: a connection without one waits in the system's queue.
    let Ok(slot) = Arc::clone(slots).acquire_owned().await else { return Event::Stop };
    match listener.accept().await {
        Ok((stream, peer)) => Event::Connection(stream, peer, slot),
        Err(error) => Event::Refused(error),
    }
}

async fn refused(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
        tracing::error!(%error, "no connection can be accepted");
        sleep(ACCEPT_AGAIN).await;
    }
}
