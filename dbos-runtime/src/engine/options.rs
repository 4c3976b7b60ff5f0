//! What can be said about how a workflow starts, from outside or from a parent: one set of verbs for both.

use std::time::Duration;

use super::debounce::Debounced;
use super::queues;
use super::shared::Shared;
use crate::error::{Error, Result};
use crate::ids::WorkflowId;
use crate::limits;
use crate::model::workflow::{Entry, Queued};
use crate::time::Timestamp;

/// The options of a start. The first one that breaks a rule is kept, and refuses the start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) id: Option<WorkflowId>,
    pub(crate) queue: Option<String>,
    pub(crate) priority: Option<i32>,
    pub(crate) partition_key: Option<String>,
    pub(crate) deduplication_id: Option<String>,
    pub(crate) delay: Option<Duration>,
    pub(crate) timeout: Timeout,
    pub(crate) version: Option<String>,
    pub(crate) application: Option<String>,
    pub(crate) class_name: Option<String>,
    pub(crate) config_name: Option<String>,
    pub(crate) attributes: Option<String>,
    pub(crate) attach_to_duplicate: bool,
    pub(crate) refuse_existing: bool,
    pub(crate) debounce: Option<Debounced>,
    pub(crate) debounce_timeout: Option<Duration>,
    pub(crate) portable: bool,
    error: Option<Error>,
}

/// How long a workflow may take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Timeout {
    /// As long as its parent has; for ever if it has none.
    #[default]
    Inherited,
    None,
    After(Duration),
}

impl Options {
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Self) -> Result<()>) {
        if self.error.is_none() {
            self.error = change(self).err();
        }
    }

    /// Refuses what does not go together.
    pub(crate) fn check(&self, shared: &Shared) -> Result<()> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        if let Some(debounce) = self.debounced() {
            debounce.check(self)?;
        } else if self.debounce_timeout.is_some() {
            return Err(Error::invalid("a debounce timeout needs a debounce key"));
        }
        let Some(queue) = &self.queue else {
            if self.debounce.is_some() {
                return Ok(());
            }
            if shared.is_client() {
                return Err(Error::invalid("a client runs no workflows: say on which queue this one waits"));
            }
            let needs_queue = [
                ("a priority", self.priority.is_some()),
                ("a partition key", self.partition_key.is_some()),
                ("a deduplication id", self.deduplication_id.is_some()),
                ("a delay", self.delay.is_some()),
                ("an application version", self.version.is_some()),
                ("another application", self.application.is_some()),
            ];
            return match needs_queue.into_iter().find(|(_, given)| *given) {
                Some((what, _)) => Err(Error::invalid(format!("{what} needs a queue"))),
                None => Ok(()),
            };
        };
        if self.deduplication_id.is_some() && self.partition_key.is_some() {
            return Err(Error::invalid("a deduplication id and a partition key do not go together"));
        }
        if self.attach_to_duplicate && self.deduplication_id.is_none() {
            return Err(Error::invalid("to attach to a duplicate, a start needs a deduplication id"));
        }
        queues::check_target(shared, queue, self.partition_key.as_deref())
    }

    /// What was said about debouncing.
    pub(crate) fn debounced(&self) -> Option<Debounced> {
        self.debounce.clone().map(|debounce| Debounced { at_most: self.debounce_timeout, ..debounce })
    }

    /// How the workflow comes to run.
    pub(crate) fn entry(&self, shared: &Shared, name: &str) -> Entry {
        let queue = match (&self.queue, &self.debounce) {
            (Some(queue), _) => queue.as_str(),
            (None, Some(_)) => Debounced::QUEUE,
            (None, None) => return Entry::Direct,
        };
        let now = shared.clock.now();
        let own = &shared.identity.application;
        let application = self.application.clone().or_else(|| own.clone());
        // Work for another application, or by name, goes to whichever version is its latest.
        let ours = application == *own && shared.registry.has(name);
        let version = self.version.clone().or_else(|| shared.identity.version.clone().filter(|_| ours));
        Entry::Queued(Box::new(Queued {
            queue: queue.to_owned(),
            deduplication_id: self.deduplication_id.clone(),
            priority: self.priority.unwrap_or_default(),
            partition_key: self.partition_key.clone(),
            delay_until: self.delay.map(|delay| now.after(delay)),
            version,
            application,
            created_at: shared.order.next(now),
            debounce: None,
        }))
    }

    /// The time limit in milliseconds, and the instant at which it ends if that is known. The clock of queued work starts
    /// when it is claimed.
    pub(crate) fn limits(
        &self,
        now: Timestamp,
        inherited: Option<Timestamp>,
    ) -> (Option<i64>, Option<Timestamp>) {
        match self.timeout {
            // It would be out of time while it is still delayed.
            Timeout::Inherited if self.debounce.is_some() => (None, None),
            Timeout::Inherited => (None, inherited),
            Timeout::None => (None, None),
            Timeout::After(timeout) => {
                let millis = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX).max(1);
                let waits = self.queue.is_some() || self.debounce.is_some();
                (Some(millis), (!waits).then(|| now.after(timeout)))
            }
        }
    }
}

