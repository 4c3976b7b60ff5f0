//! The pages of `docs/guide` that are about this crate: their programs are doc tests.

macro_rules! pages {
    ($($page:literal)*) => {
        $(
            #[doc = include_str!(concat!("../../docs/guide/", $page, ".md"))]
            const _: () = ();
        )*
    };
}

#[cfg(feature = "metrics")]
pages! {
    "metrics"
}

#[cfg(feature = "openapi")]
pages! {
    "openapi"
}

pages! {
    "deployment"
    "security"
}
