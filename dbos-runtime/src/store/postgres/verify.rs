//! The second look at writes of a batch that did not all go through: what stands in their place?

use std::collections::HashMap;

use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::rows;
use super::statements::Statements;
use crate::model::step::StepRow;
use crate::model::workflow::{Existing, NewWorkflow};
use crate::model::write::{Receipt, Write};
use crate::store::receipts::{self, Ownership};

/// Fills in the receipts that the batch's own statement left open.
pub(super) async fn fill(
    connection: &mut PgConnection,
    statements: &Statements,
    batch: &[Write],
    receipts: &mut [Option<Receipt>],
) -> Result<(), sqlx::Error> {
    let open: Vec<&Write> =
        batch.iter().zip(&*receipts).filter(|(_, r)| r.is_none()).map(|(w, _)| w).collect();
    let standing = Standing::read(connection, statements, &open).await?;
    let starts = existing(connection, statements, &open).await?;
    let holders = holders(connection, statements, &open).await?;
    for (write, receipt) in batch.iter().zip(receipts.iter_mut()) {
        if receipt.is_none() {
            *receipt = Some(match write {
                Write::Start(new) => {
                    let found = starts.get(new.id.as_str()).cloned();
                    let holder = key_of(new).and_then(|key| holders.get(&key).cloned());
                    receipts::of_start(new, found, holder, &standing.owner_for(write))
                }
                other => standing.receipt(other),
            });
        }
    }
    Ok(())
}

/// Owners and recorded steps of the executions in question.
struct Standing {
    owners: HashMap<String, Ownership>,
    steps: HashMap<(String, i32), StepRow>,
}

const STANDING: &str = "\
SELECT f.id, f.number AS asked, w.owner_xid, w.status, o.function_id, o.function_name, o.output, o.error,
    o.child_workflow_id, o.started_at_epoch_ms, o.completed_at_epoch_ms, o.serialization
FROM unnest($1::text[], $2::int4[]) AS f(id, number)
LEFT JOIN {s}.workflow_status w ON w.workflow_uuid = f.id
LEFT JOIN {s}.operation_outputs o ON o.workflow_uuid = f.id AND o.function_id = f.number";

impl Standing {
    async fn read(
        connection: &mut PgConnection,
        statements: &Statements,
        open: &[&Write],
    ) -> Result<Self, sqlx::Error> {
        let mut ids = Vec::new();
        let mut numbers = Vec::new();
        for write in open {
            let Some(fence) = write.fence() else { continue };
            ids.push(fence.id.as_str());
            numbers.push(first_number(write));
        }
        let mut standing = Self { owners: HashMap::new(), steps: HashMap::new() };
        if ids.is_empty() {
            return Ok(standing);
        }
        let query = sqlx::query(statements.get(STANDING)).bind(&ids).bind(&numbers);
        for row in query.fetch_all(connection).await? {
            standing.add(&row)?;
        }
        Ok(standing)
    }

    fn add(&mut self, row: &PgRow) -> Result<(), sqlx::Error> {
        let id: String = row.try_get("id")?;
        let ownership = Ownership { owner: row.try_get("owner_xid")?, status: row.try_get("status")? };
        if row.try_get::<Option<i32>, _>("function_id")?.is_some() {
            self.steps.insert((id.clone(), row.try_get("asked")?), rows::step(row)?);
        }
        self.owners.insert(id, ownership);
        Ok(())
    }

    fn owner_for(&self, write: &Write) -> Ownership {
        write.fence().and_then(|fence| self.owners.get(fence.id.as_str())).cloned().unwrap_or_default()
    }

    fn receipt(&self, write: &Write) -> Receipt {
        let Some(fence) = write.fence() else {
            return Receipt::Lost(None);
        };
        let now = self.owner_for(write);
        let found = self.steps.get(&(fence.id.as_str().to_owned(), first_number(write))).cloned();
        match write {
            Write::Record(record) => receipts::of_record(record, &now, found),
            Write::Receive(_) => match found {
                _ if now.owner.as_deref() != Some(fence.token.as_str()) => Receipt::Lost(now.status),
                Some(row) => Receipt::Taken(Box::new(row)),
                None => Receipt::Nothing,
            },
            _ => Receipt::Lost(now.status),
        }
    }
}

const EXISTING: &str = "\
SELECT w.workflow_uuid, w.status, w.name, w.class_name, w.config_name, w.creator_xid, w.owner_xid, coalesce(i.inputs, w.inputs) AS input, w.serialization
FROM {s}.workflow_status w LEFT JOIN {s}.workflow_input i USING (workflow_uuid)
WHERE w.workflow_uuid = ANY($1)";

async fn existing(
    connection: &mut PgConnection,
    statements: &Statements,
    open: &[&Write],
) -> Result<HashMap<String, Existing>, sqlx::Error> {
    let ids: Vec<&str> = open
        .iter()
        .filter_map(|write| if let Write::Start(new) = write { Some(new.id.as_str()) } else { None })
        .collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(statements.get(EXISTING)).bind(ids).fetch_all(connection).await?;
    rows.iter().map(|row| Ok((row.try_get("workflow_uuid")?, rows::existing(row)?))).collect()
}

/// The queue and the deduplication id of a start that has one.
type Key = (String, String);

fn key_of(new: &NewWorkflow) -> Option<Key> {
    let queued = new.queued()?;
    Some((queued.queue.clone(), queued.deduplication_id.clone()?))
}

const HOLDERS: &str = "\
SELECT w.queue_name, w.deduplication_id, w.workflow_uuid
FROM unnest($1::text[], $2::text[]) AS k(queue, id)
JOIN {s}.workflow_status w ON w.queue_name = k.queue AND w.deduplication_id = k.id";

async fn holders(
    connection: &mut PgConnection,
    statements: &Statements,
    open: &[&Write],
) -> Result<HashMap<Key, String>, sqlx::Error> {
    let key = |write: &&Write| if let Write::Start(new) = write { key_of(new) } else { None };
    let (queues, ids): (Vec<String>, Vec<String>) = open.iter().filter_map(key).unzip();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let query = sqlx::query(statements.get(HOLDERS)).bind(queues).bind(ids);
    let rows = query.fetch_all(connection).await?;
    rows.iter().map(|row| Ok(((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?))).collect()
}

fn first_number(write: &Write) -> i32 {
    match write {
        Write::Record(record) => record.number,
        Write::Receive(receive) => receive.number,
        Write::Start(_) | Write::Send(_) | Write::Outcome(_) => 0,
    }
}
