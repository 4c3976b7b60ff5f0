//! The integration suite: one binary of many modules.

mod conformance;
mod crash;
mod schema_parity;
mod tidy;
mod widget_store;
