//! The pages of `docs/guide` about HTTP: their programs are doc tests.

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
