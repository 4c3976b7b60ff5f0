//! The behaviour of the engine, each on both backends.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails in the shortest way there is"
)]

mod children;
mod handles;
mod payloads;
mod recovery;
mod replay;
mod retries;
mod steps;
mod support;
mod values;
mod workflows;
