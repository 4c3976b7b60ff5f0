//! Deliveries from outside, signed and not.
