//! The behaviour of the engine, each on both backends.

mod steps;
