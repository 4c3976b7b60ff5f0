//! Questions about queues.

use super::{Answer, Store};
use crate::failpoint::{self, Boundary, Side};
use crate::ids::OwnerToken;
use crate::model::debounce::{Bounce, Bounced};
use crate::model::queue::{Claim, QueueRow, Tick};
use crate::model::workflow::Claimed;

impl Store {
    /// The look that every process takes once a second: releases delayed workflows that are due, cancels those whose
    /// deadline has passed, and says which queues have something for this process.
    ///
    /// With this process's own lock it also says whose locks nobody holds.
    pub(crate) async fn tick(&self, names: &[String], own: Option<i64>) -> Answer<Tick> {
        let tick = ask!(self, backend => backend.tick(names, own).await)?;
        if tick.released > 0 || !tick.expired.is_empty() {
            failpoint::pass(Boundary::Tick, Side::After);
        }
        Ok(tick)
    }

    /// Claims what the queue's limits allow, with all that is needed to run it.
    pub(crate) async fn claim(&self, claim: &Claim<'_>, token: &OwnerToken) -> Answer<Vec<Claimed>> {
        let mut claimed = ask!(self, backend => backend.claim(claim, token).await)?;
        if !claimed.is_empty() {
            failpoint::pass(Boundary::Claim, Side::After);
        }
        claimed.iter_mut().for_each(|workflow| self.codec().open_claimed(workflow));
        Ok(claimed)
    }

    /// Puts back the rows of a claim that nobody runs because its answer was lost; how many there were.
    pub(crate) async fn give_back(&self, queue: &str, token: &OwnerToken) -> Answer<u64> {
        failpoint::pass(Boundary::GiveBack, Side::Before);
        let rows = ask!(self, backend => backend.give_back(queue, token).await)?;
        failpoint::pass(Boundary::GiveBack, Side::After);
        Ok(rows)
    }

    /// Moves the delayed workflow that holds a debounce key, or says who holds it.
    pub(crate) async fn bounce(&self, bounce: &Bounce) -> Answer<Option<Bounced>> {
        failpoint::pass(Boundary::Bounce, Side::Before);
        let bounced = ask!(self, backend => backend.bounce(bounce).await)?;
        failpoint::pass(Boundary::Bounce, Side::After);
        Ok(bounced)
    }

    /// Registers a queue, or changes the one of the name if `update` says so; the application that has it.
    pub(crate) async fn register_queue(
        &self,
        id: &str,
        row: &QueueRow,
        update: bool,
    ) -> Answer<Option<String>> {
        failpoint::pass(Boundary::Register, Side::Before);
        let owner = ask!(self, backend => backend.register_queue(id, row, update).await)?;
        failpoint::pass(Boundary::Register, Side::After);
        Ok(owner)
    }

    /// Changes a queue that still is as it was read; whether it was.
    pub(crate) async fn change_queue(&self, from: &QueueRow, to: &QueueRow) -> Answer<bool> {
        failpoint::pass(Boundary::Register, Side::Before);
        let changed = ask!(self, backend => backend.change_queue(from, to).await)?;
        failpoint::pass(Boundary::Register, Side::After);
        Ok(changed)
    }

    /// Deletes a queue; whether there was one. What waits on it stays.
    pub(crate) async fn delete_queue(&self, name: &str) -> Answer<bool> {
        failpoint::pass(Boundary::Register, Side::Before);
        let deleted = ask!(self, backend => backend.delete_queue(name).await)?;
        failpoint::pass(Boundary::Register, Side::After);
        Ok(deleted)
    }

    /// One queue, whosever it is.
    pub(crate) async fn queue(&self, name: &str) -> Answer<Option<QueueRow>> {
        ask!(self, backend => backend.queue(name).await)
    }

    /// The queues of this application, and those of nobody.
    pub(crate) async fn queues(&self) -> Answer<Vec<QueueRow>> {
        ask!(self, backend => backend.queues().await)
    }

    /// Whether this process runs the latest version of its application.
    pub(crate) async fn runs_latest(&self) -> Answer<bool> {
        ask!(self, backend => backend.runs_latest().await)
    }
}
