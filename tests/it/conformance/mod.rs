//! The behaviour of the engine, each on both backends.

mod cancel;
mod children;
mod events;
mod launch;
mod messages;
mod ownership;
mod payloads;
mod recovery;
mod replay;
mod retries;
mod scene;
mod sends;
mod shutdown;
mod sleeps;
mod steps;
mod support;
mod values;
mod wakeups;
mod workflows;
