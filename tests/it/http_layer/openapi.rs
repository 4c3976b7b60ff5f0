//! The documents, and whether the routers keep to them.
