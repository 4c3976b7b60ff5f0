//! Settings with their defaults, checked before anything is opened.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::ids::{AppVersion, ExecutorId};
use crate::limits;
use crate::model::queue::{self, Queue};
use crate::model::retention::Retention;
use crate::model::schedule::NewSchedule;
use crate::payload::Codec;

/// Everything that a launch needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) name: String,
    pub(crate) database_url: String,
    pub(crate) schema: String,
    pub(crate) migrate: bool,
    pub(crate) listen_notify: bool,
    pub(crate) peer_recovery: bool,
    pub(crate) pool_size: u32,
    pub(crate) lanes: usize,
    pub(crate) executor: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) max_recovery_attempts: Option<i64>,
    pub(crate) startup_timeout: Duration,
    pub(crate) patience: Duration,
    pub(crate) poll: Duration,
    pub(crate) listing_timeout: Option<Duration>,
    pub(crate) retention: Option<Retention>,
    pub(crate) schedule_poll: Duration,
    pub(crate) schedules: Vec<NewSchedule>,
    /// Registered at launch.
    pub(crate) queues: Vec<Queue>,
    /// The only queues to work on, besides the internal one.
    pub(crate) listen: Option<Vec<String>>,
    pub(crate) serializer: Codec,
}

impl Config {
    pub(crate) fn new(name: String) -> Self {
        Self {
            database_url: default_url(&name),
            name,
            schema: "dbos".to_owned(),
            migrate: true,
            listen_notify: true,
            peer_recovery: true,
            pool_size: 20,
            lanes: 2,
            executor: None,
            version: None,
            max_recovery_attempts: Some(100),
            startup_timeout: Duration::from_secs(30),
            patience: Duration::from_secs(5),
            poll: Duration::from_secs(1),
            listing_timeout: Some(Duration::from_secs(30)),
            retention: None,
            schedule_poll: Duration::from_secs(30),
            schedules: Vec::new(),
            queues: Vec::new(),
            listen: None,
            serializer: Codec::default(),
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        limits::application(&self.name)?;
        self.check_connection()?;
        if let Some(retention) = &self.retention {
            retention.check()?;
        }
        limits::duration("the polling interval of schedules", self.schedule_poll)?;
        if self.schedule_poll < Duration::from_millis(10) {
            return Err(Error::invalid("the polling interval of schedules must be at least 10 ms"));
        }
        for (index, queue) in self.queues.iter().enumerate() {
            queue.check()?;
            if self.queues.iter().take(index).any(|other| other.name == queue.name) {
                return Err(Error::invalid(format!("queue {:?} is registered twice", queue.name)));
            }
        }
        for name in self.listen.iter().flatten() {
            queue::name("queue name", name)?;
        }
        Ok(())
    }

    /// What a client needs too.
    pub(crate) fn check_connection(&self) -> Result<()> {
        schema(&self.schema)?;
        self.serializer.check()?;
        if self.pool_size == 0 || self.pool_size > 1000 {
            return Err(Error::invalid(format!("pool size {} is not between 1 and 1000", self.pool_size)));
        }
        if self.lanes == 0 || self.lanes > 16 {
            return Err(Error::invalid(format!("{} journal lanes are not between 1 and 16", self.lanes)));
        }
        limits::duration("the patience", self.patience)?;
        limits::duration("the polling interval", self.poll)?;
        if self.poll < Duration::from_millis(10) {
            return Err(Error::invalid("the polling interval must be at least 10 ms"));
        }
        if let Some(limit) = self.listing_timeout {
            limits::statement_timeout(limit)?;
        }
        Ok(())
    }

    /// The executor's name: configured, else `DBOS__VMID`.
    pub(crate) fn executor(&self) -> Result<Option<ExecutorId>> {
        configured(self.executor.as_deref(), "DBOS__VMID").map(ExecutorId::parse).transpose()
    }

    /// Whether this process makes itself known to its peers. A pooler through which no hints come lends out sessions,
    /// and a lock would stay with the pooler.
    #[cfg(feature = "postgres")]
    pub(crate) fn announces(&self) -> bool {
        self.peer_recovery && self.listen_notify
    }

    /// The application's version: configured, else `DBOS__APPVERSION`, else the hash over the registered workflows.
    pub(crate) fn version(&self, hash: impl FnOnce() -> String) -> Result<AppVersion> {
        AppVersion::parse(configured(self.version.as_deref(), "DBOS__APPVERSION").unwrap_or_else(hash))
    }

    pub(crate) fn application_id() -> String {
        std::env::var("DBOS__APPID").unwrap_or_default()
    }
}

/// In DBOS Cloud (`DBOS__CLOUD=true`) the environment decides, elsewhere the configuration does.
fn configured(own: Option<&str>, variable: &str) -> Option<String> {
    let environment = std::env::var(variable).ok().filter(|value| !value.is_empty());
    let own = own.map(ToOwned::to_owned);
    if std::env::var("DBOS__CLOUD").is_ok_and(|value| value == "true") {
        environment.or(own)
    } else {
        own.or(environment)
    }
}

/// The official default: a file in the working directory, named after the application.
fn default_url(name: &str) -> String {
    let file = name.replace('-', "_");
    let file = if file.starts_with(|c: char| c.is_ascii_digit()) { format!("_{file}") } else { file };
    format!("sqlite:{file}.sqlite")
}

fn schema(name: &str) -> Result<()> {
    if name.len() > 63 {
        return Err(Error::invalid(format!("schema name {name:?} is longer than 63 bytes")));
    }
    if name.contains("$body$") {
        return Err(Error::invalid(
            "schema name must not contain $body$, which delimits the bodies of functions",
        ));
    }
    limits::text("schema name", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_file_follows_the_name() {
        assert_eq!(default_url("widget-store"), "sqlite:widget_store.sqlite");
        assert_eq!(default_url("7-up"), "sqlite:_7_up.sqlite");
    }

    #[test]
    fn nonsense_is_refused_before_anything_is_opened() {
        let good = Config::new("shop".to_owned());
        assert!(good.check().is_ok());
        let good = || Config::new("shop".to_owned());
        let bad = [
            Config { name: "Shop".to_owned(), ..good() },
            Config { schema: String::new(), ..good() },
            Config { schema: "x".repeat(64), ..good() },
            Config { pool_size: 0, ..good() },
            Config { lanes: 0, ..good() },
            Config { poll: Duration::ZERO, ..good() },
            Config { listing_timeout: Some(Duration::ZERO), ..good() },
            Config { retention: Some(Retention::new()), ..good() },
            Config { schedule_poll: Duration::ZERO, ..good() },
        ];
        for config in bad {
            assert!(config.check().is_err(), "{config:?}");
        }
    }
}
