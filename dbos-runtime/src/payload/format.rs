//! The form in which a value is stored.

use std::sync::Arc;

use super::PORTABLE;

/// The form of a value on its way to the database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// That of the configured serializer; portable without one.
    #[default]
    Default,
    /// Portable, whatever is configured.
    Portable,
    /// In the form of the serializer with this name already.
    Custom(Arc<str>),
}

impl Format {
    /// The name beside the value.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Default | Self::Portable => PORTABLE,
            Self::Custom(name) => name,
        }
    }

    /// The form in which a workflow's outcome goes to a row that is marked like this.
    pub(crate) fn of_row(serialization: Option<&str>) -> Self {
        if serialization == Some(PORTABLE) { Self::Portable } else { Self::Default }
    }
}
