//! A workflow that waits to be let go, and tells how many of its kind run at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dbos_runtime::{Builder, Error, WorkflowRef};
use harness::until;
use tokio::sync::Semaphore;

/// The workflow that [`Gauge::register`] registers; its input is its name in the log.
pub(super) const JOB: WorkflowRef<String, String> = WorkflowRef::named("job");

/// What jobs do, over all processes of a test.
#[derive(Clone, Debug)]
pub(super) struct Gauge {
    inner: Arc<Mutex<Inner>>,
    /// A permit lets one job end.
    gate: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Inner {
    started: Vec<String>,
    running: BTreeMap<String, usize>,
    most: usize,
}

impl Gauge {
    /// Jobs wait until they are let go.
    pub(super) fn closed() -> Self {
        Self { inner: Arc::default(), gate: Arc::new(Semaphore::new(0)) }
    }

    /// Jobs end after a moment.
    pub(super) fn open() -> Self {
        Self { inner: Arc::default(), gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)) }
    }

    pub(super) fn register(&self, builder: Builder<()>) -> Builder<()> {
        let gauge = self.clone();
        builder.register_fn("job", move |ctx: dbos_runtime::Ctx, name: String| {
            let gauge = gauge.clone();
            async move {
                ctx.step("work", || gauge.work(&name)).await?;
                Ok::<_, Error>(name)
            }
        })
    }

    async fn work(&self, name: &str) -> Result<(), Error> {
        // Everything up to the first dash is the partition.
        let kind = name.split('-').next().unwrap_or_default().to_owned();
        {
            let mut inner = self.lock();
            inner.started.push(name.to_owned());
            *inner.running.entry(kind.clone()).or_default() += 1;
            let now = inner.running.values().sum();
            inner.most = inner.most.max(now);
        }
        let _running = Running { gauge: self.clone(), kind };
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.gate.acquire().await.expect("the gate is never closed").forget();
        Ok(())
    }

    /// Lets so many jobs end.
    pub(super) fn let_go(&self, jobs: usize) {
        self.gate.add_permits(jobs);
    }

    pub(super) fn started(&self) -> Vec<String> {
        self.lock().started.clone()
    }

    /// How many of one kind run now.
    pub(super) fn running_of(&self, kind: &str) -> usize {
        self.lock().running.get(kind).copied().unwrap_or_default()
    }

    pub(super) fn running(&self) -> usize {
        self.lock().running.values().sum()
    }

    /// How many ran at once at most.
    pub(super) fn most(&self) -> usize {
        self.lock().most
    }

    /// Waits until so many run, then looks for a while whether more come.
    pub(super) async fn settles_at(&self, count: usize) {
        until(&format!("{count} jobs run"), async || self.running() >= count).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(self.running(), count, "started: {:?}", self.started());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Running {
    gauge: Gauge,
    kind: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(count) = self.gauge.lock().running.get_mut(&self.kind) {
            *count -= 1;
        }
    }
}
