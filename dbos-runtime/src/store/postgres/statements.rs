//! SQL text with the schema's name filled in, made once per text.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use sqlx::AssertSqlSafe;

/// Fills `{s}` with the quoted schema. The one place where SQL is built from a name.
#[derive(Debug)]
pub(crate) struct Statements {
    schema: String,
    texts: RwLock<HashMap<&'static str, Arc<str>>>,
}

impl Statements {
    pub(crate) fn new(schema: &str) -> Self {
        Self { schema: quoted(schema), texts: RwLock::default() }
    }

    /// The statement for this schema.
    pub(crate) fn get(&self, template: &'static str) -> AssertSqlSafe<Arc<str>> {
        if let Some(text) = self.texts.read().unwrap_or_else(PoisonError::into_inner).get(template) {
            return AssertSqlSafe(Arc::clone(text));
        }
        let text: Arc<str> = self.fill(template).into();
        self.texts.write().unwrap_or_else(PoisonError::into_inner).insert(template, Arc::clone(&text));
        AssertSqlSafe(text)
    }

    /// The template with the schema in place.
    pub(crate) fn fill(&self, template: &str) -> String {
        template.replace("{s}", &self.schema)
    }
}

/// An identifier in double quotes, with its own doubled.
fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}
