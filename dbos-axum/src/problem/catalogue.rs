//! The types of problems, one for each heading of the module's page.

use http::StatusCode;

/// A heading of the catalogue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) slug: &'static str,
    pub(crate) status: StatusCode,
    pub(crate) title: &'static str,
}

macro_rules! catalogue {
    ($($name:ident $slug:literal $status:ident $title:literal)*) => {
        $(#[allow(dead_code, reason = "each feature has problems of its own")]
        pub(crate) const $name: Kind = Kind { slug: $slug, status: StatusCode::$status, title: $title };)*

        #[cfg(test)]
        const CATALOGUED: &[Kind] = &[$($name),*];
    };
}

catalogue! {
    KEY_MISSING "idempotency-key-missing" BAD_REQUEST "An idempotency key is needed"
    KEY_INVALID "idempotency-key-invalid" BAD_REQUEST "The idempotency key is not valid"
    KEY_REUSED "idempotency-key-reused" UNPROCESSABLE_ENTITY "The idempotency key was used with another input"
    KEY_IN_USE "idempotency-key-in-use" CONFLICT "The first request with this idempotency key is still at work"
    ID_CONFLICT "workflow-id-conflict" CONFLICT "The id belongs to another workflow"
    DEDUPLICATED "queue-deduplicated" CONFLICT "Another workflow on the queue holds the deduplication id"
    NAME_IN_USE "name-in-use" CONFLICT "The name is taken"
    NOT_AUTHORIZED "not-authorized" FORBIDDEN "The caller has none of the roles that the workflow requires"
    NOT_EXPOSED "workflow-not-exposed" NOT_FOUND "No workflow of that name can be started"
    NOT_FOUND "workflow-not-found" NOT_FOUND "There is no such workflow"
    ALREADY_ENDED "workflow-ended" CONFLICT "The workflow has ended already"
    CANCELLED "workflow-cancelled" CONFLICT "The workflow was cancelled"
    FAILED "workflow-failed" INTERNAL_SERVER_ERROR "The workflow failed"
    EVENT_NEVER_SET "event-never-set" NOT_FOUND "The workflow ended without publishing the event"
    INVALID_ARGUMENT "invalid-argument" BAD_REQUEST "A part of the request is not valid"
    UNAUTHENTICATED "unauthenticated" UNAUTHORIZED "The operation needs to know who is asking"
    CROSS_SITE "cross-site-request" FORBIDDEN "The request comes from a page of another site"
    MALFORMED_JSON "malformed-json" BAD_REQUEST "The body is not JSON"
    INVALID_BODY "invalid-body" UNPROCESSABLE_ENTITY "The body has another shape than the operation takes"
    TIMEOUT "timeout" GATEWAY_TIMEOUT "The answer took longer than its time limit"
    DELIVERY_UNVERIFIED "delivery-unverified" UNAUTHORIZED "The delivery does not prove where it comes from"
    DELIVERY_INVALID "delivery-invalid" BAD_REQUEST "The delivery cannot be read"
    UNAVAILABLE "unavailable" SERVICE_UNAVAILABLE "The service cannot answer now"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_its_heading() {
        let page = include_str!("mod.rs");
        for kind in CATALOGUED {
            assert!(
                page.contains(&format!("\n//! # {}\n//!\n//! Status {}.", kind.slug, kind.status.as_u16())),
                "{kind:?}"
            );
        }
    }
}
