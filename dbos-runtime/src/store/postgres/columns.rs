//! A batch turned on its side: one array a column, as `unnest` takes them.

mod steps;
mod streams;

use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

use self::steps::Steps;
use self::streams::Streams;
use crate::model::workflow::{Identity, NewWorkflow, Queued};
use crate::model::write::Write;
use crate::time::Timestamp;

/// The kinds of rows that a batch holds; each kind is a part of its statement.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Parts {
    pub(crate) fences: bool,
    pub(crate) steps: bool,
    /// Effects of steps that are still running.
    pub(crate) running: bool,
    pub(crate) events: bool,
    pub(crate) streams: bool,
    pub(crate) messages: bool,
    pub(crate) receives: bool,
    pub(crate) starts: bool,
    pub(crate) links: bool,
    pub(crate) outcomes: bool,
}

type Text<'a> = Vec<&'a str>;
type MaybeText<'a> = Vec<Option<&'a str>>;

/// The columns of a batch. Everything borrows from the writes.
#[derive(Default)]
pub(crate) struct Columns<'a> {
    pub(crate) parts: Parts,
    fences: Vec<(&'a str, &'a str)>,
    steps: Steps<'a>,
    links: Steps<'a>,
    running: Running<'a>,
    events: Events<'a>,
    streams: Streams<'a>,
    messages: Messages<'a>,
    receives: Receives<'a>,
    starts: Starts<'a>,
    outcomes: Outcomes<'a>,
}

/// Steps that have effects without being recorded.
#[derive(Default)]
struct Running<'a> {
    id: Text<'a>,
    number: Vec<i32>,
}

#[derive(Default)]
struct Events<'a> {
    id: Text<'a>,
    number: Vec<i32>,
    key: Text<'a>,
    value: Text<'a>,
    format: Text<'a>,
}

#[derive(Default)]
struct Messages<'a> {
    sender: MaybeText<'a>,
    number: Vec<Option<i32>>,
    id: Text<'a>,
    destination: Text<'a>,
    topic: Text<'a>,
    value: Text<'a>,
    format: Text<'a>,
}

#[derive(Default)]
struct Receives<'a> {
    id: Text<'a>,
    number: Vec<i32>,
    topic: Text<'a>,
    /// Which of the unread messages, when one execution receives several times at once.
    rank: Vec<i64>,
    started: Vec<i64>,
    completed: Vec<i64>,
    expired: Vec<bool>,
    wake: MaybeText<'a>,
    /// Of a receive in a race, the step that says it has won: number, name, output.
    victory: Vec<Option<i32>>,
    victory_name: MaybeText<'a>,
    victory_output: MaybeText<'a>,
}

#[derive(Default)]
struct Starts<'a> {
    id: Text<'a>,
    status: Text<'a>,
    name: Text<'a>,
    class: MaybeText<'a>,
    config: MaybeText<'a>,
    token: Text<'a>,
    input: Text<'a>,
    user: MaybeText<'a>,
    roles: MaybeText<'a>,
    attributes: MaybeText<'a>,
    parent: MaybeText<'a>,
    timeout: Vec<Option<i64>>,
    deadline: Vec<Option<i64>>,
    queue: MaybeText<'a>,
    deduplication: MaybeText<'a>,
    priority: Vec<i32>,
    partition: MaybeText<'a>,
    delay_until: Vec<Option<i64>>,
    version: MaybeText<'a>,
    application: MaybeText<'a>,
    created: Vec<Option<i64>>,
    debounced: Vec<bool>,
    debounce_deadline: Vec<Option<i64>>,
    assumed: MaybeText<'a>,
    format: Text<'a>,
}

#[derive(Default)]
struct Outcomes<'a> {
    id: Text<'a>,
    token: Text<'a>,
    output: MaybeText<'a>,
    error: MaybeText<'a>,
}

impl<'a> Columns<'a> {
    pub(crate) fn of(batch: &'a [Write]) -> Self {
        let mut columns = Self::default();
        let mut writes: Vec<&Write> = batch.iter().collect();
        // Rows in the order of ids: two processes that meet the same rows lock them in the same order.
        writes.sort_by(|a, b| a.workflow().cmp(b.workflow()));
        for write in writes {
            columns.add(write);
        }
        columns.fences.sort_unstable();
        columns.fences.dedup();
        columns.parts = columns.present();
        columns
    }

