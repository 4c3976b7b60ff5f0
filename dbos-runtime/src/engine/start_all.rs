//! Many workflows put on their queues at once: all of them or none.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::handle::WorkflowHandle;
use super::insert::{Request, Started};
use super::load::Order;
use super::shared::Shared;
use super::start::Start;
use super::{guard, wait};
use crate::error::{Error, ErrorKind, Result};
use crate::model::write::{Receipt, Touched, Write};
use crate::store::enlisted::SystemConnection;

/// Workflows and bytes of input of one call: what the databases take well within the time that a statement has.
const MOST: usize = 5_000;
const MOST_BYTES: usize = 64 << 20;

/// Many starts that are one. Made by [`Dbos::start_all`](crate::Dbos::start_all) and
/// [`Client::start_all`](crate::Client::start_all).
///
/// Awaiting it gives handles to the workflows that are new, in the order of their starts. One whose id is there already
/// is left as it is and has no handle here. On their queues, of one priority, the new ones go in the order of the starts,
/// behind those of earlier calls.
///
/// Each start needs a queue. It takes no deduplication id and no debouncing, and neither refuses nor compares what is
/// there already. One call has at most 5000 workflows and 64 MiB of inputs.
///
/// # Errors
///
/// [`ErrorKind::InvalidArgument`] for a start that breaks a rule, or for an id that is there twice: then nothing is
/// started. [`ErrorKind::Unavailable`] when the database does not answer: then all of them may be there, or none. With
/// ids that are said, the same call can be made again.
///
/// # Cancel safety
///
/// Dropping it once polled may have started all of the workflows, or none.
#[must_use = "nothing is started until this is awaited"]
pub struct StartAll<T, E> {
    shared: Arc<Shared>,
    requests: Vec<Result<Request>>,
    types: PhantomData<fn() -> (T, E)>,
}

impl<T, E> StartAll<T, E> {
    pub(crate) fn new(shared: &Arc<Shared>, starts: impl IntoIterator<Item = Start<T, E>>) -> Self {
        let requests = starts.into_iter().map(Start::into_request).collect();
        Self { shared: Arc::clone(shared), requests, types: PhantomData }
    }

    /// Enqueues them inside a transaction of the caller's on the system database: they exist when the caller commits,
    /// and never did when the caller rolls back.
    ///
    /// # Errors
    ///
    /// As of the call without a transaction. [`ErrorKind::InvalidArgument`] for a connection to another kind of database.
    pub async fn within<C: SystemConnection + ?Sized>(
        self,
        connection: &mut C,
    ) -> Result<Vec<WorkflowHandle<T, E>>> {
        let shared = Arc::clone(&self.shared);
        let writes = self.writes().await?;
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        let receipts = shared.store.apply_all_on(connection.enlist(), &writes).await?;
        handles(&shared, &writes, receipts.ok_or_else(wait::other_database)?)
    }

    async fn run(self) -> Result<Vec<WorkflowHandle<T, E>>> {
        guard::outside_of_transactions()?;
        let shared = Arc::clone(&self.shared);
        if shared.tasks.draining.is_cancelled() {
            return Err(wait::shutting_down());
        }
        let writes = self.writes().await?;
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        let receipts = wait::unhurriedly(&shared, || shared.store.start_all(&writes)).await?;
        let filled: BTreeSet<String> = writes
            .iter()
            .zip(&receipts)
            .filter(|(_, receipt)| **receipt == Receipt::Done)
            .flat_map(|(write, _)| write.touches())
            .filter_map(|touched| if let Touched::Queue(queue) = touched { Some(queue) } else { None })
            .collect();
        filled.iter().for_each(|queue| shared.wakeups.announce_queue(queue));
        handles(&shared, &writes, receipts)
    }

    /// The rows in their order, checked, and in their stored form.
    async fn writes(self) -> Result<Vec<Write>> {
        let shared = &self.shared;
        let requests = checked(shared, self.requests)?;
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        // Another process may have filled the queues up to a place ahead of the clock, or this one before a restart.
        let now = shared.clock.now();
        let last = wait::briefly(shared, || shared.store.last_place(now, Order::end(now))).await?;
        last.into_iter().for_each(|last| shared.order.follow(last));
        requests
            .into_iter()
            .map(|request| {
                let mut write = Write::Start(Box::new(request.new_workflow(shared)));
                shared.store.codec().seal(&mut write)?;
                Ok(write)
            })
            .collect()
    }
}

fn checked(shared: &Shared, requests: Vec<Result<Request>>) -> Result<Vec<Request>> {
    if requests.len() > MOST {
        let count = requests.len();
        return Err(Error::invalid(format!("{count} workflows are more than the {MOST} of one call")));
    }
    let mut checked = Vec::with_capacity(requests.len());
    let (mut ids, mut bytes) = (HashSet::new(), 0);
    for request in requests {
        let mut request = request?;
        let options = &request.options;
        options.check(shared)?;
        if options.queue.is_none() || options.deduplication_id.is_some() || options.debounce.is_some() {
            return Err(Error::invalid(
                "several starts need a queue each, and take neither a deduplication id nor debouncing",
            ));
        }
        let id = request.id();
        if let Some(twice) = ids.replace(id) {
            return Err(Error::invalid(format!("two of the starts have the id {twice}")));
        }
        bytes += request.input.len();
        checked.push(request);
    }
    if bytes > MOST_BYTES {
        return Err(Error::invalid(format!("the inputs have {bytes} bytes; the limit is {MOST_BYTES}")));
    }
    Ok(checked)
}

/// Handles to what is new.
fn handles<T, E>(
    shared: &Arc<Shared>,
    writes: &[Write],
    receipts: Vec<Receipt>,
) -> Result<Vec<WorkflowHandle<T, E>>> {
    let mut handles = Vec::new();
    for (write, receipt) in writes.iter().zip(receipts) {
        match (write, receipt) {
            (Write::Start(new), Receipt::Done) => {
                let created = Started::Created(new.status(), None);
                handles.push(created.handle(shared, new.id.clone()));
            }
            // Rejected: what was in its place at the insert has been deleted since.
            (_, Receipt::Exists(_) | Receipt::Rejected(_)) => {}
            (_, other) => {
                let message = format!("unexpected answer to a start: {other:?}");
                return Err(Error::new(ErrorKind::Database, message));
            }
        }
    }
    Ok(handles)
}

impl<T, E> fmt::Debug for StartAll<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartAll").field("starts", &self.requests.len()).finish_non_exhaustive()
    }
}

impl<T, E> IntoFuture for StartAll<T, E>
where
    T: Send + 'static,
    E: Send + 'static,
{
    type Output = Result<Vec<WorkflowHandle<T, E>>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
