//! The page of all numbers, for Prometheus.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dbos_runtime::{Dbos, Error};
use tokio::sync::Mutex;

use super::look::{self, Minute};
use super::{engine, names, recorder};

/// For so long one look serves all who ask.
const FRESH: Duration = Duration::from_secs(1);
/// A scrape does not wait longer for the database: Prometheus gives up after ten seconds.
const PATIENCE: Duration = Duration::from_secs(4);

/// The numbers of a runtime and of its HTTP layer, as a page for Prometheus.
///
/// Requests are counted through the crate `metrics`, so they go to whichever recorder the process has:
/// [`install`](Self::install) makes one, and an application that has its own puts it [`beside`](Self::beside). The
/// engine's numbers are looked up when the page is asked for, in at most seven statements, and at most once a second.
///
/// No label is a workflow's id, a key or a path.
///
/// # Examples
///
/// ```
/// use axum::Router;
/// use dbos_axum::{AllowAnyone, Metrics, MetricsPage};
/// use dbos_runtime::Dbos;
///
/// // On a port of its own that only Prometheus reaches; else name an extractor that authenticates.
/// fn internal(dbos: Dbos) -> Result<Router, dbos_axum::RecorderTaken> {
///     let metrics = Metrics::install(dbos)?;
///     Ok(Router::new().nest("/internal", MetricsPage::<AllowAnyone>::new(metrics).into_router()))
/// }
/// ```
#[derive(Clone)]
pub struct Metrics {
    dbos: Dbos,
    http: Arc<dyn Fn() -> String + Send + Sync>,
    looked: Arc<Mutex<Looked>>,
}

/// What was found last.
#[derive(Default)]
struct Looked {
    text: Option<(Instant, Arc<str>)>,
    minute: Option<Minute>,
}

impl Metrics {
    /// Installs a recorder of requests for the whole process, from now on; a second call finds the first one's.
    ///
    /// # Errors
    ///
    /// [`RecorderTaken`] when the application has installed another one: that one counts the requests, and
    /// [`beside`](Self::beside) is for it.
    pub fn install(dbos: Dbos) -> Result<Self, RecorderTaken> {
        let handle = recorder::install().ok_or(RecorderTaken)?;
        Ok(Self::over(dbos, || handle.render()))
    }

    /// For an application that has installed a recorder of its own: the page shows what `rendered` returns, which is
    /// empty when the application has a page for its recorder already, and then the engine's numbers.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn app(dbos: dbos_runtime::Dbos) {
    /// let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    /// let handle = recorder.handle();
    /// # let _ =
    /// metrics::set_global_recorder(recorder);
    /// let metrics = dbos_axum::Metrics::beside(dbos, move || handle.render());
    /// # let _ = metrics;
    /// # }
    /// ```
    pub fn beside(dbos: Dbos, rendered: impl Fn() -> String + Send + Sync + 'static) -> Self {
        names::describe_http();
        Self::over(dbos, rendered)
    }

    fn over(dbos: Dbos, http: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self { dbos, http: Arc::new(http), looked: Arc::default() }
    }

    /// The page, in Prometheus' text format. When the database is away it says so, in `dbos_database_up`, and has the
    /// numbers of this process.
    ///
    /// # Cancel safety
    ///
    /// Safe: the next look begins anew.
    pub async fn render(&self) -> String {
        let mut page = (self.http)();
        page.push_str(&self.engine().await);
        page
    }

    async fn engine(&self) -> Arc<str> {
        // Who comes meanwhile waits for this look, and shares it.
        let mut looked = self.looked.lock().await;
        if let Some((at, text)) = &looked.text
            && at.elapsed() < FRESH
        {
            return Arc::clone(text);
        }
        let found = tokio::time::timeout(PATIENCE, self.look(&mut looked.minute)).await;
        let moment = match found {
            Ok(Ok(moment)) => Some(moment),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the database does not answer a look at its numbers");
                None
            }
            Err(_) => {
                tracing::warn!("the database takes too long for a look at its numbers");
                None
            }
        };
        let text = engine::text(&self.dbos, moment.as_ref().zip(looked.minute.as_ref()));
        let text: Arc<str> = text.into();
        looked.text = Some((Instant::now(), Arc::clone(&text)));
        text
    }

    async fn look(&self, minute: &mut Option<Minute>) -> Result<look::Moment, Error> {
        let until = look::end_of_window(self.dbos.runtime_metrics().at);
        if minute.as_ref().is_none_or(|minute| minute.until != until) {
            *minute = Some(look::minute(&self.dbos, until).await?);
        }
        look::moment(&self.dbos).await
    }
}

/// The process has a recorder of metrics already, which is not [`Metrics`]' own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecorderTaken;

impl fmt::Display for RecorderTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the process has a recorder of metrics already: use `Metrics::beside`")
    }
}

impl std::error::Error for RecorderTaken {}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("dbos", &self.dbos).finish_non_exhaustive()
    }
}