    fn add(&mut self, write: &'a Write) {
        match write {
            Write::Record(record) => {
                let id = record.fence.id.as_str();
                self.fences.push((id, record.fence.token.as_str()));
                record.steps.iter().for_each(|step| self.steps.push(id, step));
                let number = record.number;
                if record.steps.is_empty() {
                    self.running.id.push(id);
                    self.running.number.push(number);
                }
                for event in &record.effects.events {
                    self.events.id.push(id);
                    self.events.number.push(number);
                    self.events.key.push(&event.key);
                    self.events.value.push(&event.value);
                    self.events.format.push(event.format.name());
                }
                self.streams.push(id, number, &record.effects.streams);
                self.messages.push(Some((id, number)), &record.effects.messages);
            }
            Write::Send(messages) => self.messages.push(None, messages),
            Write::Receive(receive) => {
                let id = receive.fence.id.as_str();
                self.fences.push((id, receive.fence.token.as_str()));
                let earlier = self.receives.id.iter().zip(&self.receives.topic);
                let rank = earlier.filter(|(other, topic)| **other == id && **topic == receive.topic).count();
                self.receives.id.push(id);
                self.receives.number.push(receive.number);
                self.receives.topic.push(&receive.topic);
                self.receives.rank.push(i64::try_from(rank).unwrap_or(i64::MAX));
                self.receives.started.push(receive.started.as_millis());
                self.receives.completed.push(receive.completed.as_millis());
                self.receives.expired.push(receive.expired);
                self.receives.wake.push(receive.deadline.as_ref().and_then(|step| step.output.as_deref()));
                let victory = receive.victory.as_deref();
                self.receives.victory.push(victory.map(|step| step.number));
                self.receives.victory_name.push(victory.map(|step| step.name.as_str()));
                self.receives.victory_output.push(victory.and_then(|step| step.output.as_deref()));
            }
            Write::Start(new) => {
                self.starts.push(new);
                if let Some(parent) = &new.parent {
                    self.fences.push((parent.fence.id.as_str(), parent.fence.token.as_str()));
                    self.links.push(parent.fence.id.as_str(), &parent.step);
                }
            }
            Write::Outcome(outcome) => {
                self.outcomes.id.push(outcome.fence.id.as_str());
                self.outcomes.token.push(outcome.fence.token.as_str());
                self.outcomes.output.push(outcome.output.as_deref());
                self.outcomes.error.push(outcome.error.as_deref());
            }
        }
    }

    fn present(&self) -> Parts {
        Parts {
            fences: !self.fences.is_empty(),
            steps: self.steps.len() > 0,
            running: !self.running.id.is_empty(),
            events: !self.events.id.is_empty(),
            streams: self.streams.are_some(),
            messages: !self.messages.id.is_empty(),
            receives: !self.receives.id.is_empty(),
            starts: !self.starts.id.is_empty(),
            links: self.links.len() > 0,
            outcomes: !self.outcomes.id.is_empty(),
        }
    }

    /// Steps that the records of the batch ask for.
    pub(crate) fn steps(&self) -> i64 {
        i64::try_from(self.steps.len()).unwrap_or(i64::MAX)
    }

    /// Workflows that the batch asks for.
    pub(crate) fn starts(&self) -> i64 {
        i64::try_from(self.starts.id.len()).unwrap_or(i64::MAX)
    }

