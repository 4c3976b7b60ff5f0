//! Failures of the database, and which of them another try can cure.

use crate::error::{Error, ErrorKind};

/// A failed question or batch.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The connection is gone, cannot be had, or leads to a database that cannot write now.
    #[error("the database cannot be reached")]
    Lost(#[source] sqlx::Error),
    /// The database did not answer in time.
    #[error("the database did not answer within {0:?}")]
    Deadline(std::time::Duration),
    /// A listing took longer than it may.
    #[error("the listing took longer than its time limit of {0:?}; ask for less, or allow more")]
    Slow(std::time::Duration),
    /// A rival was in the way: the same work may succeed at once.
    #[error("another transaction was in the way")]
    Contended(#[source] sqlx::Error),
    /// Out of room: memory, disk or connections. The same work may succeed later.
    #[error("the database has no room")]
    Exhausted(#[source] sqlx::Error),
    /// The statement itself is refused.
    #[error("the database refused a statement")]
    Rejected(#[source] sqlx::Error),
}

impl StoreError {
    /// Whether the same work may succeed later without any change.
    pub(crate) fn is_transient(&self) -> bool {
        !matches!(self, Self::Rejected(_) | Self::Slow(_))
    }

    /// Why a connection could not be had. That says nothing of the work that was to be done on it.
    pub(crate) fn unreached(self) -> Self {
        if let Self::Rejected(error) = self { Self::Lost(error) } else { self }
    }

    /// Whether the connection is of no more use.
    pub(crate) fn breaks_connection(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::Deadline(_))
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Slow(_) => ErrorKind::QueryTimeout,
            error if error.is_transient() => ErrorKind::Unavailable,
            _ => ErrorKind::Database,
        };
        // The chain goes to the log; the message stays free of SQL and secrets.
        tracing::warn!(error = &error as &dyn std::error::Error, "a database call failed");
        Self::new(kind, error.to_string())
    }
}

/// What a driver's error means, by the code that the database gave it.
pub(crate) fn classify(error: sqlx::Error, by_code: impl Fn(&str) -> Option<Verdict>) -> StoreError {
    let verdict = match &error {
        sqlx::Error::Database(database) => {
            database.code().and_then(|code| by_code(&code)).unwrap_or(Verdict::Rejected)
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => Verdict::Lost,
        _ => Verdict::Rejected,
    };
    match verdict {
        Verdict::Lost => StoreError::Lost(error),
        Verdict::Contended => StoreError::Contended(error),
        Verdict::Exhausted => StoreError::Exhausted(error),
        Verdict::Rejected => StoreError::Rejected(error),
    }
}

/// What to do about a code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Lost,
    Contended,
    Exhausted,
    Rejected,
}
