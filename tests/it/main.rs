//! The integration suite: one binary of many modules.

mod budgets;
mod conformance;
mod faults;
