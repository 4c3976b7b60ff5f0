//! A batch inside its transaction. There is no other writer meanwhile, so it may look first and write what it saw to be
//! right.

use std::collections::HashMap;

use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::starts::{self, START};
use super::values::Values;
use super::verify;
use crate::model::mailbox::{NewEvent, NewMessage, Stored};
use crate::model::step::StepRow;
use crate::model::workflow::{Fence, Identity, NewWorkflow};
use crate::model::write::{Outcome, Receipt, Receive, Record, Write};
use crate::store::receipts::{self, Ownership};

type Result<T> = std::result::Result<T, sqlx::Error>;
type Owners = HashMap<String, Ownership>;

/// The inside of one transaction.
pub(super) struct Work<'a> {
    pub(super) connection: &'a mut SqliteConnection,
    pub(super) values: &'a mut Values,
    pub(super) identity: &'a Identity,
}

const OWNERS: &str = "\
WITH f(id) AS (VALUES {rows})
SELECT w.workflow_uuid, w.owner_xid, w.status FROM f JOIN workflow_status w ON w.workflow_uuid = f.id";

const INPUT: &str = "INSERT INTO workflow_input (workflow_uuid, inputs) VALUES {rows} ON CONFLICT DO NOTHING";

const EVENT: &str = "\
INSERT INTO workflow_events (workflow_uuid, key, value, serialization)
SELECT column1, column3, column4, column5 FROM (VALUES {rows}) WHERE true
ON CONFLICT (workflow_uuid, key) DO UPDATE SET value = excluded.value, serialization = excluded.serialization";

const EVENT_HISTORY: &str = "\
INSERT INTO workflow_events_history (workflow_uuid, function_id, key, value, serialization)
SELECT column1, column2, column3, column4, column5 FROM (VALUES {rows}) WHERE true
ON CONFLICT (workflow_uuid, function_id, key) DO UPDATE SET value = excluded.value, serialization = excluded.serialization";

const MESSAGE: &str = "\
INSERT INTO notifications (message_uuid, destination_uuid, topic, message, serialization)
SELECT column1, column2, column3, column4, column5 FROM (VALUES {rows}) WHERE true
ON CONFLICT (message_uuid) DO NOTHING";

const FINISH: &str = "\
WITH o(id, status) AS (VALUES {rows})
UPDATE workflow_status SET status = o.status, owner_xid = NULL, deduplication_id = NULL,
    updated_at = CAST(unixepoch('subsec') * 1000 AS INTEGER), completed_at = CAST(unixepoch('subsec') * 1000 AS INTEGER)
FROM o WHERE workflow_uuid = o.id";

const OUTPUT: &str = "\
INSERT INTO workflow_output (workflow_uuid, output, error)
SELECT column1, column2, column3 FROM (VALUES {rows}) WHERE true
ON CONFLICT (workflow_uuid) DO UPDATE SET output = excluded.output, error = excluded.error";

const OLDEST: &str = "\
SELECT message_uuid, message, serialization FROM notifications
WHERE destination_uuid = ?1 AND topic = ?2 AND NOT consumed
ORDER BY created_at_epoch_ms, message_uuid, rowid LIMIT 1";

const CONSUME: &str =
    "UPDATE notifications SET consumed = TRUE, consumed_by_function_id = ?2 WHERE message_uuid = ?1";

