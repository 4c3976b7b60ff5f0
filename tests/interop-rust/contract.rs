//! What the applications of the demo agree on.

use serde::{Deserialize, Serialize};

/// The workflow that each of them has.
pub(crate) const ECHO: &str = "echoWorkflow";
/// The class and the instance under which it is asked for.
pub(crate) const CLASS: &str = "interop";
pub(crate) const INSTANCE: &str = "default";
/// The workflow that starts the echo of another one.
pub(crate) const DRIVER: &str = "interopDriver";
/// The message that an echo waits for, and what it is sent.
pub(crate) const TOPIC: &str = "date-msg";
pub(crate) const DATE: &str = "2025-03-15";

/// One of the applications, by its language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Peer {
    Go,
    Python,
    Typescript,
    Java,
    Rust,
}

pub(crate) const RUST: Peer = Peer::Rust;

impl Peer {
    pub(crate) fn of(language: &str) -> Option<Self> {
        serde_json::from_value(language.into()).ok()
    }

    fn language(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::Python => "python",
            Self::Typescript => "typescript",
            Self::Java => "java",
            Self::Rust => "rust",
        }
    }

    pub(crate) fn application(self) -> String {
        format!("interop-{}", self.language())
    }

    pub(crate) fn version(self) -> String {
        format!("interop-{}-v1", self.language())
    }

    pub(crate) fn queue(self) -> String {
        format!("interop-queue-{}", self.language())
    }
}
