//! Requests that are wrong in every way that a client can think of.
