//! The pages of `docs/guide` that are about this crate: their programs are doc tests.

macro_rules! pages {
    ($($page:literal)*) => {
        $(
            #[doc = include_str!(concat!("../../docs/guide/", $page, ".md"))]
            const _: () = ();
        )*
    };
}

#[cfg(feature = "admin")]
pages! {
    "admin"
}
