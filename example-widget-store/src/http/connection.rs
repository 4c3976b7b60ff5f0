//! A connection for the length of a request.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection};

use crate::error::ShopError;
use crate::state::AppState;

/// A connection for a question or two. Give it back before waiting for anything else.
pub(crate) struct Connection(PoolConnection<Any>);

/// A customer would rather hear soon that the database is away.
const PATIENCE: Duration = Duration::from_secs(3);

impl FromRequestParts<AppState> for Connection {
    type Rejection = ShopError;

    async fn from_request_parts(_: &mut Parts, state: &AppState) -> Result<Self, ShopError> {
        match tokio::time::timeout(PATIENCE, state.db.pool().acquire()).await {
            Ok(connection) => Ok(Self(connection?)),
            Err(_) => Err(sqlx::Error::PoolTimedOut.into()),
        }
    }
}

impl Deref for Connection {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.0
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.0
    }
}
