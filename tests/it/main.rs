//! The integration suite: one binary of many modules.

mod conformance;
mod schema_parity;
mod widget_store;