impl Work<'_> {
    /// Every kind of write at once, in the order in which they depend on one another.
    pub(super) async fn apply(&mut self, batch: &[Write]) -> Result<Vec<Receipt>> {
        let owners = self.owners(batch).await?;
        let mut receipts: Vec<Option<Receipt>> = batch.iter().map(|write| lost(write, &owners)).collect();
        self.starts(batch, &owners, &mut receipts).await?;
        self.records(batch, &owners, &mut receipts).await?;
        for (write, receipt) in batch.iter().zip(&mut receipts) {
            match write {
                Write::Receive(receive) if receipt.is_none() => *receipt = Some(self.receive(receive).await?),
                Write::Send(messages) => *receipt = Some(Receipt::Sent(self.send(messages).await?)),
                _ => {}
            }
        }
        self.outcomes(batch, &receipts).await?;
        Ok(receipts.into_iter().map(|receipt| receipt.unwrap_or(Receipt::Done)).collect())
    }

    async fn owners(&mut self, batch: &[Write]) -> Result<Owners> {
        let mut ids: Vec<&str> =
            batch.iter().filter_map(Write::fence).map(|fence| fence.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        let rows = self.values.fetch(self.connection, OWNERS, 1, &ids, |query, id| query.bind(*id)).await?;
        let owner = |row: &sqlx::sqlite::SqliteRow| {
            Ok((row.try_get(0)?, Ownership { owner: row.try_get(1)?, status: row.try_get(2)? }))
        };
        rows.iter().map(owner).collect()
    }

    async fn starts(
        &mut self,
        batch: &[Write],
        owners: &Owners,
        receipts: &mut [Option<Receipt>],
    ) -> Result<()> {
        let mut starts = open_starts(batch, receipts);
        if starts.is_empty() {
            return Ok(());
        }
        let identity = self.identity;
        let inserted = self
            .values
            .execute(self.connection, START, 28, &starts, |query, new| starts::bind(query, new, identity))
            .await?;
        let all_new = usize::try_from(inserted) == Ok(starts.len());
        if !all_new {
            starts = self.created(&starts).await?;
        }
        self.values
            .execute(self.connection, INPUT, 2, &starts, |query, new| {
                query.bind(new.id.as_str()).bind(&new.input)
            })
            .await?;
        if !all_new {
            self.find_existing(batch, owners, receipts).await?;
        }
        let links: Vec<(&Fence, &StepRow)> = starts
            .iter()
            .filter_map(|new| new.parent.as_ref())
            .map(|parent| (&parent.fence, &parent.step))
            .collect();
        self.steps(&links).await?;
        Ok(())
    }

    /// Which of these starts have made their row, just now or in an earlier try.
    async fn created<'a>(&mut self, starts: &[&'a NewWorkflow]) -> Result<Vec<&'a NewWorkflow>> {
        let mut created = Vec::new();
        for new in starts {
            let found = verify::existing(self.connection, new.id.as_str()).await?;
            if found.is_some_and(|row| row.creator.as_deref() == Some(new.token.as_str())) {
                created.push(*new);
            }
        }
        Ok(created)
    }

    /// What stands in the place of the other starts; their inputs too, which may have come with this very batch.
    async fn find_existing(
        &mut self,
        batch: &[Write],
        owners: &Owners,
        receipts: &mut [Option<Receipt>],
    ) -> Result<()> {
        for (write, receipt) in batch.iter().zip(receipts) {
            if let (Write::Start(new), None) = (write, &receipt) {
                let found = verify::existing(self.connection, new.id.as_str()).await?;
                let holder = verify::holder(self.connection, new).await?;
                let owner = write.fence().and_then(|fence| owners.get(fence.id.as_str())).cloned();
                *receipt = Some(receipts::of_start(new, found, holder, &owner.unwrap_or_default()))
                    .filter(|receipt| *receipt != Receipt::Done);
            }
        }
        Ok(())
    }

    async fn records(
        &mut self,
        batch: &[Write],
        owners: &Owners,
        receipts: &mut [Option<Receipt>],
    ) -> Result<()> {
        if records(batch, receipts).next().is_none() {
            return Ok(());
        }
        let (appending, steps): (Vec<_>, Vec<_>) = records(batch, receipts)
            .flat_map(|record| record.steps.iter().map(move |step| (record, &record.fence, step)))
            .partition(|(record, _, _)| !record.effects.streams.is_empty());
        let steps: Vec<(&Fence, &StepRow)> =
            steps.into_iter().map(|(_, fence, step)| (fence, step)).collect();
        let appending: Vec<(&Fence, &StepRow)> =
            appending.into_iter().map(|(_, fence, step)| (fence, step)).collect();
        let inserted = self.steps_if_new(&appending).await?;
        if self.steps(&steps).await? != steps.len() as u64 || inserted.len() != appending.len() {
            for (write, receipt) in batch.iter().zip(receipts.iter_mut()) {
                if let (Write::Record(record), None) = (write, &receipt) {
                    if record.steps.is_empty() {
                        continue;
                    }
                    let found =
                        verify::step(self.connection, record.fence.id.as_str(), record.number).await?;
                    let now = owners.get(record.fence.id.as_str()).cloned().unwrap_or_default();
                    *receipt = Some(receipts::of_record(record, &now, found))
                        .filter(|receipt| *receipt != Receipt::Done);
                }
            }
        }
        let events: Vec<(&str, i32, &NewEvent)> = records(batch, receipts)
            .flat_map(|record| {
                record.effects.events.iter().map(|event| (record.fence.id.as_str(), record.number, event))
            })
            .collect();
        for statement in [EVENT, EVENT_HISTORY] {
            self.values
                .execute(self.connection, statement, 5, &events, |query, (id, number, event)| {
                    query
                        .bind(*id)
                        .bind(*number)
                        .bind(&event.key)
                        .bind(&event.value)
                        .bind(event.format.name())
                })
                .await?;
        }
        let messages: Vec<&NewMessage> =
            records(batch, receipts).flat_map(|record| &record.effects.messages).collect();
        self.messages(&messages).await?;
        self.append(records(batch, receipts), &inserted).await?;
        Ok(())
    }

    async fn messages(&mut self, messages: &[&NewMessage]) -> Result<u64> {
        self.values
            .execute(self.connection, MESSAGE, 5, messages, |query, message| {
                let query = query.bind(&message.id).bind(&message.destination).bind(&message.topic);
                query.bind(&message.value).bind(message.format.name())
            })
            .await
    }

    async fn send(&mut self, messages: &[NewMessage]) -> Result<usize> {
        let messages: Vec<&NewMessage> = messages.iter().collect();
        Ok(usize::try_from(self.messages(&messages).await?).unwrap_or(usize::MAX))
    }

    async fn receive(&mut self, receive: &Receive) -> Result<Receipt> {
        let id = receive.fence.id.as_str();
        let oldest =
            sqlx::query(OLDEST).bind(id).bind(&receive.topic).fetch_optional(&mut *self.connection).await?;
        let message = oldest.as_ref().map(|row| {
            Ok::<_, sqlx::Error>((
                row.try_get::<String, _>(0)?,
                Stored { value: row.try_get(1)?, serialization: row.try_get(2)? },
            ))
        });
        let message = message.transpose()?;
        let mut steps: Vec<(&Fence, &StepRow)> = Vec::new();
        let step =
            (message.is_some() || receive.expired).then(|| received(receive, message.as_ref().map(|m| &m.1)));
        if let Some(step) = &step {
            steps.push((&receive.fence, step));
            if self.steps(&steps).await? == 0 {
                let found = verify::step(self.connection, id, receive.number).await?;
                return Ok(found.map_or(Receipt::Nothing, |row| Receipt::Taken(Box::new(row))));
            }
            if let Some(victory) = receive.victory.as_deref() {
                self.steps(&[(&receive.fence, victory)]).await?;
            }
        }
        if let Some(deadline) = &receive.deadline {
            self.steps(&[(&receive.fence, deadline)]).await?;
        }
        Ok(match (message, receive.expired) {
            (Some((uuid, message)), _) => {
                sqlx::query(CONSUME).bind(uuid).bind(receive.number).execute(&mut *self.connection).await?;
                Receipt::Received(message)
            }
            (None, true) => Receipt::TimedOut,
            (None, false) => Receipt::Nothing,
        })
    }

    async fn outcomes(&mut self, batch: &[Write], receipts: &[Option<Receipt>]) -> Result<()> {
        let open = batch.iter().zip(receipts).filter(|(_, receipt)| receipt.is_none());
        let outcomes: Vec<&Outcome> = open
            .filter_map(|(write, _)| if let Write::Outcome(outcome) = write { Some(outcome) } else { None })
            .collect();
        self.values
            .execute(self.connection, FINISH, 2, &outcomes, |query, outcome| {
                let status = if outcome.error.is_none() { "SUCCESS" } else { "ERROR" };
                query.bind(outcome.fence.id.as_str()).bind(status)
            })
            .await?;
        self.values
            .execute(self.connection, OUTPUT, 3, &outcomes, |query, outcome| {
                query.bind(outcome.fence.id.as_str()).bind(&outcome.output).bind(&outcome.error)
            })
            .await?;
        Ok(())
    }
}

