//! The pages of `docs/guide`: their programs are doc tests.

macro_rules! pages {
    ($($page:literal)*) => {
        $(
            #[doc = include_str!(concat!("../../docs/guide/", $page, ".md"))]
            const _: () = ();
        )*
    };
}

pages! {
    "workflows-and-steps"
    "transactions"
    "queues"
    "timeouts"
    "messages-and-events"
    "streams"
    "management"
    "schedules"
    "debounce"
    "patching-and-versions"
    "races"
    "roles-and-instances"
    "client"
    "applications"
    "serializers"
    "interoperability"
    "peer-recovery"
    "retention"
}
