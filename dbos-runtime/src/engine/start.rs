//! Start a workflow, or attach to the one that is there.

use std::future::IntoFuture;
use std::marker::PhantomData;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::handle::WorkflowHandle;
use super::insert::{Request, insert, insert_within};
use super::options::{Options, start_verbs};
use super::registry::Target;
use super::shared::Shared;
use super::wait;
use crate::error::{DurableError, Error, ErrorKind, Result};
use crate::ids::WorkflowId;
use crate::limits;
use crate::payload;
use crate::store::enlisted::SystemConnection;

/// A start that can be configured before it is awaited.
///
/// Awaiting it gives a [`WorkflowHandle`]. When it returns, the workflow is in the database and will run to its end,
/// whatever happens to this process.
///
/// # Cancel safety
///
/// Dropping it once polled may or may not have started the workflow; a start under the same id tells.
#[must_use = "a start does nothing until it is awaited"]
pub struct Start<T, E> {
    shared: Arc<Shared>,
    request: Result<Request>,
    same_input: bool,
    types: PhantomData<fn() -> (T, E)>,
}

impl<T, E> Start<T, E> {
    pub(crate) fn new<W: Target>(shared: &Arc<Shared>, target: &W, input: &W::Input) -> Self {
        Self::of(shared, Request::of(target, input))
    }

    pub(crate) fn named(shared: &Arc<Shared>, name: &str, input: Result<String>) -> Self {
        let request = limits::name("workflow name", name).and_then(|()| Ok(Request::named(name, input?)));
        Self::of(shared, request)
    }

    fn of(shared: &Arc<Shared>, request: Result<Request>) -> Self {
        Self { shared: Arc::clone(shared), request, same_input: false, types: PhantomData }
    }

    start_verbs!();

    /// On whose behalf the workflow runs.
    pub fn authenticated_user(self, user: &str) -> Self {
        self.caller(|request| {
            limits::text("authenticated user", user)?;
            request.user = Some(user.to_owned());
            Ok(())
        })
    }

    /// The roles of that user.
    pub fn authenticated_roles<R: AsRef<str>>(self, roles: &[R]) -> Self {
        self.caller(|request| {
            let roles: Vec<&str> = roles.iter().map(AsRef::as_ref).collect();
            request.roles = if roles.is_empty() { None } else { Some(payload::encode(&roles)?) };
            Ok(())
        })
    }

    /// The tenant to whom that user belongs: the attribute `dbos.tenant`, which the workflow's children inherit as they
    /// inherit the user. An empty one is nobody's.
    pub fn authenticated_tenant(self, tenant: &str) -> Self {
        self.caller(|request| {
            if !tenant.is_empty() {
                limits::text("authenticated tenant", tenant)?;
            }
            request.tenant = Some(tenant.to_owned());
            Ok(())
        })
    }

    /// Enqueues the workflow inside a transaction of the caller's on the system database: it exists when the caller
    /// commits, and never did when the caller rolls back. It needs a [`queue`](Self::queue).
    ///
    /// ```
    /// # use dbos_runtime::{Client, Error, WorkflowRef};
    /// # const PAY: WorkflowRef<u64, u64> = WorkflowRef::named("pay");
    /// # async fn example(client: Client, pool: sqlx::PgPool) -> Result<(), Error> {
    /// let mut transaction = pool.begin().await?;
    /// // … the application's own writes …
    /// client.start(PAY, 995).queue("payments").id("order-7").within(&mut *transaction).await?;
    /// transaction.commit().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As of a start; the transaction can go on after a refusal. [`ErrorKind::InvalidArgument`] for a connection to
    /// another kind of database.
    pub async fn within<C: SystemConnection + ?Sized>(
        self,
        connection: &mut C,
    ) -> Result<WorkflowHandle<T, E>> {
        let mut request = self.request?;
        let id = request.id();
        let started = insert_within(&self.shared, request, connection.enlist()).await?;
        Ok(started.handle(&self.shared, id))
    }

    /// Refuses, with [`ErrorKind::InputMismatch`], to attach to a workflow that runs with another input.
    pub fn same_input(self) -> Self {
        Self { same_input: true, ..self }
    }

    /// What is to be started, as one of several: nobody looks at what is there already.
    pub(super) fn into_request(self) -> Result<Request> {
        let request = self.request?;
        if self.same_input || request.options.refuse_existing {
            return Err(Error::invalid(
                "several starts leave workflows that are there as they are: they neither refuse nor compare them",
            ));
        }
        Ok(request)
    }

    fn change(self, change: impl FnOnce(&mut Options) -> Result<()>) -> Self {
        self.caller(|request| {
            request.options.change(change);
            Ok(())
        })
    }

    fn caller(mut self, change: impl FnOnce(&mut Request) -> Result<()>) -> Self {
        if let Ok(request) = &mut self.request
            && let Err(error) = change(request)
        {
            self.request = Err(error);
        }
        self
    }
}

impl<T, E> std::fmt::Debug for Start<T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let id = self.request.as_ref().map(|request| &request.options.id);
        f.debug_struct("Start").field("id", &id).finish_non_exhaustive()
    }
}

impl<T, E> IntoFuture for Start<T, E>
where
    T: DeserializeOwned + Send + 'static,
    E: DurableError,
{
    type Output = Result<WorkflowHandle<T, E>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { shared, request, same_input, .. } = self;
        Box::pin(async move {
            let mut request = request?;
            let id = request.id();
            let input = same_input.then(|| request.input.clone());
            let patience = shared.config.patience;
            // What was sent may have been committed all the same: then it runs, though this caller has left.
            let started = tokio::time::timeout(patience, insert(&shared, request));
            let started = started.await.unwrap_or_else(|_| Err(wait::unavailable()))?;
            if let (Some(ours), Some(theirs)) = (input, started.attached())
                && !same(&ours, theirs)
            {
                let message = format!("workflow {id} was started with another input");
                return Err(Error::new(ErrorKind::InputMismatch, message).about(&id));
            }
            Ok(started.handle(&shared, id))
        })
    }
}

/// Whether two inputs are the same JSON, whatever the spelling.
fn same(ours: &str, theirs: &str) -> bool {
    let arguments = |text: &str| -> Option<(Value, Value)> {
        let mut value: Value = serde_json::from_str(text).ok()?;
        let mut part = |name: &str, empty: Value| match value.get_mut(name).map(Value::take) {
            None | Some(Value::Null) => empty,
            Some(part) => part,
        };
        Some((part("positionalArgs", Value::Array(Vec::new())), part("namedArgs", Value::Object(Map::new()))))
    };
    arguments(ours).is_some_and(|ours| arguments(theirs) == Some(ours))
}
