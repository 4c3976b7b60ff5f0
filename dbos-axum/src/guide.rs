//! The pages of `docs/guide` about HTTP, and the README: their programs are doc tests.

#[cfg(feature = "serve")]
#[doc = include_str!("../../README.md")]
const _: () = ();

macro_rules! pages {
    ($($page:literal)*) => {
        $(
            #[doc = include_str!(concat!("../../docs/guide/", $page, ".md"))]
            const _: () = ();
        )*
    };
}

pages! {
    "deployment"
    "http-api"
    "http-streaming"
    "idempotency"
    "security"
    "testing"
}

#[cfg(feature = "admin")]
pages! {
    "admin"
}

#[cfg(feature = "metrics")]
pages! {
    "metrics"
}

#[cfg(feature = "openapi")]
pages! {
    "openapi"
}

#[cfg(feature = "otel")]
pages! {
    "tracing"
}

#[cfg(feature = "webhooks")]
pages! {
    "webhooks"
}
