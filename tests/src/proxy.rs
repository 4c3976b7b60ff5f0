//! A faulty network in front of Postgres.
//!
//! [`Proxy`] stands between a client and a server, in this process, without TLS. It delays, holds, refuses and resets
//! connections, and it can lose exactly one answer: the one to a `COMMIT`, say. It reads the client's side of the
//! protocol, so it also knows how many statements and round trips something has cost.
#![expect(clippy::panic, reason = "the harness reports trouble by failing the test")]

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// For how long nobody sends anything where everything has been sent.
const SETTLED: Duration = Duration::from_millis(500);

/// What the network does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything passes.
    Pass,
    /// Each piece of an answer arrives this much later.
    Delay(Duration),
    /// Nothing passes, in either direction, and nobody is told. Whatever was sent arrives when the mode changes.
    BlackHole,
    /// New connections are reset. Those that stand go on.
    RefuseNew,
    /// New connections are answered with an error instead of a session. Those that stand go on.
    RefuseLogin(Farewell),
}

/// The error with which somebody between client and server ends a connection: a severity and a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Farewell(pub &'static str, pub &'static str);

impl Farewell {
    /// The message, as poolers send it: without the routine that Postgres names.
    fn message(self) -> Vec<u8> {
        let fields = format!("S{0}\0V{0}\0C{1}\0Mserver conn crashed?\0\0", self.0, self.1);
        let length = u32::try_from(fields.len() + 4).unwrap_or_default();
        [b"E".as_slice(), &length.to_be_bytes(), fields.as_bytes()].concat()
    }
}

/// What clients have sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Messages {
    /// The SQL of every `Query` and `Execute`, as they arrived.
    pub statements: Vec<Arc<str>>,
    /// The number of `Sync` and `Query` messages: each asks for an answer of its own.
    pub round_trips: usize,
}

impl Messages {
    /// The statements that neither begin nor end a transaction.
    pub fn work(&self) -> Vec<&str> {
        const CONTROL: [&str; 7] = ["BEGIN", "START", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE"];
        self.statements.iter().map(AsRef::as_ref).filter(|sql| !begins_with(sql, &CONTROL)).collect()
    }
}

/// A proxy on a port of its own. Its connections end when this value is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    network: Arc<Network>,
    _accepting: JoinSet<()>,
}

impl Proxy {
    /// Listens, and connects every client with `upstream`.
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener = must(TcpListener::bind("127.0.0.1:0").await);
        let address = must(listener.local_addr());
        let network = Arc::new(Network {
            mode: watch::Sender::new(Mode::Pass),
            resets: watch::Sender::new(()),
            fault: Mutex::new(None),
            cuts: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            farewell: Mutex::new(None),
            messages: Mutex::new(Messages::default()),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, upstream, Arc::clone(&network)));
        Self { address, network, _accepting: accepting }
    }

    /// A proxy for the server of `url`.
    pub async fn before(url: &str) -> Self {
        let (_, authority, _) = split(url);
        let mut addresses = must(tokio::net::lookup_host(authority).await);
        Self::start(addresses.next().unwrap_or_else(|| panic!("{authority} has no address"))).await
    }

    /// The same URL, by way of this proxy.
    pub fn url(&self, url: &str) -> String {
        let (before, _, after) = split(url);
        format!("{before}{}{after}", self.address)
    }

    /// Changes what the network does, for connections that stand as well.
    pub fn set_mode(&self, mode: Mode) {
        self.network.mode.send_replace(mode);
    }

    /// Loses the answer to the next `COMMIT`: the server commits, and the client sees its connection reset.
    pub fn cut_after_commit(&self) {
        *lock(&self.network.fault) = Some(Fault::Commit);
    }

    /// Loses the answer to the `statements`th statement (`Query` or `Execute`) from now: it is carried out, and the
    /// client sees its connection reset. The next statement is the first.
    pub fn cut_reply_after(&self, statements: usize) {
        assert!(statements > 0, "the next statement is the first");
        *lock(&self.network.fault) = Some(Fault::Statement(statements));
    }

    /// How many answers have been lost. A test that armed a cut should see that it came.
    pub fn cuts(&self) -> usize {
        self.network.cuts.load(Ordering::Acquire)
    }

    /// From now on a client whose answer is lost is told so, instead of being reset.
    pub fn say_farewell(&self, farewell: Farewell) {
        *lock(&self.network.farewell) = Some(farewell);
    }

    /// How many new connections were refused.
    pub fn refused(&self) -> usize {
        self.network.refused.load(Ordering::Acquire)
    }

    /// Resets every connection that stands.
    pub fn reset_all(&self) {
        self.network.resets.send_replace(());
    }

    /// What clients have sent since the start, or since [`take_messages`](Self::take_messages).
    pub fn client_messages(&self) -> Messages {
        lock(&self.network.messages).clone()
    }

    /// Like [`client_messages`](Self::client_messages), and begins to count anew.
    pub fn take_messages(&self) -> Messages {
        std::mem::take(&mut lock(&self.network.messages))
    }

    /// Forgets what was sent as soon as nothing more comes: what belongs to the past is not counted any more.
    pub async fn settle(&self) {
        loop {
            self.take_messages();
            tokio::time::sleep(SETTLED).await;
            if self.client_messages() == Messages::default() {
                return;
            }
        }
    }
}

