//! The statement of a batch, put together from one part for each kind of row.

use super::columns::Parts;

/// The statement for a batch that has these parts. `$1` is the application's name; the parts number on from there, in
/// the order in which `Columns::bind` binds.
pub(crate) fn statement(parts: Parts) -> String {
    let mut out = Builder::default();
    if parts.fences {
        out.part(OWNED, 2);
    }
    if parts.steps {
        out.part(STEPS, 9);
    }
    // The steps that may have effects: those that were recorded just now, and those that are still running.
    let effective = match (parts.steps, parts.running) {
        (_, false) => "steps",
        (false, true) => "running",
        (true, true) => "(SELECT id, number FROM steps UNION SELECT id, number FROM running) AS",
    };
    let effective = format!("{effective} s");
    if parts.running {
        out.part(RUNNING, 2);
    }
    if parts.events {
        out.part(&EVENTS.replace("<effective>", &effective), 5);
    }
    if parts.streams {
        out.part(&STREAMS.replace("<effective>", &effective), 5);
    }
    if parts.messages {
        let sent = if parts.steps || parts.running {
            format!(
                "m.sender IS NULL OR EXISTS (SELECT FROM {effective} WHERE s.id = m.sender AND s.number = m.number)"
            )
        } else {
            "m.sender IS NULL".to_owned()
        };
        out.part(&MESSAGES.replace("<sent>", &sent), 7);
    }
    if parts.receives {
        out.part(RECEIVES, 11);
    }
    if parts.starts {
        let parent =
            if parts.links { "n.parent IS NULL OR n.parent IN (SELECT id FROM owned)" } else { "true" };
        out.part(&STARTS.replace("<parent>", parent), 28);
    }
    if parts.links {
        out.part(LINKS, 9);
    }
    if parts.outcomes {
        out.part(OUTCOMES, 4);
    }
    format!(
        "WITH {} SELECT {} AS steps, {} AS created, {} AS finished, {} AS delivered, {} AS owned, {} AS received_ids, \
         {} AS received_numbers, {} AS received_values, {} AS received_formats, $1::text AS application",
        out.parts.join(", "),
        pick(parts.steps, "(SELECT count(*) FROM steps)", "0::bigint"),
        pick(parts.starts, "(SELECT count(*) FROM created)", "0::bigint"),
        list(parts.outcomes, "id", "finished"),
        list(parts.messages, "message_uuid", "delivered"),
        list(parts.receives || parts.running, "id", "owned"),
        list(parts.receives, "id", "received"),
        pick(parts.receives, "ARRAY(SELECT number FROM received ORDER BY id, number)", "'{}'::int4[]"),
        list(parts.receives, "value", "received"),
        list(parts.receives, "format", "received"),
    )
}

fn pick(present: bool, expression: &str, otherwise: &str) -> String {
    (if present { expression } else { otherwise }).to_owned()
}

fn list(present: bool, column: &str, part: &str) -> String {
    let order = if part == "received" { " ORDER BY id, number" } else { "" };
    pick(present, &format!("ARRAY(SELECT {column} FROM {part}{order})"), "'{}'::text[]")
}

#[derive(Default)]
struct Builder {
    parts: Vec<String>,
    /// Placeholders used so far, not counting `$1`.
    used: usize,
}

impl Builder {
    /// Adds a part whose own placeholders `:1` to `:n` follow the ones before. From the highest, so that `:1` does not
    /// match in `:11`.
    fn part(&mut self, template: &str, placeholders: usize) {
        let mut text = template.to_owned();
        for number in (1..=placeholders).rev() {
            text = text.replace(&format!(":{number}!"), &format!("${}", self.used + number + 1));
        }
        self.used += placeholders;
        self.parts.push(text);
    }
}

