//! The integration suite: one binary of many modules.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test may fail in the shortest way there is"
)]

mod bad_input;
mod budgets;
mod conformance;
mod crash;
mod cron;
mod documents;
mod drops;
mod faults;
mod http_layer;
mod interop;
mod migrations;
mod peers;
mod processes;
mod schema_parity;
mod tidy;
mod widget_store;
