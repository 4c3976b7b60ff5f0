//! Identities, each with its own type, checked once where it enters.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::limits;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $field:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the text and takes it as an identity.
            ///
            /// # Errors
            ///
            /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) when the text is empty, too long,
            /// has control characters, or starts or ends with white space.
            pub fn parse(text: impl Into<String>) -> Result<Self> {
                let text = text.into();
                $check($field, &text)?;
                Ok(Self(text.into()))
            }

            /// The text of the identity.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Takes a text that the database, or this crate, has already vouched for.
            #[allow(dead_code, reason = "not every identity is read back")]
            pub(crate) fn trusted(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self> {
                Self::parse(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = Error;

            fn try_from(text: &str) -> Result<Self> {
                Self::parse(text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::parse(text)
            }
        }
    };
}

text_id!(
    /// Names one workflow: 1 to 512 bytes of UTF-8.
    ///
    /// ```
    /// use dbos_runtime::WorkflowId;
    ///
    /// let id: WorkflowId = "order-1001".parse()?;
    /// assert_eq!(id.as_str(), "order-1001");
    /// assert!(WorkflowId::parse(" ").is_err());
    /// # Ok::<(), dbos_runtime::Error>(())
    /// ```
    WorkflowId,
    "workflow id",
    limits::text
);
text_id!(
    /// Names a process that runs workflows; what it leaves unfinished is recovered by the next one of that name.
    ExecutorId,
    "executor id",
    limits::name
);
text_id!(
    /// Names the code that a workflow was started with; only the same version recovers it.
    AppVersion,
    "application version",
    limits::name
);

impl WorkflowId {
    /// A fresh identity. Time-ordered, so that the primary key's index stays hot.
    pub(crate) fn generate() -> Self {
        Self(fresh().into())
    }

    /// The identity of a child, derived so that a replayed parent finds the same one.
    pub(crate) fn child(&self, step: i32) -> Result<Self> {
        Self::parse(format!("{}-{step}", self.0))
    }
}

impl From<&WorkflowId> for WorkflowId {
    fn from(id: &WorkflowId) -> Self {
        id.clone()
    }
}

/// The fencing token of one execution: whoever holds the row's current one may write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct OwnerToken(Arc<str>);

impl OwnerToken {
    /// A fresh token. It names the lock that says whether its process lives, where there is one.
    pub(crate) fn generate(lock: Option<i64>) -> Self {
        let fresh = fresh();
        Self(lock.map_or_else(|| fresh.clone(), |lock| format!("{fresh}@{lock}")).into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A fresh message identity; ordered within the process, which breaks ties of the millisecond clock.
pub(crate) fn message() -> String {
    fresh()
}

/// A random identifier for the user, recorded as a step.
pub(crate) fn random() -> uuid::Uuid {
    #[expect(clippy::disallowed_methods, reason = "the one place that makes identities")]
    uuid::Uuid::new_v4()
}

/// The identity of what a step makes, derived so that the step, tried again, makes the same one.
pub(crate) fn made_by(workflow: &WorkflowId, step: i32) -> String {
    let digest = Sha256::digest(format!("{step}:{workflow}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

fn fresh() -> String {
    #[expect(clippy::disallowed_methods, reason = "the one place that makes identities")]
    uuid::Uuid::now_v7().to_string()
}
