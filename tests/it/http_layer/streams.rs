//! Streams of workflows to HTTP clients.
