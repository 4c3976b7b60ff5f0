//! The workflow API, route by route.
