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
use super::registration::Registration;
use super::roles;
use crate::datasource::Witnesses;
use crate::error::{DurableError, Error, ErrorKind, Result};
use crate::model::queue::claim_key;
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

    /// The class whose method it is; none in Rust by default.
    fn class_name(&self) -> Option<&str> {
        None
    }

    /// The configured instance to which it belongs, if to one.
    fn config_name(&self) -> Option<&str> {
        None
    }
}

/// A workflow function that can be registered. `#[workflow]` implements it.
pub trait Workflow: Target + 'static {
    /// The application's state, which the context carries.
    type State: Send + Sync + 'static;

    /// A fingerprint of the function's code; formatting and comments do not change it.
    fn fingerprint(&self) -> &'static str;

    /// The roles of which its user must have one; none by default.
    fn roles(&self) -> &'static [&'static str] {
        &[]
    }

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
    /// Those of one name differ in their class or their instance.
    workflows: BTreeMap<String, Vec<Registered>>,
    /// Where workflows may have left witnesses of transactions: what was registered, and what has been used.
    pub(crate) datasources: Witnesses,
}

struct Registered {
    body: Body,
    registration: Registration,
}

impl Registered {
    fn is(&self, class: Option<&str>, instance: Option<&str>) -> bool {
        self.registration.class.as_deref() == class && self.is_instance(instance)
    }

    fn is_instance(&self, instance: Option<&str>) -> bool {
        self.registration.instance.as_deref() == instance
    }
}

impl Registry {
    /// Adds a function under a name.
    pub(crate) fn add<S, I, O, E, F, Fut>(
        &mut self,
        registration: Registration,
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
        registration.check()?;
        let state = Arc::clone(state);
        let function = Arc::new(function);
        let required: Arc<[String]> = registration.roles.clone().into();
        let body: Body = Arc::new(move |execution, input| {
            let admitted = roles::assume(&execution, &required);
            let context = Ctx::new(execution, Arc::clone(&state));
            let function = Arc::clone(&function);
            Box::pin(async move {
                admitted.map_err(|error| payload::encode_error(&error))?;
                let input = payload::decode_input(&input).map_err(|error| payload::encode_error(&error))?;
                match function(context, input).await {
                    Ok(output) => payload::encode(&output).map_err(|error| payload::encode_error(&error)),
                    Err(error) => Err(payload::encode_error(&error)),
                }
            })
        });
        let (class, instance) = (registration.class.as_deref(), registration.instance.as_deref());
        let same_name = self.workflows.entry(registration.name.clone()).or_default();
        if same_name.iter().any(|other| other.is(class, instance)) {
            let title = Registration::title(&registration.name, class, instance);
            return Err(Error::invalid(format!("two workflows are registered under the name {title}")));
        }
        same_name.push(Registered { body, registration });
        same_name.sort_by(|a, b| key(&a.registration).cmp(&key(&b.registration)));
        Ok(())
    }

    /// The function of a row. The instance has to be the same; where the class is another one, the only function with
    /// that name and instance will do, since classes are spelled differently in each language.
    fn find(&self, name: &str, class: Option<&str>, instance: Option<&str>) -> Result<&Registered> {
        let same_name = self.workflows.get(name).map_or(&[][..], Vec::as_slice);
        let exact = same_name.iter().find(|registered| registered.is(class, instance));
        let mut of_instance = same_name.iter().filter(|registered| registered.is_instance(instance));
        let only = of_instance.next().filter(|_| of_instance.next().is_none());
        exact.or(only).ok_or_else(|| {
            let title = Registration::title(name, class, instance);
            Error::new(ErrorKind::NotRegistered, format!("no workflow is registered under the name {title}"))
        })
    }

    pub(crate) fn body_of(&self, name: &str, class: Option<&str>, instance: Option<&str>) -> Result<Body> {
        self.find(name, class, instance).map(|registered| Arc::clone(&registered.body))
    }

    /// The role that a user with these stored roles assumes in a workflow; `None` also for one that is not known here.
    pub(crate) fn assumed_role(
        &self,
        name: &str,
        class: Option<&str>,
        instance: Option<&str>,
        roles: Option<&str>,
    ) -> Option<String> {
        let registered = self.find(name, class, instance).ok()?;
        let roles: Vec<String> = serde_json::from_str(roles?).ok()?;
        roles::assumed(&registered.registration.roles, &roles).map(ToOwned::to_owned)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.workflows.contains_key(name)
    }

    /// Refuses a name under which nothing is registered but, perhaps, configured instances.
    pub(crate) fn known(&self, name: &str) -> Result<()> {
        self.find(name, None, None).map(|_| ())
    }

    /// What a claim may take: see [`claim_key`].
    pub(crate) fn claim_keys(&self) -> Vec<String> {
        let registrations = self.workflows.values().flatten().map(|registered| &registered.registration);
        let mut keys: Vec<String> = registrations
            .map(|registration| claim_key(&registration.name, registration.instance.as_deref()))
            .collect();
        keys.dedup();
        keys
    }

    /// One hash over the names and fingerprints of all workflows.
    pub(crate) fn version(&self) -> String {
        let mut hash = Sha256::new();
        for Registered { registration, .. } in self.workflows.values().flatten() {
            let (class, instance) = (registration.class.as_deref(), registration.instance.as_deref());
            let parts = [Some(registration.name.as_str()), Some(registration.fingerprint), class, instance];
            for part in parts.into_iter().flatten() {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part.as_bytes());
            }
        }
        hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

fn key(registration: &Registration) -> (Option<&str>, Option<&str>) {
    (registration.class.as_deref(), registration.instance.as_deref())
}
