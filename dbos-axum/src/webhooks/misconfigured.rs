//! What keeps a router from being built.

use std::borrow::Cow;
use std::fmt;

/// A setting with which deliveries would not be safe, or not be made. The message names it, and no secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Misconfigured(Cow<'static, str>);

impl Misconfigured {
    pub(super) fn new(why: impl Into<Cow<'static, str>>) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for Misconfigured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misconfigured {}
