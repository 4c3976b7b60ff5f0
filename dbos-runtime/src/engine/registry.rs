//! Names to functions: the one place that forgets the types of a workflow.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::context::Ctx;
use super::execution::Execution;
use crate::error::{DurableError, Error, ErrorKind, Result};
use crate::limits;
use crate::payload;

/// How a body ended, as text to be stored.
pub(crate) type End = std::result::Result<String, String>;

/// A workflow's function with its types forgotten: execution and stored input in, stored output or error out.
pub(crate) type Body = Arc<dyn Fn(Arc<Execution>, String) -> BoxFuture<'static, End> + Send + Sync>;

/// Something that can be started: a name with the types that go in and come out.
///
/// `#[workflow]` makes one of the same name as the function. For a workflow that was registered with
/// [`Builder::register_fn`](crate::Builder::register_fn), or lives in another program, use [`WorkflowRef`].
pub trait Target {
    /// What the workflow is given; a tuple is that many arguments.
    type Input: Serialize + DeserializeOwned + Send + 'static;
    /// What it returns.
    type Output: Serialize + DeserializeOwned + Send + 'static;
    /// What it fails with.
    type Error: DurableError;

    /// The name under which it is registered.
    fn name(&self) -> &str;
}

/// A workflow function that can be registered. `#[workflow]` implements it.
pub trait Workflow: Target + 'static {
    /// The application's state, which the context carries.
    type State: Send + Sync + 'static;

    /// A fingerprint of the function's code; formatting and comments do not change it.
    fn fingerprint(&self) -> &'static str;

    /// Runs the function.
    fn run(
        context: Ctx<Self::State, Self::Error>,
        input: Self::Input,
    ) -> impl Future<Output = std::result::Result<Self::Output, Self::Error>> + Send;
}

/// A typed name of a workflow.
///
/// ```
/// use dbos_runtime::{Error, Target, WorkflowRef};
///
/// const DOUBLE: WorkflowRef<u32, u32, Error> = WorkflowRef::named("double");
/// assert_eq!(DOUBLE.name(), "double");
/// ```
pub struct WorkflowRef<I, O, E = Error> {
    name: &'static str,
    types: std::marker::PhantomData<fn(I) -> (O, E)>,
}

impl<I, O, E> WorkflowRef<I, O, E> {
    /// The workflow of that name.
    pub const fn named(name: &'static str) -> Self {
        Self { name, types: std::marker::PhantomData }
    }
}

impl<I, O, E> Clone for WorkflowRef<I, O, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<I, O, E> Copy for WorkflowRef<I, O, E> {}

impl<I, O, E> std::fmt::Debug for WorkflowRef<I, O, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("WorkflowRef").field(&self.name).finish()
    }
}

impl<I, O, E> Target for WorkflowRef<I, O, E>
where
    I: Serialize + DeserializeOwned + Send + 'static,
    O: Serialize + DeserializeOwned + Send + 'static,
    E: DurableError,
{
    type Input = I;
    type Output = O;
    type Error = E;

    fn name(&self) -> &str {
        self.name
    }
}

/// The workflows of a runtime.
#[derive(Default)]
pub(crate) struct Registry {
    workflows: BTreeMap<String, Registered>,
}

struct Registered {
    body: Body,
    fingerprint: String,
}

impl Registry {
    /// Adds a function under a name.
    pub(crate) fn add<S, I, O, E, F, Fut>(
        &mut self,
        name: &str,
        fingerprint: &str,
        state: &Arc<S>,
        function: F,
    ) -> Result<()>
    where
        S: Send + Sync + 'static,
        I: DeserializeOwned + Send + 'static,
        O: Serialize + Send + 'static,
        E: DurableError,
        F: Fn(Ctx<S, E>, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = std::result::Result<O, E>> + Send + 'static,
    {
        limits::name("workflow name", name)?;
        let state = Arc::clone(state);
        let function = Arc::new(function);
        let body: Body = Arc::new(move |execution, input| {
            let context = Ctx::new(execution, Arc::clone(&state));
            let function = Arc::clone(&function);
            Box::pin(async move {
                let input = payload::decode_input(&input).map_err(|error| payload::encode_error(&error))?;
                match function(context, input).await {
                    Ok(output) => payload::encode(&output).map_err(|error| payload::encode_error(&error)),
                    Err(error) => Err(payload::encode_error(&error)),
                }
            })
        });
        let registered = Registered { body, fingerprint: fingerprint.to_owned() };
        if self.workflows.insert(name.to_owned(), registered).is_some() {
            return Err(Error::invalid(format!("two workflows are registered under the name {name:?}")));
        }
        Ok(())
    }

    pub(crate) fn body(&self, name: &str) -> Result<Body> {
        self.workflows.get(name).map(|registered| Arc::clone(&registered.body)).ok_or_else(|| {
            Error::new(ErrorKind::NotRegistered, format!("no workflow is registered under the name {name:?}"))
        })
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.workflows.contains_key(name)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.workflows.keys().cloned().collect()
    }

    /// One hash over the names and fingerprints of all workflows.
    pub(crate) fn version(&self) -> String {
        let mut hash = Sha256::new();
        for (name, registered) in &self.workflows {
            for part in [name, &registered.fingerprint] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part.as_bytes());
            }
        }
        hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}