// ---- connections --------------------------------------------------------------------------------------------------

#[derive(Debug)]
struct Network {
    mode: watch::Sender<Mode>,
    resets: watch::Sender<()>,
    fault: Mutex<Option<Fault>>,
    cuts: AtomicUsize,
    refused: AtomicUsize,
    farewell: Mutex<Option<Farewell>>,
    messages: Mutex<Messages>,
}

/// Happens once.
#[derive(Debug)]
enum Fault {
    Commit,
    Statement(usize),
}

/// How a connection ended.
#[derive(Debug, PartialEq)]
enum End {
    Closed,
    Reset,
}

async fn accept(listener: TcpListener, upstream: SocketAddr, network: Arc<Network>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let resets = network.resets.subscribe();
        connections.spawn(connection(client, upstream, Arc::clone(&network), resets));
    }
}

async fn connection(
    mut client: TcpStream,
    upstream: SocketAddr,
    network: Arc<Network>,
    mut resets: watch::Receiver<()>,
) -> io::Result<()> {
    match network.passage().await {
        Mode::RefuseNew => {
            network.refused.fetch_add(1, Ordering::Release);
            return client.set_zero_linger();
        }
        Mode::RefuseLogin(farewell) => {
            startup_message(&mut client, &network).await?;
            network.refused.fetch_add(1, Ordering::Release);
            return client.write_all(&farewell.message()).await;
        }
        _ => {}
    }
    let mut server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let end = tokio::select! {
        end = relay(&mut client, &mut server, &network) => end?,
        _ = resets.changed() => End::Reset,
    };
    if end == End::Reset {
        client.set_zero_linger()?;
        server.set_zero_linger()?;
    }
    Ok(())
}

async fn relay(client: &mut TcpStream, server: &mut TcpStream, network: &Network) -> io::Result<End> {
    let (message, buffer) = startup_message(client, network).await?;
    server.write_all(&message).await?;
    let lost = AtomicUsize::new(0);
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::select! {
        end = upward(from_client, to_server, buffer, network, &lost) => end,
        end = downward(from_server, to_client, network, &lost) => end,
    }
}

/// The first message, the only one without a type, and what came behind it.
async fn startup_message(client: &mut TcpStream, network: &Network) -> io::Result<(BytesMut, BytesMut)> {
    // The codes by which a client asks for TLS or for GSSAPI encryption. We have neither.
    const ENCRYPTION: [u32; 2] = [80_877_103, 80_877_104];
    let mut buffer = BytesMut::new();
    loop {
        let Some(length) = message_length(&buffer, 0) else {
            fill(&mut buffer, client).await?;
            continue;
        };
        network.passage().await;
        let message = buffer.split_to(length);
        if number(&message, 4).is_some_and(|code| ENCRYPTION.contains(&code)) {
            client.write_all(b"N").await?;
        } else {
            return Ok((message, buffer));
        }
    }
}

