//! The integration suite: one binary of many modules.

mod conformance;
