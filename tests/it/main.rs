//! The integration suite: one binary of many modules.

mod bad_input;
mod budgets;
mod conformance;
mod drops;
mod faults;
