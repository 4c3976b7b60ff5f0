//! What Postgres' codes mean for us. Exact codes, not classes: most classes hold one code that would be a trap.

use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::store::error::{StoreError, Verdict, classify as by_verdict};

pub(crate) fn classify(error: sqlx::Error) -> StoreError {
    // Another writer took the offset first; the next try finds a later one.
    if let sqlx::Error::Database(database) = &error
        && database.is_unique_violation()
        && database.table() == Some("streams")
    {
        return StoreError::Contended(error);
    }
    if ends_session(&error) {
        return StoreError::Lost(error);
    }
    by_verdict(error, verdict)
}

/// Whether the error ends the session and says nothing of the statement: a server that stops, a refused login, or a
/// pooler that has lost its server. Some poolers call all that 08P01 and not even fatal. Postgres has the code for a
/// malformed message, but names the routine that found it, which a pooler cannot.
pub(crate) fn ends_session(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    error.try_downcast_ref::<PgDatabaseError>().is_some_and(|error| {
        matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic)
            || (error.code() == "08P01" && error.routine().is_none())
    })
}

fn verdict(code: &str) -> Option<Verdict> {
    Some(match code {
        // Connection failures, a server that stops or starts, a session that the server ended.
        "08000" | "08001" | "08003" | "08004" | "08006" | "08007" | "57P01" | "57P02" | "57P03" | "57P05"
        | "25P02" | "25P03" => Verdict::Lost,
        // Read-only: this was the primary until a moment ago.
        "25006" => Verdict::Lost,
        // Cached plans of another schema version: a new connection has none.
        "0A000" | "26000" => Verdict::Lost,
        "40001" | "40P01" | "55P03" | "40003" => Verdict::Contended,
        // Too many connections, disk full, out of memory, and a statement that the server's own limit cut short.
        "53000" | "53100" | "53200" | "53300" | "57014" => Verdict::Exhausted,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_apart_within_a_class() {
        let cases = [
            ("25006", Some(Verdict::Lost)),
            ("57P01", Some(Verdict::Lost)),
            ("57014", Some(Verdict::Exhausted)),
            ("40P01", Some(Verdict::Contended)),
            ("53300", Some(Verdict::Exhausted)),
            ("23505", None),
            ("22021", None),
            ("XX001", None),
        ];
        for (code, expected) in cases {
            assert_eq!(verdict(code), expected, "{code}");
        }
    }
}