/// Client to server. When an answer is to be lost, `lost` becomes its number; the startup's is the first.
async fn upward(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut buffer: BytesMut,
    network: &Network,
    lost: &AtomicUsize,
) -> io::Result<End> {
    let mut client = Client::default();
    let mut asked = 1;
    loop {
        let mut whole = 0;
        while let Some(length) = message_length(&buffer[whole..], 1) {
            let message = client.read(&buffer[whole..whole + length]);
            whole += length;
            if network.note(&message) {
                lost.store(asked + 1, Ordering::Release);
            }
            asked += usize::from(message.asks);
            if message.asks && lost.load(Ordering::Acquire) == asked {
                // The client cannot know of anything that it sends after this, so the server must not either.
                network.passage().await;
                to.write_all(&buffer[..whole]).await?;
                return std::future::pending().await;
            }
        }
        network.passage().await;
        to.write_all(&buffer.split_to(whole)).await?;
        if let Err(error) = fill(&mut buffer, &mut from).await {
            // A client that hangs up is not noticed through a black hole.
            network.passage().await;
            return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(End::Closed) } else { Err(error) };
        }
    }
}

/// Server to client.
async fn downward(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    network: &Network,
    lost: &AtomicUsize,
) -> io::Result<End> {
    const READY_FOR_QUERY: u8 = b'Z';
    let mut buffer = BytesMut::new();
    let mut answered = 0;
    loop {
        let (mut whole, mut passing, mut cut) = (0, 0, false);
        while let Some(length) = message_length(&buffer[whole..], 1) {
            let complete = buffer[whole] == READY_FOR_QUERY;
            let losing = lost.load(Ordering::Acquire) == answered + 1;
            whole += length;
            if !losing {
                passing = whole;
            }
            cut |= losing && complete;
            answered += usize::from(complete);
        }
        if passing > 0 {
            if let Mode::Delay(delay) = network.passage().await {
                tokio::time::sleep(delay).await;
            }
            network.passage().await;
            to.write_all(&buffer[..passing]).await?;
        }
        if cut {
            network.cuts.fetch_add(1, Ordering::Release);
            let farewell = *lock(&network.farewell);
            let Some(farewell) = farewell else { return Ok(End::Reset) };
            to.write_all(&farewell.message()).await?;
            return Ok(End::Closed);
        }
        drop(buffer.split_to(whole));
        if let Err(error) = fill(&mut buffer, &mut from).await {
            network.passage().await;
            return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(End::Closed) } else { Err(error) };
        }
    }
}

