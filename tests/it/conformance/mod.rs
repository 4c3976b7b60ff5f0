//! The behaviour of the engine, each on both backends.

mod children;
mod guard_transactions;
mod ledger;
mod payloads;
mod replay;
mod retries;
mod steps;
mod support;
mod transaction_faults;
mod transactions;
mod values;
mod witness;
mod workflows;
