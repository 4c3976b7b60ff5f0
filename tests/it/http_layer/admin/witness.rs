//! The official server as a witness.
