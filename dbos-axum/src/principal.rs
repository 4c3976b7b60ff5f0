//! Who is asking.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;

use crate::problem::{self, Problem};
use crate::seen::Seen;

/// The caller of a request, as the application has authenticated them: a user of a tenant, with roles.
///
/// Idempotency keys are scoped to it, and a workflow remembers it. [`DbosCtx::on_behalf_of`](crate::DbosCtx::on_behalf_of) takes
/// one, from any type that is [`IntoPrincipal`]. An authenticating middleware may also put one into the request's
/// extensions; then every [`DbosCtx`](crate::DbosCtx) finds it there, and so does this type as an extractor.
///
/// # Examples
///
/// ```
/// use dbos_axum::Principal;
///
/// let ada = Principal::new("ada").with_tenant("acme").with_roles(["buyer"]);
/// assert_eq!(ada.user(), Some("ada"));
/// assert!(Principal::new("").is_anonymous());
/// ```
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Principal {
    tenant: Option<String>,
    user: Option<String>,
    roles: Vec<String>,
}

impl Principal {
    /// The user of that name. An empty name is nobody's, so it is [anonymous](Self::anonymous).
    pub fn new(user: impl Into<String>) -> Self {
        Self { user: Some(user.into()).filter(|user| !user.is_empty()), ..Self::default() }
    }

    /// Somebody who has not said who they are.
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// The tenant to which the user belongs. The same user name in two tenants is two users.
    #[must_use]
    pub fn with_tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into()).filter(|tenant| !tenant.is_empty());
        self
    }

    /// What the user may do; recorded with the workflows that they start.
    #[must_use]
    pub fn with_roles<R: Into<String>>(mut self, roles: impl IntoIterator<Item = R>) -> Self {
        self.roles = roles.into_iter().map(Into::into).collect();
        self
    }

    /// The user's name; nothing when they are anonymous.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The tenant, if there is one.
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// The user's roles.
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// Whether nobody has said who they are.
    pub fn is_anonymous(&self) -> bool {
        self.user.is_none()
    }
}

/// A type that says who is asking: the application's own extractor, most often.
///
/// # Examples
///
/// ```
/// use dbos_axum::{IntoPrincipal, Principal};
///
/// struct CurrentUser {
///     email: String,
///     shop: u32,
/// }
///
/// impl IntoPrincipal for CurrentUser {
///     fn principal(&self) -> Principal {
///         Principal::new(&self.email).with_tenant(self.shop.to_string())
///     }
/// }
/// ```
pub trait IntoPrincipal {
    /// The caller that this value stands for.
    fn principal(&self) -> Principal;
}

impl IntoPrincipal for Principal {
    fn principal(&self) -> Principal {
        self.clone()
    }
}

impl<T: IntoPrincipal + ?Sized> IntoPrincipal for &T {
    fn principal(&self) -> Principal {
        (**self).principal()
    }
}

/// What the middleware left in the extensions; 401 when there is nothing.
impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let found = parts.extensions.get::<Self>().filter(|principal| !principal.is_anonymous()).cloned();
        found.ok_or_else(|| Problem::of(problem::UNAUTHENTICATED).within(&Seen::of(parts)))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Principal {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get::<Self>().filter(|principal| !principal.is_anonymous()).cloned())
    }
}
