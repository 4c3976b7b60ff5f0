//! What can go wrong, and what is said about it.

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use dbos_runtime::ErrorKind;
use serde_json::json;

/// Why the shop does not open.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The workflows cannot be taken up.
    #[error(transparent)]
    Runtime(#[from] dbos_runtime::Error),
    /// The database cannot be created.
    #[error("the database cannot be created: {0}")]
    Database(#[from] sqlx::Error),
    /// The tables cannot be brought up to date.
    #[error("the shop's tables cannot be made: {0}")]
    Tables(#[from] sqlx::migrate::MigrateError),
}

/// Why a request is not answered as the client hoped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShopError {
    #[error("All widgets are sold. Please come back after the next restock.")]
    SoldOut,
    #[error("There is no order {0}.")]
    NoSuchOrder(i64),
    #[error("{0:?} is not the number of an order.")]
    NotAnOrderId(String),
    #[error("A checkout needs an Idempotency-Key.")]
    NoKey,
    #[error("The purchase goes on, but it took too long to wait for. Please try again.")]
    NoAnswerYet,
    #[error("There is no such page.")]
    NoSuchPage,
    #[error("That cannot be done here.")]
    MethodNotAllowed,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Runtime(#[from] dbos_runtime::Error),
}

impl ShopError {
    fn status(&self) -> StatusCode {
        match self {
            Self::SoldOut => StatusCode::CONFLICT,
            Self::NotAnOrderId(_) | Self::NoKey => StatusCode::BAD_REQUEST,
            Self::NoSuchOrder(_) | Self::NoSuchPage => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoAnswerYet => StatusCode::GATEWAY_TIMEOUT,
            Self::Database(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Runtime(error) => match error.kind() {
                ErrorKind::InvalidArgument => StatusCode::BAD_REQUEST,
                ErrorKind::NonExistentWorkflow => StatusCode::NOT_FOUND,
                ErrorKind::ConflictingWorkflow => StatusCode::CONFLICT,
                ErrorKind::Unavailable | ErrorKind::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }
}

impl IntoResponse for ShopError {
    fn into_response(self) -> Response {
        let status = self.status();
        let body = json!({"type": "about:blank", "title": status.canonical_reason(), "status": status.as_u16(), "detail": self.to_string()});
        let headers = [(CONTENT_TYPE, "application/problem+json")];
        let mut response = (status, headers, body.to_string()).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, axum::http::HeaderValue::from_static("2"));
        }
        response
    }
}
