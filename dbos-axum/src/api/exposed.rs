//! Which workflows clients may start, and how.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use axum::body::Bytes;
use dbos_runtime::{Arguments, Error, Target};
use futures_util::future::BoxFuture;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::options::{StartOption, StartOptions};
use crate::ctx::DbosCtx;
use crate::json;
use crate::problem::Problem;
use crate::reply::Started;

/// Names that belong to the runtimes.
const INTERNAL: [&str; 2] = ["dbos", "_dbos"];

/// A start with the body of a request.
type Starter =
    dyn Fn(DbosCtx, Bytes, StartOptions) -> BoxFuture<'static, Result<Started<Value>, Problem>> + Send + Sync;

/// A workflow that clients may start. Made from any workflow; what is said here is about this one alone.
///
/// # Examples
///
/// ```
/// use dbos_axum::{AllowAnyone, Exposed, StartOption, WorkflowApi};
/// use dbos_runtime::{Ctx, Dbos, Error, workflow};
///
/// #[workflow]
/// async fn monthly_report(_ctx: Ctx, month: String) -> Result<String, Error> {
///     Ok(format!("all is well in {month}"))
/// }
///
/// fn api(dbos: Dbos) -> WorkflowApi<AllowAnyone> {
///     let report = Exposed::new(monthly_report).named("report").on_queue("reports").allow([StartOption::Priority]);
///     WorkflowApi::new(dbos).expose(report)
/// }
/// ```
#[must_use = "nothing is exposed until an API has it"]
pub struct Exposed {
    pub(super) name: String,
    pub(super) workflow: String,
    queue: Option<String>,
    allowed: BTreeSet<StartOption>,
    start: Arc<Starter>,
}

impl Exposed {
    /// A workflow under its own name. Its input is the body of the request: an array for a workflow of several
    /// arguments, `null` for one of none.
    pub fn new<W: Target + Send + Sync + 'static>(workflow: W) -> Self {
        let name = workflow.name().to_owned();
        Self::of(name, Arc::new(workflow))
    }

    /// The workflow of a name, whatever it takes.
    fn any(name: &str) -> Self {
        Self::of(name.to_owned(), Arc::new(Named(name.to_owned())))
    }

    fn of<W: Target + Send + Sync + 'static>(name: String, workflow: Arc<W>) -> Self {
        let start = move |ctx: DbosCtx, body: Bytes, options: StartOptions| {
            let workflow = Arc::clone(&workflow);
            let starting = async move { options.apply(ctx.start_as(&*workflow, json::parse(&body)?)).await };
            Box::pin(starting) as BoxFuture<'static, _>
        };
        Self { workflow: name.clone(), name, queue: None, allowed: BTreeSet::new(), start: Arc::new(start) }
    }

    /// The name under which clients start it; that of the workflow by default.
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// The queue that it waits on, unless the client may say another one and does.
    pub fn on_queue(self, queue: impl Into<String>) -> Self {
        Self { queue: Some(queue.into()), ..self }
    }

    /// What clients may say about its start, besides what the API allows for all.
    pub fn allow(mut self, options: impl IntoIterator<Item = StartOption>) -> Self {
        self.allowed.extend(options);
        self
    }

    /// Refuses options that are not allowed.
    pub(super) fn check(
        &self,
        options: &StartOptions,
        by_api: &BTreeSet<StartOption>,
    ) -> Result<(), Problem> {
        options.within(&self.allowed.union(by_api).copied().collect())
    }

    /// Starts it with that body.
    pub(super) async fn start(
        &self,
        ctx: DbosCtx,
        body: Bytes,
        options: StartOptions,
    ) -> Result<Started<Value>, Problem> {
        (self.start)(ctx, body, options.on_queue(self.queue.as_deref())).await
    }
}

impl<W: Target + Send + Sync + 'static> From<W> for Exposed {
    fn from(workflow: W) -> Self {
        Self::new(workflow)
    }
}

impl fmt::Debug for Exposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exposed").field("name", &self.name).finish_non_exhaustive()
    }
}

/// All that clients may start.
#[derive(Clone, Default, Debug)]
pub(super) struct Exposures {
    by_name: BTreeMap<String, Arc<Exposed>>,
    pub(super) all: bool,
    pub(super) allowed: BTreeSet<StartOption>,
    pub(super) key_required: bool,
}

impl Exposures {
    pub(super) fn add(&mut self, exposed: Exposed) {
        self.by_name.insert(exposed.name.clone(), Arc::new(exposed));
    }

    /// The names that clients may start; nothing when they are not known here.
    #[cfg(feature = "openapi")]
    pub(super) fn names(&self) -> Option<Vec<String>> {
        (!self.all).then(|| self.by_name.keys().cloned().collect())
    }

    /// What clients may say about some start.
    #[cfg(feature = "openapi")]
    pub(super) fn options(&self) -> BTreeSet<StartOption> {
        let own = self.by_name.values().flat_map(|exposed| exposed.allowed.iter());
        own.chain(&self.allowed).copied().collect()
    }

    /// What a client may start under that name.
    pub(super) fn get(&self, name: &str, ctx: &DbosCtx) -> Option<Arc<Exposed>> {
        let exposed = self.by_name.get(name).map(Arc::clone);
        exposed.or_else(|| {
            let known = self.all && !INTERNAL.iter().any(|prefix| name.starts_with(prefix));
            (known && ctx.dbos().has_workflow(name)).then(|| Arc::new(Exposed::any(name)))
        })
    }
}

/// A workflow of which the name alone is known.
struct Named(String);

impl Target for Named {
    type Input = Raw;
    type Output = Value;
    type Error = Error;

    fn name(&self) -> &str {
        &self.0
    }
}

/// An input of unknown type: one argument, or arguments in the form in which they are stored.
#[derive(Serialize)]
#[serde(untagged)]
enum Raw {
    Arguments(Arguments),
    One(Value),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let argument = |name: &String| name == "positionalArgs" || name == "namedArgs";
        match value.as_object() {
            Some(members) if !members.is_empty() && members.keys().all(argument) => {
                Arguments::deserialize(value).map(Self::Arguments).map_err(D::Error::custom)
            }
            _ => Ok(Self::One(value)),
        }
    }
}