    /// Binds in the order in which `parts::statement` numbers.
    pub(crate) fn bind<'q>(
        &'q self,
        query: Query<'q, Postgres, PgArguments>,
        identity: &'q Identity,
    ) -> Query<'q, Postgres, PgArguments> {
        let mut query = query.bind(&identity.application);
        if self.parts.fences {
            let ids: Vec<&str> = self.fences.iter().map(|fence| fence.0).collect();
            let tokens: Vec<&str> = self.fences.iter().map(|fence| fence.1).collect();
            query = query.bind(ids).bind(tokens);
        }
        if self.parts.steps {
            query = self.steps.bind(query);
        }
        if self.parts.running {
            query = query.bind(&self.running.id).bind(&self.running.number);
        }
        if self.parts.events {
            let events = &self.events;
            query = query.bind(&events.id).bind(&events.number).bind(&events.key).bind(&events.value);
            query = query.bind(&events.format);
        }
        if self.parts.streams {
            query = self.streams.bind(query);
        }
        if self.parts.messages {
            let messages = &self.messages;
            query = query.bind(&messages.sender).bind(&messages.number).bind(&messages.id);
            query = query.bind(&messages.destination).bind(&messages.topic).bind(&messages.value);
            query = query.bind(&messages.format);
        }
        if self.parts.receives {
            let receives = &self.receives;
            query =
                query.bind(&receives.id).bind(&receives.number).bind(&receives.topic).bind(&receives.rank);
            query = query.bind(&receives.started).bind(&receives.completed);
            query = query.bind(&receives.expired).bind(&receives.wake).bind(&receives.victory);
            query = query.bind(&receives.victory_name).bind(&receives.victory_output);
        }
        if self.parts.starts {
            query = self.starts.bind(query);
            query = query.bind(&identity.executor).bind(&identity.version).bind(&identity.application_id);
        }
        if self.parts.links {
            query = self.links.bind(query);
        }
        if self.parts.outcomes {
            let outcomes = &self.outcomes;
            query =
                query.bind(&outcomes.id).bind(&outcomes.token).bind(&outcomes.output).bind(&outcomes.error);
        }
        query
    }
}

impl<'a> Starts<'a> {
    fn push(&mut self, new: &'a NewWorkflow) {
        let queued = new.queued();
        let text = |pick: fn(&Queued) -> Option<&str>| queued.and_then(pick);
        let instant =
            |pick: fn(&Queued) -> Option<Timestamp>| queued.and_then(pick).map(Timestamp::as_millis);
        self.id.push(new.id.as_str());
        self.status.push(new.status().as_str());
        self.name.push(&new.name);
        self.class.push(new.class_name.as_deref());
        self.config.push(new.config_name.as_deref());
        self.token.push(new.token.as_str());
        self.input.push(&new.input);
        self.user.push(new.user.as_deref());
        self.roles.push(new.roles.as_deref());
        self.attributes.push(new.attributes.as_deref());
        self.parent.push(new.parent.as_ref().map(|parent| parent.fence.id.as_str()));
        self.timeout.push(new.timeout);
        self.deadline.push(new.deadline.map(Timestamp::as_millis));
        self.queue.push(text(|queued| Some(&queued.queue)));
        self.deduplication.push(text(|queued| queued.deduplication_id.as_deref()));
        self.priority.push(queued.map_or(0, |queued| queued.priority));
        self.partition.push(text(|queued| queued.partition_key.as_deref()));
        self.delay_until.push(instant(|queued| queued.delay_until));
        self.version.push(text(|queued| queued.version.as_deref()));
        self.application.push(text(|queued| queued.application.as_deref()));
        self.created.push(instant(|queued| Some(queued.created_at)));
        self.debounced.push(queued.is_some_and(|queued| queued.debounce.is_some()));
        self.debounce_deadline.push(instant(|queued| queued.debounce.as_ref()?.deadline));
        self.assumed.push(new.assumed.as_deref());
        self.format.push(new.format.name());
    }

    fn bind<'q>(&'q self, query: Query<'q, Postgres, PgArguments>) -> Query<'q, Postgres, PgArguments> {
        let query =
            query.bind(&self.id).bind(&self.status).bind(&self.name).bind(&self.class).bind(&self.config);
        let query = query.bind(&self.token).bind(&self.input).bind(&self.user).bind(&self.roles);
        let query = query.bind(&self.attributes).bind(&self.parent).bind(&self.timeout).bind(&self.deadline);
        let query =
            query.bind(&self.queue).bind(&self.deduplication).bind(&self.priority).bind(&self.partition);
        let query = query.bind(&self.delay_until).bind(&self.version).bind(&self.application);
        query
            .bind(&self.created)
            .bind(&self.debounced)
            .bind(&self.debounce_deadline)
            .bind(&self.assumed)
            .bind(&self.format)
    }
}

impl<'a> Messages<'a> {
    fn push(&mut self, sender: Option<(&'a str, i32)>, messages: &'a [crate::model::mailbox::NewMessage]) {
        for message in messages {
            self.sender.push(sender.map(|sender| sender.0));
            self.number.push(sender.map(|sender| sender.1));
            self.id.push(&message.id);
            self.destination.push(&message.destination);
            self.topic.push(&message.topic);
            self.value.push(&message.value);
            self.format.push(message.format.name());
        }
    }
}