/// The rows that the batch may write for, locked until the commit: no cancel or takeover comes between.
const OWNED: &str = "\
owned AS MATERIALIZED (
    SELECT w.workflow_uuid AS id
    FROM unnest(:1!::text[], :2!::text[]) AS f(id, token)
    JOIN {s}.workflow_status w ON w.workflow_uuid = f.id AND w.owner_xid = f.token
    ORDER BY w.workflow_uuid
    FOR NO KEY UPDATE OF w
)";

const STEPS: &str = "\
steps AS (
    INSERT INTO {s}.operation_outputs (workflow_uuid, function_id, function_name, output, error, child_workflow_id,
        started_at_epoch_ms, completed_at_epoch_ms, serialization, application_name)
    SELECT p.id, p.number, p.name, p.output, p.error, p.child, p.started, p.completed, p.serialization, $1
    FROM unnest(:1!::text[], :2!::int4[], :3!::text[], :4!::text[], :5!::text[], :6!::text[], :7!::int8[], :8!::int8[],
        :9!::text[]) AS p(id, number, name, output, error, child, started, completed, serialization)
    JOIN owned ON owned.id = p.id
    ON CONFLICT DO NOTHING
    RETURNING workflow_uuid AS id, function_id AS number
)";

const RUNNING: &str = "\
running AS (
    SELECT DISTINCT r.id, r.number FROM unnest(:1!::text[], :2!::int4[]) AS r(id, number) JOIN owned ON owned.id = r.id
)";

const EVENTS: &str = "\
published AS (
    SELECT e.* FROM unnest(:1!::text[], :2!::int4[], :3!::text[], :4!::text[],
        :5!::text[]) AS e(id, number, key, value, format)
    JOIN <effective> ON s.id = e.id AND s.number = e.number
), events AS (
    INSERT INTO {s}.workflow_events (workflow_uuid, key, value, serialization)
    SELECT id, key, value, format FROM published
    ON CONFLICT (workflow_uuid, key) DO UPDATE SET value = EXCLUDED.value, serialization = EXCLUDED.serialization
    RETURNING 1
), history AS (
    INSERT INTO {s}.workflow_events_history (workflow_uuid, function_id, key, value, serialization)
    SELECT id, number, key, value, format FROM published
    ON CONFLICT (workflow_uuid, function_id, key) DO UPDATE SET value = EXCLUDED.value,
        serialization = EXCLUDED.serialization
    RETURNING 1
)";

