//! The admin routes, and the official server as their witness.
