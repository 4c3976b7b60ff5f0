//! What can go wrong, and what is said about it.

use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use dbos_axum::webhooks::Misconfigured;
use dbos_axum::{InvalidSecret, Problem, RecorderTaken};

/// Why the shop does not open.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database does not let us in.
    #[error("the database {0} cannot be opened: {1}")]
    Database(String, sqlx::Error),
    /// The tables cannot be brought up to date.
    #[error("the tables in {0} cannot be made: {1}")]
    Tables(String, sqlx::migrate::MigrateError),
    /// The token of the admin routes is too easy to guess.
    #[error("WIDGET_ADMIN_TOKEN: {0}")]
    AdminToken(#[from] InvalidSecret),
    /// The webhook cannot be opened with that secret.
    #[error("WIDGET_WEBHOOK_SECRET: {0}")]
    Webhook(#[from] Misconfigured),
    /// Something else in this process counts requests.
    #[error(transparent)]
    Metrics(#[from] RecorderTaken),
    /// The workflows cannot be taken up.
    #[error(transparent)]
    Runtime(#[from] dbos_runtime::Error),
}

/// Why a request is not answered as the customer hoped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShopError {
    #[error(
        "Open the page first, or send `Authorization: Bearer` with a random secret of at least 32 characters."
    )]
    Stranger,
    #[error("All widgets are sold. Please come back after the next restock.")]
    SoldOut,
    #[error("There is no order {0}.")]
    NoSuchOrder(i64),
    #[error("The purchase goes on, but it took too long to wait for. Please try again.")]
    NoAnswerYet,
    #[error("The shop is closing. Please come again in a moment.")]
    Closing,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Refused(#[from] Problem),
}

/// What the runtime refuses is told as `dbos-axum` tells it.
impl From<dbos_runtime::Error> for ShopError {
    fn from(error: dbos_runtime::Error) -> Self {
        Self::Refused(error.into())
    }
}

impl From<ShopError> for Problem {
    fn from(error: ShopError) -> Self {
        let status = match error {
            ShopError::Stranger => {
                let problem = Self::new(StatusCode::UNAUTHORIZED).with_detail(error.to_string());
                return problem.with_header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            ShopError::SoldOut => StatusCode::CONFLICT,
            ShopError::NoSuchOrder(_) => StatusCode::NOT_FOUND,
            ShopError::NoAnswerYet => StatusCode::GATEWAY_TIMEOUT,
            ShopError::Closing => return come_again(error.to_string()),
            ShopError::Database(error) => return database(&error),
            ShopError::Refused(problem) => return problem,
        };
        Self::new(status).with_detail(error.to_string())
    }
}

impl IntoResponse for ShopError {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}

/// A failed query: nothing of it is for the customer, who only wants to know whether to come again.
fn database(error: &sqlx::Error) -> Problem {
    tracing::error!(%error, "a query failed");
    if is_away(error) {
        return come_again("The database does not answer.".to_owned());
    }
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR)
}

fn come_again(detail: String) -> Problem {
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE).with_detail(detail);
    problem.with_header(RETRY_AFTER, HeaderValue::from_static("2"))
}

/// Whether the same query may succeed soon.
fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            // Postgres: no connection, no room, shutting down. SQLite: busy, locked.
            ["08", "53", "57"].iter().any(|class| code.len() == 5 && code.starts_with(class))
                || ["5", "6"].contains(&&*code)
        }),
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_come_again_is_told_so() {
        let cases = [
            (sqlx::Error::PoolTimedOut, 503),
            (std::io::Error::from(std::io::ErrorKind::ConnectionReset).into(), 503),
            (sqlx::Error::RowNotFound, 500),
        ];
        for (error, status) in cases {
            let shown = error.to_string();
            let response = ShopError::from(error).into_response();
            assert_eq!(response.status().as_u16(), status, "{shown}");
            assert_eq!(response.headers().contains_key(RETRY_AFTER), status == 503, "{shown}");
        }
    }
}