/// Of several values for one stream each takes the offset after the one before. A writer that did not lock the workflow
/// may take an offset first: then the statement fails, and is tried again as a whole.
const STREAMS: &str = "\
appended AS (
    INSERT INTO {s}.streams (workflow_uuid, key, value, \"offset\", function_id, serialization)
    SELECT a.id, a.key, a.value, (coalesce(t.last, -1) + row_number() OVER (PARTITION BY a.id, a.key ORDER BY a.number, a.place))::int4,
        a.number, a.format
    FROM unnest(:1!::text[], :2!::int4[], :3!::text[], :4!::text[], :5!::text[])
        WITH ORDINALITY AS a(id, number, key, value, format, place)
    JOIN <effective> ON s.id = a.id AND s.number = a.number
    CROSS JOIN LATERAL (SELECT max(o.\"offset\") AS last FROM {s}.streams o WHERE o.workflow_uuid = a.id AND o.key = a.key) t
    RETURNING 1
)";

const MESSAGES: &str = "\
delivered AS (
    INSERT INTO {s}.notifications (message_uuid, destination_uuid, topic, message, serialization)
    SELECT m.id, m.destination, m.topic, m.value, m.format
    FROM unnest(:1!::text[], :2!::int4[], :3!::text[], :4!::text[], :5!::text[], :6!::text[], :7!::text[])
        AS m(sender, number, id, destination, topic, value, format)
    WHERE <sent>
    ON CONFLICT (message_uuid) DO NOTHING
    RETURNING message_uuid
)";

/// The step is inserted first, and the message is only taken for a step that was: a stale receiver takes nothing.
const RECEIVES: &str = "\
asked AS (
    SELECT r.*, m.message_uuid, m.message, m.serialization
    FROM unnest(:1!::text[], :2!::int4[], :3!::text[], :4!::int8[], :5!::int8[], :6!::int8[], :7!::bool[], :8!::text[],
        :9!::int4[], :10!::text[], :11!::text[])
        AS r(id, number, topic, rank, started, completed, expired, wake, victory, victory_name, victory_output)
    JOIN owned ON owned.id = r.id
    LEFT JOIN LATERAL (
        SELECT n.message_uuid, n.message, n.serialization FROM {s}.notifications n
        WHERE n.destination_uuid = r.id AND n.topic = r.topic AND NOT n.consumed
        ORDER BY n.created_at_epoch_ms, n.message_uuid OFFSET r.rank LIMIT 1
    ) m ON true
), taken AS (
    INSERT INTO {s}.operation_outputs (workflow_uuid, function_id, function_name, output, started_at_epoch_ms,
        completed_at_epoch_ms, serialization, application_name)
    SELECT a.id, a.number, 'DBOS.recv', coalesce(a.message, 'null'), a.started, a.completed,
        CASE WHEN a.message_uuid IS NULL THEN 'portable_json' ELSE a.serialization END, $1
    FROM asked a WHERE a.message_uuid IS NOT NULL OR a.expired
    ON CONFLICT DO NOTHING
    RETURNING workflow_uuid AS id, function_id AS number
), waits AS (
    INSERT INTO {s}.operation_outputs (workflow_uuid, function_id, function_name, output, started_at_epoch_ms,
        completed_at_epoch_ms, serialization, application_name)
    SELECT a.id, a.number + 1, 'DBOS.sleep', a.wake, a.started, a.completed, 'portable_json', $1
    FROM asked a WHERE a.wake IS NOT NULL
    ON CONFLICT DO NOTHING
    RETURNING 1
), victories AS (
    INSERT INTO {s}.operation_outputs (workflow_uuid, function_id, function_name, output, started_at_epoch_ms,
        completed_at_epoch_ms, serialization, application_name)
    SELECT a.id, a.victory, a.victory_name, a.victory_output, a.started, a.completed, 'portable_json', $1
    FROM asked a JOIN taken ON taken.id = a.id AND taken.number = a.number
    WHERE a.victory IS NOT NULL
    ON CONFLICT DO NOTHING
    RETURNING 1
), consumed AS (
    UPDATE {s}.notifications n SET consumed = TRUE, consumed_by_function_id = a.number
    FROM asked a JOIN taken ON taken.id = a.id AND taken.number = a.number
    WHERE n.message_uuid = a.message_uuid
    RETURNING 1
), received AS (
    SELECT a.id, a.number, CASE WHEN a.message_uuid IS NULL THEN NULL ELSE a.message END AS value,
        a.serialization AS format
    FROM asked a JOIN taken ON taken.id = a.id AND taken.number = a.number
)";

