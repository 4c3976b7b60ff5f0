//! A new name for an application.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::client::Client;
use super::shared::Shared;
use super::{guard, wait};
use crate::error::{Error, Result};
use crate::limits;
use crate::model::rename::{Portion, Rename, Renamed};

impl Client {
    /// Gives everything that belongs to an application to another name: queues, schedules, versions, workflows, steps.
    /// Without an old name it only [adopts](RenameApplication::adopt_unclaimed) what belongs to nobody.
    ///
    /// Definitions and active workflows move in one commit, so that no process of the old name claims any more; ended
    /// workflows and steps follow in portions. A call that was interrupted can be made again. Stop the application's
    /// processes first: they go on to write the old name.
    ///
    /// ```
    /// # async fn example(client: dbos_runtime::Client) -> Result<(), dbos_runtime::Error> {
    /// let renamed = client.rename_application("shop", "web-shop").await?;
    /// println!("{} workflows moved", renamed.workflows);
    /// # Ok(()) }
    /// ```
    pub fn rename_application<'n>(&self, from: impl Into<Option<&'n str>>, to: &str) -> RenameApplication {
        let from = from.into().map(ToOwned::to_owned);
        let rename = Rename { from, to: to.to_owned(), unclaimed: false, batch: 10_000 };
        RenameApplication { shared: Arc::clone(self.shared()), rename }
    }
}

/// A rename that can be configured before it is awaited.
///
/// # Cancel safety
///
/// Dropping it once polled leaves a part of the ended workflows and steps behind; the same call again moves the rest.
#[must_use = "nothing is renamed until this is awaited"]
pub struct RenameApplication {
    shared: Arc<Shared>,
    rename: Rename,
}

impl RenameApplication {
    /// Takes the rows that belong to no application too.
    pub fn adopt_unclaimed(mut self) -> Self {
        self.rename.unclaimed = true;
        self
    }

    /// Rows of one portion; 10,000 by default.
    pub fn batch_size(mut self, rows: u32) -> Self {
        self.rename.batch = i64::from(rows);
        self
    }

    fn check(&self) -> Result<()> {
        let Rename { from, to, unclaimed, batch } = &self.rename;
        limits::application(to)?;
        match from {
            Some(from) if from.is_empty() => return Err(Error::invalid("the old name must not be empty")),
            Some(from) if from == to => return Err(Error::invalid(format!("both names are {to:?}"))),
            None if !unclaimed => {
                return Err(Error::invalid("without an old name there is nothing to rename"));
            }
            _ => {}
        }
        if *batch < 1 {
            return Err(Error::invalid("a portion has at least one row"));
        }
        guard::outside_of_transactions()
    }

    async fn run(self) -> Result<Renamed> {
        self.check()?;
        let (shared, rename) = (&self.shared, &self.rename);
        let mut renamed = wait::unhurriedly(shared, || shared.store.rename_active(rename)).await?;
        let mut after = Portion::default();
        loop {
            after = wait::unhurriedly(shared, || shared.store.rename_ended(rename, &after)).await?;
            renamed.workflows += after.moved;
            if after.moved == 0 {
                break;
            }
        }
        let mut after = Portion { last_step: i32::MIN, ..Portion::default() };
        loop {
            after = wait::unhurriedly(shared, || shared.store.rename_steps(rename, &after)).await?;
            renamed.steps += after.moved;
            if after.moved == 0 {
                return Ok(renamed);
            }
        }
    }
}

impl fmt::Debug for RenameApplication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RenameApplication").field(&self.rename).finish()
    }
}

impl IntoFuture for RenameApplication {
    type Output = Result<Renamed>;
    type IntoFuture = BoxFuture<'static, Result<Renamed>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
