//! The behaviour of the engine, each on both backends.

mod guard_transactions;
mod ledger;
mod steps;
mod transaction_faults;
mod transactions;
mod witness;
