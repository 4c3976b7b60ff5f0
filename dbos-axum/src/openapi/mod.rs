//! The OpenAPI 3.1 documents of the routers, made from the tables that build them: a route that is served is described,
//! and no other.
//!
//! [`WorkflowApi`](crate::WorkflowApi) serves its own at `GET /openapi.json`, and hands it out for an application that
//! has a document of its own to [nest](OpenApi::nest) it in.
//!
//! # Examples
//!
//! ```
//! use dbos_axum::openapi::{Http, HttpAuthScheme, SecurityScheme};
//! use dbos_axum::{AllowAnyone, WorkflowApi};
//! use dbos_runtime::Dbos;
//!
//! fn document(dbos: Dbos) -> String {
//!     let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
//!     let api = WorkflowApi::<AllowAnyone>::new(dbos).security("bearer", bearer);
//!     api.openapi().to_pretty_json().unwrap_or_default()
//! }
//! ```

mod answer;
mod described;
mod document;
pub(crate) mod parameters;
pub(crate) mod schemas;
mod served;

pub use utoipa::openapi::OpenApi;
pub use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, Flow, Http, HttpAuthScheme, OAuth2, OpenIdConnect, Scopes, SecurityScheme,
};

pub(crate) use described::Described;
pub(crate) use document::About;
pub(crate) use served::{PATH, served};
