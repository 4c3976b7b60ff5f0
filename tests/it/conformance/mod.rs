//! The behaviour of the engine, each on both backends.

mod children;
mod payloads;
mod replay;
mod retries;
mod steps;
mod support;
mod values;
mod workflows;
