//! The endpoints, a file for each thing that they are about.

pub(crate) mod checkout;
mod connection;
pub(crate) mod crash;
mod event;
pub(crate) mod health;
pub(crate) mod orders;
pub(crate) mod page;
pub(crate) mod payment;
pub(crate) mod products;
pub(crate) mod visitor;
