//! The name of the system schema, and statements that carry it.

use crate::store::migrate::MigrateError;

/// The schema to migrate, and whether its triggers notify.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) name: String,
    /// The name as an identifier, quotes and all.
    pub(super) quoted: String,
    listen_notify: bool,
}

impl Schema {
    /// Refuses a name that would be cut off, or that would end a statement early.
    pub(super) fn new(schema: &str, listen_notify: bool) -> Result<Self, MigrateError> {
        let refuse = |reason| Err(MigrateError::SchemaName { name: schema.to_owned(), reason });
        if schema.is_empty() {
            return refuse("it is empty");
        }
        if schema.len() > 63 {
            return refuse("it is longer than 63 bytes");
        }
        if schema.contains('\0') {
            return refuse("it contains a NUL");
        }
        if schema.contains(BODY) {
            return refuse("it contains $body$, which delimits the bodies of functions");
        }
        Ok(Self { name: schema.to_owned(), quoted: quote(schema), listen_notify })
    }

    /// The text that records `number`, and never a smaller one than a peer has recorded.
    pub(super) fn record(&self, number: i64) -> String {
        self.fill(&format!(
            "INSERT INTO {{schema}}.dbos_migrations (version)
                 SELECT 0 WHERE NOT EXISTS (SELECT FROM {{schema}}.dbos_migrations);
             UPDATE {{schema}}.dbos_migrations SET version = {number} WHERE version < {number};"
        ))
    }

    /// Puts the schema into a file's text, and leaves out the part for notifications when they are off.
    pub(super) fn fill(&self, sql: &str) -> String {
        let (always, _) = sql.split_once("-- listen/notify").unwrap_or((sql, ""));
        if self.listen_notify { sql } else { always }.replace("{schema}", &self.quoted)
    }
}

/// Makes an identifier of any text.
pub(super) fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// What delimits the bodies of functions in the files.
const BODY: &str = "$body$";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_quoted_whatever_it_contains() {
        for (name, quoted) in [("dbos", r#""dbos""#), (r#"we"ird"#, r#""we""ird""#), ("100%", r#""100%""#)] {
            let schema = Schema::new(name, true).unwrap();
            assert_eq!(schema.fill("DROP TABLE {schema}.streams"), format!("DROP TABLE {quoted}.streams"));
        }
    }

    #[test]
    fn a_name_that_looks_like_the_placeholder_is_filled_in_once() {
        let schema = Schema::new("{schema}", true).unwrap();
        assert_eq!(schema.fill("{schema}.streams"), r#""{schema}".streams"#);
    }

    #[test]
    fn names_that_cannot_be_used_are_refused() {
        for name in ["", &"x".repeat(64), "nul\0", "a$body$b"] {
            assert!(matches!(Schema::new(name, true), Err(MigrateError::SchemaName { .. })), "{name:?}");
        }
        assert!(Schema::new(&"x".repeat(63), true).is_ok());
    }

    #[test]
    fn triggers_are_left_out_without_notifications() {
        let file = "CREATE TABLE x ();\n-- listen/notify\nCREATE TRIGGER y";
        assert!(Schema::new("dbos", true).unwrap().fill(file).contains("TRIGGER"));
        assert_eq!(Schema::new("dbos", false).unwrap().fill(file), "CREATE TABLE x ();\n");
    }
}
