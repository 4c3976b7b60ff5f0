//! For programs that run no workflows themselves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::outside::outside_verbs;
use super::shared::Shared;
use crate::config::Config;
use crate::error::Result;
use crate::limits;
use crate::model::workflow::Identity;
use crate::payload::{Codec, Serializer};

/// A program's door to the workflows of others: enqueues, sends, reads and manages. It registers nothing, runs nothing,
/// never changes the schema, and holds few connections.
///
/// ```
/// # async fn example() -> Result<(), dbos_runtime::Error> {
/// use dbos_runtime::{Client, WorkflowRef};
///
/// const PAY: WorkflowRef<u64, String> = WorkflowRef::named("pay");
///
/// let client = Client::builder().database_url("postgres://localhost/shop").application("shop").connect().await?;
/// let handle = client.start(PAY, 995).queue("payments").id("order-7").await?;
/// let receipt = handle.result().await?;
/// client.close().await;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

impl Client {
    /// Begins to describe a client.
    pub fn builder() -> ClientBuilder {
        let config = Config {
            pool_size: 5,
            lanes: 1,
            migrate: false,
            listen_notify: false,
            ..Config::new(String::new())
        };
        ClientBuilder { config, application: None, url: None }
    }

    outside_verbs!();

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Closes all connections. A wait that is under way ends with an error.
    pub async fn close(&self) {
        self.shared.shut_down(Duration::ZERO).await;
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("application", &self.shared.identity.application)
            .finish_non_exhaustive()
    }
}

/// A client that has not been connected. Made by [`Client::builder`].
#[must_use = "nothing is opened until the builder is connected"]
pub struct ClientBuilder {
    config: Config,
    application: Option<String>,
    url: Option<String>,
}

impl ClientBuilder {
    /// Where the workflows are stored: `sqlite:path` or `postgres://…`.
    pub fn database_url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// The application whose workflows these are. Without one, work belongs to whoever takes it, and listings show
    /// everything.
    pub fn application(mut self, name: &str) -> Self {
        self.application = Some(name.to_owned());
        self
    }

    /// The Postgres schema of the system tables; `dbos` by default.
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.config.schema = schema.into();
        self
    }

    /// Connections for reads; 5 by default. Writes have one of their own.
    pub fn pool_size(mut self, connections: u32) -> Self {
        self.config.pool_size = connections;
        self
    }

    /// Whether to wait for hints of other processes on a connection of its own. Off by default: waits look again once a
    /// [polling interval](Self::polling_interval).
    pub fn listen_notify(mut self, listen: bool) -> Self {
        self.config.listen_notify = listen;
        self
    }

    /// How long calls wait for a database that is away; 5 seconds by default.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.config.patience = patience;
        self
    }

    /// How often a waiting call looks again; a second by default.
    pub fn polling_interval(mut self, interval: Duration) -> Self {
        self.config.poll = interval;
        self
    }

    /// How values are stored; by default as portable JSON, which every SDK reads. What the workflows are configured with.
    pub fn serializer(mut self, serializer: impl Serializer) -> Self {
        self.config.serializer = Codec::new(serializer);
        self
    }

    /// Opens the database and checks its schema.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for a setting that breaks a rule,
    /// [`ErrorKind::Initialization`](crate::ErrorKind::Initialization) when the database cannot be opened or has not been
    /// migrated.
    pub async fn connect(mut self) -> Result<Client> {
        self.config.database_url =
            self.url.ok_or_else(|| crate::Error::invalid("a client needs a database URL"))?;
        if let Some(name) = &self.application {
            limits::application(name)?;
        }
        self.config.check_connection()?;
        let identity =
            Identity { application: self.application, executor: None, version: None, application_id: None };
        Ok(Client { shared: Shared::for_client(self.config, identity).await? })
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder").field("application", &self.application).finish_non_exhaustive()
    }
}
