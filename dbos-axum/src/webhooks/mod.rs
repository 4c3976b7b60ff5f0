//! Signed deliveries from outside, handed to workflows exactly once.
