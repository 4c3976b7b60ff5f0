//! The behaviour of the engine, each on both backends.

mod ledger;
mod steps;
mod transaction_faults;
mod transactions;
