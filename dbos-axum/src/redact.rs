//! What of a workflow's payloads leaves the house.

use serde_json::Value;

/// Which payload of a workflow is about to be given out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Field<'a> {
    /// What it was started with.
    Input,
    /// Its result.
    Output,
    /// Its error.
    Error,
    /// The result of the step of that name.
    Step(&'a str),
    /// The event under that key.
    Event(&'a str),
    /// A value of the stream under that key.
    Stream(&'a str),
}

/// Sees each payload before a router of this crate gives it out, and may change it.
///
/// What only another language reads, such as a pickled value of Python, cannot be redacted. Where there is a redactor, an event
/// or a value of a stream that is stored so is given out as `null`, and a result as the name of its format.
///
/// # Examples
///
/// ```
/// use dbos_axum::{Field, Redactor};
/// use serde_json::{Value, json};
///
/// struct NoCards;
///
/// impl Redactor for NoCards {
///     fn redact(&self, _workflow: &str, _field: Field<'_>, value: &mut Value) {
///         if let Some(card) = value.get_mut("card") {
///             *card = json!("****");
///         }
///     }
/// }
/// ```
pub trait Redactor: Send + Sync + 'static {
    /// Changes what must not be seen in a payload of a workflow of that name; the name is empty when it is not known.
    fn redact(&self, workflow: &str, field: Field<'_>, value: &mut Value);
}
