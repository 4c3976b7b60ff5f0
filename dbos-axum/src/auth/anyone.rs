//! No authentication, said aloud.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::principal::{IntoPrincipal, Principal};

/// Lets everybody in, as an anonymous caller: for a router behind something else that authenticates.
///
/// Anonymous callers see the workflows that nobody in particular has started, unless the
/// [policy](crate::AccessPolicy) says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct AllowAnyone;

impl<S: Send + Sync> FromRequestParts<S> for AllowAnyone {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self)
    }
}

impl IntoPrincipal for AllowAnyone {
    fn principal(&self) -> Principal {
        Principal::anonymous()
    }
}
