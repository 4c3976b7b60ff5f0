//! Streams of workflows as server-sent events, and as pages of JSON.
