//! The row of a workflow that starts or waits on a queue.

use super::values::SqliteQuery;
use crate::model::workflow::{Identity, NewWorkflow};
use crate::time::Timestamp;

pub(super) const START: &str = "\
INSERT INTO workflow_status (workflow_uuid, status, name, class_name, config_name, authenticated_user, authenticated_roles,
    executor_id, application_version, application_id, recovery_attempts, owner_xid, creator_xid, parent_workflow_id,
    attributes, application_name, workflow_timeout_ms, workflow_deadline_epoch_ms, queue_name, deduplication_id, priority,
    queue_partition_key, delay_until_epoch_ms, is_debounced, debounce_deadline_epoch_ms, created_at, serialization,
    was_forked_from, rate_limited, assumed_role)
SELECT column1, column2, column3, column4, column5, column6, column7, column8, column9, column10, column11, column12,
    column13, column14, column15, column16, column17, column18, column19, column20, column21, column22, column23, column24,
    column25, coalesce(column26, CAST(unixepoch('subsec') * 1000 AS INTEGER)), column28, FALSE, FALSE,
    column27
FROM (VALUES {rows}) WHERE true ON CONFLICT DO NOTHING";

pub(super) fn bind<'q>(query: SqliteQuery<'q>, new: &'q NewWorkflow, identity: &Identity) -> SqliteQuery<'q> {
    let queued = new.queued();
    let direct = queued.is_none();
    let owned = |text: &Option<String>| text.clone();
    let version = queued.map_or_else(|| owned(&identity.version), |queued| owned(&queued.version));
    let application =
        queued.map_or_else(|| owned(&identity.application), |queued| owned(&queued.application));
    let query = query.bind(new.id.as_str()).bind(new.status().as_str());
    let query = query.bind(&new.name).bind(&new.class_name).bind(&new.config_name).bind(&new.user);
    let query = query.bind(&new.roles).bind(owned(&identity.executor)).bind(version);
    let query = query.bind(owned(&identity.application_id)).bind(i64::from(direct));
    let query = query.bind(direct.then(|| new.token.as_str())).bind(new.token.as_str());
    let query = query.bind(new.parent.as_ref().map(|parent| parent.fence.id.as_str()));
    let query = query.bind(&new.attributes).bind(application).bind(new.timeout);
    let query = query.bind(new.deadline.map(Timestamp::as_millis)).bind(queued.map(|queued| &queued.queue));
    let query = query.bind(queued.and_then(|queued| queued.deduplication_id.as_ref()));
    let query = query.bind(queued.map_or(0, |queued| queued.priority));
    let query = query.bind(queued.and_then(|queued| queued.partition_key.as_ref()));
    let query = query.bind(queued.and_then(|queued| queued.delay_until).map(Timestamp::as_millis));
    let debounce = queued.and_then(|queued| queued.debounce.as_ref());
    let query = query.bind(debounce.is_some());
    let query = query.bind(debounce.and_then(|debounce| debounce.deadline).map(Timestamp::as_millis));
    query.bind(queued.map(|queued| queued.created_at.as_millis())).bind(&new.assumed).bind(new.format.name())
}
