//! The behaviour of the engine, each on both backends.

mod cancel;
mod children;
mod events;
mod guard_transactions;
mod handles;
mod launch;
mod ledger;
mod messages;
mod ownership;
mod payloads;
mod recovery;
mod replay;
mod retries;
mod scene;
mod sends;
mod shutdown;
mod sleeps;
mod steps;
mod support;
mod takeover;
mod transaction_faults;
mod transactions;
mod values;
mod wakeups;
mod witness;
mod workflows;
