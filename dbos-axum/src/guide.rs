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
    "http-api"
    "idempotency"
}

#[cfg(feature = "metrics")]
pages! {
    "metrics"
}

#[cfg(feature = "openapi")]
pages! {
    "openapi"
}
