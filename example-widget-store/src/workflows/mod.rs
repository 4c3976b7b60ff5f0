//! What survives a crash: a purchase, and the dispatch of what was bought.

pub mod checkout;
pub mod dispatch;

use std::time::Duration;

use crate::db::Db;

/// The context of this application's workflows.
pub type Ctx = dbos_runtime::Ctx<Shop>;

/// What the workflows need to know.
#[derive(Clone, Debug)]
pub struct Shop {
    /// Where products and orders are.
    pub db: Db,
    /// How long a reserved widget waits for its payment.
    pub payment_timeout: Duration,
    /// How long one of the ten parts of a dispatch takes.
    pub tick: Duration,
}