/// A direct start is this process's and runs; an enqueued one is nobody's until it is claimed.
const STARTS: &str = "\
fresh AS (
    SELECT n.* FROM unnest(:1!::text[], :2!::text[], :3!::text[], :4!::text[], :5!::text[], :6!::text[], :7!::text[],
        :8!::text[], :9!::text[], :10!::text[], :11!::text[], :12!::int8[], :13!::int8[], :14!::text[], :15!::text[],
        :16!::int4[], :17!::text[], :18!::int8[], :19!::text[], :20!::text[], :21!::int8[], :22!::bool[], :23!::int8[],
        :24!::text[], :25!::text[])
        AS n(id, status, name, class, config, token, input, username, roles, attributes, parent, timeout, deadline, queue,
        deduplication, priority, partition, delay_until, version, application, created, debounced, debounce_deadline, assumed,
        format)
    WHERE <parent>
), created AS (
    INSERT INTO {s}.workflow_status (workflow_uuid, status, name, class_name, config_name, authenticated_user,
        authenticated_roles, executor_id, application_version, application_id, recovery_attempts, owner_xid, creator_xid,
        parent_workflow_id, serialization, attributes, application_name, workflow_timeout_ms, workflow_deadline_epoch_ms,
        queue_name, deduplication_id, priority, queue_partition_key, delay_until_epoch_ms, is_debounced,
        debounce_deadline_epoch_ms, created_at, assumed_role)
    SELECT n.id, n.status, n.name, n.class, n.config, n.username, n.roles, :26!::text,
        CASE WHEN n.queue IS NULL THEN :27!::text ELSE n.version END, :28!::text,
        CASE WHEN n.queue IS NULL THEN 1 ELSE 0 END, CASE WHEN n.queue IS NULL THEN n.token END, n.token, n.parent,
        n.format, n.attributes::jsonb, CASE WHEN n.queue IS NULL THEN $1 ELSE n.application END, n.timeout,
        n.deadline, n.queue, n.deduplication, n.priority, n.partition, n.delay_until, n.debounced, n.debounce_deadline,
        coalesce(n.created, (EXTRACT(epoch FROM now()) * 1000)::int8), n.assumed
    FROM fresh n
    ON CONFLICT DO NOTHING
    RETURNING workflow_uuid AS id, creator_xid AS token
), inputs AS (
    INSERT INTO {s}.workflow_input (workflow_uuid, inputs)
    SELECT n.id, n.input FROM fresh n JOIN created ON created.id = n.id AND created.token = n.token
    ON CONFLICT DO NOTHING
    RETURNING 1
)";

/// The steps by which workflows start others: only together with the child's row.
const LINKS: &str = "\
links AS (
    INSERT INTO {s}.operation_outputs (workflow_uuid, function_id, function_name, output, error, child_workflow_id,
        started_at_epoch_ms, completed_at_epoch_ms, serialization, application_name)
    SELECT p.id, p.number, p.name, p.output, p.error, p.child, p.started, p.completed, p.serialization, $1
    FROM unnest(:1!::text[], :2!::int4[], :3!::text[], :4!::text[], :5!::text[], :6!::text[], :7!::int8[], :8!::int8[],
        :9!::text[]) AS p(id, number, name, output, error, child, started, completed, serialization)
    JOIN created ON created.id = p.child
    ON CONFLICT DO NOTHING
    RETURNING 1
)";

/// The status in a form that no index is made for: by the key there is one row, by an index of all that is pending each
/// outcome would go through as many rows as there are.
const OUTCOMES: &str = "\
ended AS (
    SELECT * FROM unnest(:1!::text[], :2!::text[], :3!::text[], :4!::text[]) AS o(id, token, output, error)
), finished AS (
    UPDATE {s}.workflow_status w
    SET status = CASE WHEN o.error IS NULL THEN 'SUCCESS' ELSE 'ERROR' END, owner_xid = NULL, deduplication_id = NULL,
        updated_at = (EXTRACT(epoch FROM now()) * 1000)::int8, completed_at = (EXTRACT(epoch FROM now()) * 1000)::int8
    FROM ended o
    WHERE w.workflow_uuid = o.id AND w.owner_xid = o.token AND coalesce(w.status, '') = 'PENDING'
    RETURNING w.workflow_uuid AS id
), outputs AS (
    INSERT INTO {s}.workflow_output (workflow_uuid, output, error)
    SELECT o.id, o.output, o.error FROM ended o JOIN finished ON finished.id = o.id
    ON CONFLICT (workflow_uuid) DO UPDATE SET output = EXCLUDED.output, error = EXCLUDED.error
    RETURNING 1
)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_number_on_from_one_another() {
        let text = statement(Parts { fences: true, steps: true, outcomes: true, ..Parts::default() });
        for placeholder in 1..=16 {
            assert!(text.contains(&format!("${placeholder}")), "${placeholder} in {text}");
        }
        assert!(!text.contains("$17") && !text.contains('!'), "{text}");
    }
}