async fn fill(buffer: &mut BytesMut, from: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Result<()> {
    match from.read_buf(buffer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

impl Network {
    /// Waits until the network lets something through.
    async fn passage(&self) -> Mode {
        let open = self.mode.subscribe().wait_for(|mode| *mode != Mode::BlackHole).await.map(|mode| *mode);
        open.unwrap_or(Mode::Pass)
    }

    /// Counts a message. True says that the answer to it is the one to lose.
    fn note(&self, message: &Message) -> bool {
        {
            let mut messages = lock(&self.messages);
            messages.round_trips += usize::from(message.asks);
            messages.statements.extend(message.statement.clone());
        }
        message.statement.as_ref().is_some_and(|sql| self.fault_strikes(sql))
    }

    fn fault_strikes(&self, sql: &str) -> bool {
        let mut fault = lock(&self.fault);
        let strikes = match fault.as_mut() {
            None => false,
            Some(Fault::Commit) => sql.split(';').any(|sql| begins_with(sql, &["COMMIT", "END"])),
            Some(Fault::Statement(left)) => {
                *left -= 1;
                *left == 0
            }
        };
        if strikes {
            *fault = None;
        }
        strikes
    }
}

// ---- protocol -----------------------------------------------------------------------------------------------------

/// What is worth knowing about a message of a client.
struct Message {
    /// The SQL that it has carried out.
    statement: Option<Arc<str>>,
    /// Whether the server answers it with `ReadyForQuery`.
    asks: bool,
}

/// What a client has prepared on one connection, by name.
#[derive(Default)]
struct Client {
    statements: HashMap<Vec<u8>, Arc<str>>,
    portals: HashMap<Vec<u8>, Arc<str>>,
}

impl Client {
    fn read(&mut self, message: &[u8]) -> Message {
        // Type and length.
        let body = message.get(5..).unwrap_or_default();
        let mut strings = body.split(|byte| *byte == 0);
        let mut string = || strings.next().unwrap_or_default().to_vec();
        let text = |bytes: Vec<u8>| Arc::from(String::from_utf8_lossy(&bytes));
        let (mut statement, mut asks) = (None, false);
        match message.first() {
            Some(b'Q') => (statement, asks) = (Some(text(string())), true),
            Some(b'S') => asks = true,
            Some(b'P') => drop(self.statements.insert(string(), text(string()))),
            Some(b'B') => {
                let portal = string();
                let sql = self.statements.get(&string()).cloned().unwrap_or_default();
                self.portals.insert(portal, sql);
            }
            Some(b'E') => statement = Some(self.portals.get(&string()).cloned().unwrap_or_default()),
            _ => {}
        }
        Message { statement, asks }
    }
}

/// The length of the message at the front, once it is here as a whole. Its type takes the first `kind` bytes.
fn message_length(buffer: &[u8], kind: usize) -> Option<usize> {
    let length = kind + usize::try_from(number(buffer, kind)?).ok()?;
    (length <= buffer.len()).then_some(length)
}

fn number(buffer: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(buffer.get(at..at + 4)?.try_into().ok()?))
}

fn begins_with(sql: &str, words: &[&str]) -> bool {
    let first =
        sql.split(|c: char| !c.is_ascii_alphabetic()).find(|word| !word.is_empty()).unwrap_or_default();
    words.iter().any(|word| first.eq_ignore_ascii_case(word))
}

/// What comes before `host:port` in a URL, itself, and what comes after it.
fn split(url: &str) -> (&str, &str, &str) {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?']).map_or(url.len(), |at| start + at);
    let host = url[start..end].rfind('@').map_or(start, |at| start + at + 1);
    (&url[..host], &url[host..end], &url[end..])
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn must<T>(result: io::Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("proxy: {error}"))
}

#[cfg(test)]
mod tests {
    use sqlx::postgres::PgConnection;
    use sqlx::{Connection as _, Executor as _};
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::backend::{Backend, Fresh};

    const SOON: Duration = Duration::from_secs(120);
    const A_WHILE: Duration = Duration::from_millis(200);

    /// A table `t`, a proxy, and a connection through it.
    async fn set_up() -> (Fresh, Proxy, PgConnection) {
        let fresh = Fresh::new(Backend::Postgres).await;
        fresh.execute("CREATE TABLE t (n BIGINT)").await;
        let proxy = Proxy::before(fresh.url()).await;
        let connection = PgConnection::connect(&proxy.url(fresh.url())).await.unwrap();
        proxy.take_messages();
        (fresh, proxy, connection)
    }

    async fn insert(connection: &mut PgConnection, n: i64) -> Result<(), sqlx::Error> {
        sqlx::query("INSERT INTO t VALUES ($1)").bind(n).execute(connection).await.map(drop)
    }

    #[tokio::test]
    async fn statements_and_round_trips_are_counted() {
        let (_fresh, proxy, mut connection) = set_up().await;
        connection.execute("SELECT 1; SELECT 2").await.unwrap();
        insert(&mut connection, 1).await.unwrap();
        let first = proxy.take_messages();
        assert_eq!(first.work(), ["SELECT 1; SELECT 2", "INSERT INTO t VALUES ($1)"]);

        let mut transaction = connection.begin().await.unwrap();
        insert(&mut transaction, 2).await.unwrap();
        transaction.commit().await.unwrap();
        let messages = proxy.client_messages();
        assert_eq!(messages.statements.len(), 3, "{messages:?}");
        assert_eq!(
            messages.work(),
            ["INSERT INTO t VALUES ($1)"],
            "prepared before, named by its SQL all the same"
        );
        assert_eq!(messages.round_trips, 3);
    }

    #[tokio::test]
    async fn a_lost_commit_has_happened() {
        let (fresh, proxy, mut connection) = set_up().await;
        let mut transaction = connection.begin().await.unwrap();
        insert(&mut transaction, 1).await.unwrap();
        proxy.cut_after_commit();
        transaction.execute("SELECT 'no COMMIT yet'").await.unwrap();
        assert_eq!(proxy.cuts(), 0);
        transaction.commit().await.unwrap_err();
        assert_eq!((proxy.cuts(), fresh.scalar("SELECT count(*) FROM t").await), (1, 1));

        let mut again = PgConnection::connect(&proxy.url(fresh.url())).await.unwrap();
        let transaction = again.begin().await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(proxy.cuts(), 1, "it happens once");
    }

    #[tokio::test]
    async fn a_prepared_commit_is_seen_too() {
        let (fresh, proxy, mut connection) = set_up().await;
        for run in 0..2 {
            sqlx::query("begin").execute(&mut connection).await.unwrap();
            insert(&mut connection, run).await.unwrap();
            if run == 1 {
                proxy.cut_after_commit();
            }
            let committed = sqlx::query("commit").execute(&mut connection).await;
            assert_eq!(committed.is_err(), run == 1, "{committed:?}");
        }
        assert_eq!(fresh.scalar("SELECT count(*) FROM t").await, 2);
    }

    #[tokio::test]
    async fn the_answer_to_a_chosen_statement_is_lost() {
        let (fresh, proxy, mut connection) = set_up().await;
        proxy.cut_reply_after(3);
        insert(&mut connection, 1).await.unwrap();
        insert(&mut connection, 2).await.unwrap();
        insert(&mut connection, 3).await.unwrap_err();
        assert_eq!((proxy.cuts(), fresh.scalar("SELECT count(*) FROM t").await), (1, 3));
    }

    #[tokio::test]
    async fn what_went_into_a_black_hole_arrives_later() {
        let (fresh, proxy, mut connection) = set_up().await;
        proxy.set_mode(Mode::BlackHole);
        let mut inserting = Box::pin(insert(&mut connection, 1));
        timeout(A_WHILE, &mut inserting).await.unwrap_err();
        let url = proxy.url(fresh.url());
        let mut connecting = Box::pin(PgConnection::connect(&url));
        timeout(A_WHILE, &mut connecting).await.map(drop).unwrap_err();
        assert_eq!(fresh.scalar("SELECT count(*) FROM t").await, 0);
        proxy.set_mode(Mode::Pass);
        timeout(SOON, inserting).await.unwrap().unwrap();
        timeout(SOON, connecting).await.unwrap().unwrap().ping().await.unwrap();
        assert_eq!(fresh.scalar("SELECT count(*) FROM t").await, 1);
    }

    #[tokio::test]
    async fn new_connections_are_refused_and_old_ones_go_on() {
        let (fresh, proxy, mut connection) = set_up().await;
        proxy.set_mode(Mode::RefuseNew);
        PgConnection::connect(&proxy.url(fresh.url())).await.map(drop).unwrap_err();
        insert(&mut connection, 1).await.unwrap();
        proxy.set_mode(Mode::Pass);
        PgConnection::connect(&proxy.url(fresh.url())).await.unwrap();
    }

    #[tokio::test]
    async fn a_reset_ends_a_statement_that_waits() {
        let (fresh, proxy, mut connection) = set_up().await;
        let resetting = async {
            while proxy.client_messages().statements.is_empty() {
                tokio::task::yield_now().await;
            }
            proxy.reset_all();
        };
        let waiting = timeout(SOON, connection.execute("SELECT pg_sleep(60)"));
        let (result, ()) = tokio::join!(waiting, resetting);
        assert!(matches!(result.unwrap(), Err(sqlx::Error::Io(_))));
        PgConnection::connect(&proxy.url(fresh.url())).await.unwrap();
    }

    #[tokio::test]
    async fn answers_are_delayed() {
        let (_fresh, proxy, mut connection) = set_up().await;
        proxy.set_mode(Mode::Delay(A_WHILE));
        let start = Instant::now();
        connection.execute("SELECT 1").await.unwrap();
        assert!(start.elapsed() >= A_WHILE);
    }

    #[tokio::test]
    async fn a_client_that_asks_for_encryption_is_told_there_is_none() {
        let (fresh, proxy, _connection) = set_up().await;
        let url = proxy.url(fresh.url()).replace("sslmode=disable", "sslmode=prefer");
        PgConnection::connect(&url).await.unwrap().ping().await.unwrap();
    }

    #[test]
    fn the_address_in_a_url_is_found() {
        for (url, expected) in [
            ("postgres://u:p@h:1/db?sslmode=disable", ("postgres://u:p@", "h:1", "/db?sslmode=disable")),
            ("postgres://h:1?x=a@b", ("postgres://", "h:1", "?x=a@b")),
            ("postgres://[::1]:1/db", ("postgres://", "[::1]:1", "/db")),
        ] {
            assert_eq!(split(url), expected);
        }
    }
}
