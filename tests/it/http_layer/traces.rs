//! Traces across requests, queues and processes.
