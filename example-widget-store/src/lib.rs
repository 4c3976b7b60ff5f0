//! A shop whose checkout survives any crash.
//!
//! Buying a widget is a workflow: an order, a widget from the shelf, a payment, a dispatch of ten ticks. Each step and
//! its record are one commit, so after a crash the next start goes on behind the last step that was committed. No
//! code here takes part in that.
//!
//! ```text
//! http/        what the browser asks for, and what the payment provider tells
//! workflows/   what has to survive a crash
//! db/          queries, each on a connection that it is given
//! provider     a payment provider to play with
//! ```

mod app;
mod error;
mod http;
mod provider;
mod state;

pub mod db;
pub mod secret;
pub mod settings;
pub mod workflows;

pub use self::app::app;
pub use self::error::StartError;
pub use self::settings::Settings;
pub use self::state::AppState;
