//! The way of a paid widget to its customer: ten ticks, each of which happens once.

use dbos_runtime::{Result, workflow};
use serde::Serialize;

use super::Ctx;
use crate::db::orders;

// ---- Params -----------------------------------------------------------------------------------------------------

/// The stream of how far the dispatch is.
pub const PROGRESS: &str = "progress";

/// A value of that stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Progress {
    percent: u32,
}

/// The parts of a dispatch. A new order has as many left.
const TICKS: u32 = 10;

// ---- Steps ------------------------------------------------------------------------------------------------------

async fn advance_order(ctx: &Ctx, order: i64) -> Result<()> {
    let advance = async move |tx: &mut _| Ok(orders::advance(tx, order).await?);
    ctx.transaction(&ctx.state().db, "advance_order", advance).await
}

// ---- Body -------------------------------------------------------------------------------------------------------

/// Dispatches an order, a tick at a time, for whoever watches.
#[workflow]
pub async fn dispatch_order(ctx: Ctx, order: i64) -> Result<()> {
    for tick in 1..=TICKS {
        ctx.sleep(ctx.state().tick).await?;
        advance_order(&ctx, order).await?;
        ctx.write_stream(PROGRESS, &Progress { percent: 100 * tick / TICKS }).await?;
    }
    ctx.close_stream(PROGRESS).await
}