/// A time limit: more than nothing, at most a hundred years.
pub(crate) fn timeout(timeout: Duration) -> Result<Timeout> {
    if timeout.is_zero() {
        return Err(Error::invalid("a workflow's timeout must be longer than nothing"));
    }
    limits::duration("a workflow's timeout", timeout)?;
    Ok(Timeout::After(timeout))
}

/// A priority, as the schema's column holds it.
pub(crate) fn priority(priority: u32) -> Result<i32> {
    i32::try_from(priority)
        .ok()
        .filter(|priority| *priority > 0)
        .ok_or_else(|| Error::invalid(format!("priority {priority} is not between 1 and {}", i32::MAX)))
}

/// The verbs of a start, for a type that has `fn change(self, impl FnOnce(&mut Options) -> Result<()>) -> Self`.
macro_rules! start_verbs {
    () => {
        /// The workflow's id. A second start under it finds the first one's workflow.
        pub fn id(self, id: impl TryInto<WorkflowId, Error: Into<Error>>) -> Self {
            self.change(|options| {
                options.id = Some(id.try_into().map_err(Into::into)?);
                Ok(())
            })
        }

        /// Puts the workflow on a queue, for whichever process claims it. A queue that is not registered keeps it until
        /// it is.
        pub fn queue(self, queue: &str) -> Self {
            self.change(|options| {
                crate::model::queue::name("queue name", queue)?;
                options.queue = Some(queue.to_owned());
                Ok(())
            })
        }

        /// Its place on the queue: 1 and up, lower first. One without a priority goes before all that have one.
        pub fn priority(self, priority: u32) -> Self {
            self.change(|options| {
                options.priority = Some($crate::engine::options::priority(priority)?);
                Ok(())
            })
        }

        /// Its part of a partitioned queue; limits by partition count those of one key.
        pub fn partition_key(self, key: &str) -> Self {
            self.change(|options| {
                crate::limits::text("partition key", key)?;
                options.partition_key = Some(key.to_owned());
                Ok(())
            })
        }

        /// At most one workflow on the queue has this id at a time, from here until it has ended. A second one is refused
        /// with [`ErrorKind::QueueDeduplicated`](crate::ErrorKind::QueueDeduplicated).
        pub fn deduplication_id(self, id: &str) -> Self {
            self.change(|options| {
                crate::limits::text("deduplication id", id)?;
                options.deduplication_id = Some(id.to_owned());
                Ok(())
            })
        }

        /// Attaches to the workflow that holds the deduplication id, instead of being refused.
        pub fn attach_to_duplicate(self) -> Self {
            self.change(|options| {
                options.attach_to_duplicate = true;
                Ok(())
            })
        }

        /// Refuses, with [`ErrorKind::WorkflowIdInUse`](crate::ErrorKind::WorkflowIdInUse), to attach to a workflow that
        /// has the id already.
        pub fn refuse_existing(self) -> Self {
            self.change(|options| {
                options.refuse_existing = true;
                Ok(())
            })
        }

        /// Stores the input and the outcome as portable JSON whatever [serializer](crate::Builder::serializer) is configured: for
        /// workflows of other languages. What such a workflow sends and publishes is portable too.
        pub fn portable(self) -> Self {
            self.change(|options| {
                options.portable = true;
                Ok(())
            })
        }

        /// Not claimed before this time has passed.
        pub fn delay(self, delay: std::time::Duration) -> Self {
            self.change(|options| {
                crate::limits::duration("a delay", delay)?;
                options.delay = Some(delay);
                Ok(())
            })
        }

        /// Runs once it has been quiet for `period`: until then, each further start of this workflow with the same key
        /// moves the delay and replaces the input, and gives a handle to the one workflow that will run.
        ///
        /// It does not go together with a deduplication id, a delay, a priority, a partition key or a pinned fate of
        /// duplicates. Without a [`queue`](Self::queue) it waits on one of the runtime's own.
        pub fn debounce(self, key: &str, period: std::time::Duration) -> Self {
            self.change(|options| {
                options.debounce =
                    Some($crate::engine::debounce::Debounced { key: key.to_owned(), period, at_most: None });
                Ok(())
            })
        }

        /// However often it is moved, a debounced workflow is not delayed longer than this after its first start.
        pub fn debounce_timeout(self, at_most: std::time::Duration) -> Self {
            self.change(|options| {
                crate::limits::duration("a debounce timeout", at_most)?;
                options.debounce_timeout = Some(at_most);
                Ok(())
            })
        }

        /// How long the workflow may take, from its start or from its claim, through restarts. Past that it is cancelled.
        pub fn timeout(self, timeout: std::time::Duration) -> Self {
            self.change(|options| {
                options.timeout = $crate::engine::options::timeout(timeout)?;
                Ok(())
            })
        }

        /// No time limit, not even the parent's.
        pub fn no_timeout(self) -> Self {
            self.change(|options| {
                options.timeout = $crate::engine::options::Timeout::None;
                Ok(())
            })
        }

        /// The version of the code that may claim it, instead of this one.
        pub fn application_version(self, version: &str) -> Self {
            self.change(|options| {
                options.version = Some(crate::ids::AppVersion::parse(version)?.into());
                Ok(())
            })
        }

        /// The application that may claim it, instead of this one.
        pub fn application(self, name: &str) -> Self {
            self.change(|options| {
                crate::limits::application(name)?;
                options.application = Some(name.to_owned());
                Ok(())
            })
        }

        /// The class under which other languages, or a configured instance, registered the workflow.
        pub fn class_name(self, class: &str) -> Self {
            self.change(|options| {
                crate::limits::name("class name", class)?;
                options.class_name = Some(class.to_owned());
                Ok(())
            })
        }

        /// The configured instance that runs the workflow.
        pub fn config_name(self, instance: &str) -> Self {
            self.change(|options| {
                crate::limits::name("instance name", instance)?;
                options.config_name = Some(instance.to_owned());
                Ok(())
            })
        }

        /// Attributes to find the workflow by, in place of any set before: a JSON object of at most 64 KiB, without NUL
        /// in its texts.
        pub fn attributes(self, attributes: &serde_json::Map<String, serde_json::Value>) -> Self {
            self.change(|options| {
                options.attributes = Some(crate::payload::attributes(attributes)?);
                Ok(())
            })
        }

        /// One attribute more.
        pub fn attribute(self, key: &str, value: impl Into<serde_json::Value>) -> Self {
            let value = value.into();
            self.change(|options| {
                let mut attributes = match &options.attributes {
                    Some(text) => crate::payload::decode(text)?,
                    None => serde_json::Map::new(),
                };
                attributes.insert(key.to_owned(), value);
                options.attributes = Some(crate::payload::attributes(&attributes)?);
                Ok(())
            })
        }
    };
}

pub(crate) use start_verbs;
