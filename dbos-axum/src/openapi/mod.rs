//! The OpenAPI documents of the routers, from the tables that build them.
