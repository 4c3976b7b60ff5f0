//! What a write's receipt is, once the rows in its place are known. Shared by both backends, so that they agree.

use crate::model::step::StepRow;
use crate::model::workflow::{Existing, NewWorkflow, Parent, Queued};
use crate::model::write::{Receipt, Record};

/// Who owns a workflow now, and where it stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ownership {
    pub(crate) owner: Option<String>,
    pub(crate) status: Option<String>,
}

/// Of a record whose steps were not all inserted: `found` is what stands at its first step's number.
pub(crate) fn of_record(record: &Record, now: &Ownership, found: Option<StepRow>) -> Receipt {
    match (record.steps.first(), found) {
        // The same name and the same instant of completion: our own write, whose acknowledgement was lost.
        (Some(ours), Some(row)) if ours.name == row.name && ours.completed == row.completed => Receipt::Done,
        (_, _) if now.owner.as_deref() != Some(record.fence.token.as_str()) => {
            Receipt::Lost(now.status.clone())
        }
        (_, Some(row)) => Receipt::Taken(Box::new(row)),
        (_, None) => Receipt::Rejected("the step was not recorded".to_owned()),
    }
}

/// Of a start that inserted nothing: `found` is what stands under its id, `holder` who holds its deduplication id, and
/// `now` who owns the parent, if it has one.
pub(crate) fn of_start(
    new: &NewWorkflow,
    found: Option<Existing>,
    holder: Option<String>,
    now: &Ownership,
) -> Receipt {
    if let Some(row) = found {
        let ours = Some(new.token.as_str());
        if row.creator.as_deref() != ours {
            return Receipt::Exists(Box::new(row));
        }
        // Made by this very write, whose acknowledgement was lost; perhaps cancelled or taken over since.
        let owned = new.queued().is_some() || row.owner.as_deref() == ours;
        return if owned { Receipt::Done } else { Receipt::Moved };
    }
    let stale = |parent: &Parent| now.owner.as_deref() != Some(parent.fence.token.as_str());
    if new.parent.as_ref().is_some_and(stale) {
        return Receipt::Lost(now.status.clone());
    }
    match (holder, new.queued()) {
        (Some(holder), _) => Receipt::Duplicate(holder),
        // Its holder was there for the insert and is gone now.
        (None, Some(Queued { deduplication_id: Some(_), .. })) => Receipt::Nothing,
        _ => Receipt::Rejected("the workflow was not inserted".to_owned()),
    }
}
