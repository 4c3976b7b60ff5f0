//! The behaviour of the engine, each on both backends.

mod cancel;
mod events;
mod launch;
mod messages;
mod ownership;
mod recovery;
mod scene;
mod sends;
mod shutdown;
mod sleeps;
mod steps;
mod wakeups;