/// The step of a receive: the message in its own format, or the absence of one.
fn received(receive: &Receive, message: Option<&Stored>) -> StepRow {
    let row = StepRow::marker(receive.number, "DBOS.recv", receive.started, receive.completed);
    match message {
        Some(message) => StepRow {
            output: Some(message.value.clone()),
            serialization: message.serialization.clone(),
            ..row
        },
        None => row.with_output("null".to_owned()),
    }
}

/// The records that have no receipt yet.
fn records<'a>(batch: &'a [Write], receipts: &'a [Option<Receipt>]) -> impl Iterator<Item = &'a Record> {
    batch.iter().zip(receipts).filter_map(|(write, receipt)| match (write, receipt) {
        (Write::Record(record), None) => Some(record),
        _ => None,
    })
}

/// The starts that have no receipt yet.
fn open_starts<'a>(batch: &'a [Write], receipts: &[Option<Receipt>]) -> Vec<&'a NewWorkflow> {
    let open = batch.iter().zip(receipts).filter(|(_, receipt)| receipt.is_none());
    open.filter_map(|(write, _)| if let Write::Start(new) = write { Some(&**new) } else { None }).collect()
}

/// The receipt of a write whose fence does not hold.
fn lost(write: &Write, owners: &Owners) -> Option<Receipt> {
    let fence = write.fence()?;
    let now = owners.get(fence.id.as_str());
    let holds = now.is_some_and(|now| now.owner.as_deref() == Some(fence.token.as_str()));
    (!holds).then(|| Receipt::Lost(now.and_then(|now| now.status.clone())))
}
