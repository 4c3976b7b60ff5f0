//! Hot writes as values. Each carries everything that was made outside the retry loop, so applying one twice is the
//! same as applying it once.

use crate::error::Error;
use crate::failpoint::Boundary;
use crate::ids::WorkflowId;
use crate::model::mailbox::{NewEvent, NewMessage, Stored};
use crate::model::step::StepRow;
use crate::model::stream::NewStreamValue;
use crate::model::workflow::{Existing, Fence, NewWorkflow, Queued};
use crate::payload::Format;
use crate::time::Timestamp;

/// One durable fact for the journal.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Start(Box<NewWorkflow>),
    Record(Record),
    Receive(Receive),
    Send(Vec<NewMessage>),
    Outcome(Outcome),
}

/// Steps of one execution with the effects that belong to them: all of it or nothing. Without steps, the effects that a
/// step's body has while it runs.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) fence: Fence,
    /// The step that the effects are of.
    pub(crate) number: i32,
    pub(crate) steps: Vec<StepRow>,
    pub(crate) effects: Effects,
}

/// What a step does besides being recorded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effects {
    pub(crate) events: Vec<NewEvent>,
    pub(crate) messages: Vec<NewMessage>,
    pub(crate) streams: Vec<NewStreamValue>,
}

impl Effects {
    pub(crate) fn event(event: NewEvent) -> Self {
        Self { events: vec![event], ..Self::default() }
    }

    pub(crate) fn message(message: NewMessage) -> Self {
        Self { messages: vec![message], ..Self::default() }
    }

    pub(crate) fn stream(value: NewStreamValue) -> Self {
        Self { streams: vec![value], ..Self::default() }
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn are_none(&self) -> bool {
        self.events.is_empty() && self.messages.is_empty() && self.streams.is_empty()
    }

    /// What a portable workflow publishes and sends is portable too.
    pub(crate) fn make_portable(&mut self) {
        self.events.iter_mut().for_each(|event| event.format = Format::Portable);
        self.messages.iter_mut().for_each(|message| message.format = Format::Portable);
        self.streams.iter_mut().for_each(|value| value.format = Format::Portable);
    }

    fn weight(&self) -> (usize, usize) {
        let rows = self.events.len() * 2 + self.messages.len() + self.streams.len();
        let bytes = self.events.iter().map(|event| event.value.len() * 2 + 64).sum::<usize>()
            + self.messages.iter().map(|message| message.value.len() + 64).sum::<usize>()
            + self.streams.iter().map(|appended| appended.value.len() + 64).sum::<usize>();
        (rows, bytes)
    }

    fn touches(&self, id: &WorkflowId) -> Vec<Touched> {
        let id = id.as_str();
        let events =
            self.events.iter().map(|event| Touched::Event { id: id.to_owned(), key: event.key.clone() });
        let streams = self.streams.iter().map(|appended| Touched::Stream {
            id: id.to_owned(),
            key: appended.key.clone(),
            from: 0,
        });
        events.chain(streams).chain(self.messages.iter().map(Touched::message)).collect()
    }
}

/// Takes the oldest message of a topic and records it as a step; or records that none came in time.
#[derive(Clone, Debug)]
pub(crate) struct Receive {
    pub(crate) fence: Fence,
    pub(crate) number: i32,
    pub(crate) topic: String,
    pub(crate) started: Timestamp,
    pub(crate) completed: Timestamp,
    /// The step that holds the wait's end, recorded by the first attempt.
    pub(crate) deadline: Option<StepRow>,
    /// Whether to record the absence of a message.
    pub(crate) expired: bool,
    /// The step that says that this receive has won a race; recorded with the message, or with its absence.
    pub(crate) victory: Option<Box<StepRow>>,
}

/// How an execution ended: exactly one of the two texts.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) fence: Fence,
    pub(crate) output: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) format: Format,
}

/// What became of one write. A refusal is a value for its caller, never an error for its neighbours.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Receipt {
    /// Applied.
    Done,
    /// A start that found a row in its place.
    Exists(Box<Existing>),
    /// A start that was applied, and whose workflow is not this process's to run any more.
    Moved,
    /// A start whose deduplication id this workflow holds.
    Duplicate(String),
    /// A receive that took a message.
    Received(Stored),
    /// A receive that recorded the absence of one.
    TimedOut,
    /// A receive that found nothing and recorded, at most, its deadline; or a start that was in somebody's way who has
    /// gone since.
    Nothing,
    /// A send; how many of its messages were not there before.
    Sent(usize),
    /// The fence no longer holds; the row's status, if there is a row.
    Lost(Option<String>),
    /// The step number holds another record.
    Taken(Box<StepRow>),
    /// A message for a workflow that does not exist.
    NoDestination,
    /// The caller's patience ended before the write was first sent.
    Expired,
    /// A value has no stored form.
    Unstorable(Error),
    /// The database refuses this write, and would again.
    Rejected(String),
}

impl Write {
    /// The workflow whose order this write keeps: it picks the lane.
    pub(crate) fn workflow(&self) -> &str {
        match self {
            Self::Start(new) => {
                new.parent.as_ref().map_or(new.id.as_str(), |parent| parent.fence.id.as_str())
            }
            Self::Send(messages) => messages.first().map_or("", |message| &message.destination),
            _ => self.fence().map_or("", |fence| fence.id.as_str()),
        }
    }

    /// The ownership that has to hold for this write.
    pub(crate) fn fence(&self) -> Option<&Fence> {
        match self {
            Self::Start(new) => new.parent.as_ref().map(|parent| &parent.fence),
            Self::Record(record) => Some(&record.fence),
            Self::Receive(receive) => Some(&receive.fence),
            Self::Outcome(outcome) => Some(&outcome.fence),
            Self::Send(_) => None,
        }
    }

    /// Rows and bytes, as far as a batch is bounded by them.
    pub(crate) fn weight(&self) -> (usize, usize) {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let step = |step: &StepRow| step.name.len() + text(&step.output) + text(&step.error) + 64;
        match self {
            Self::Start(new) => (2, new.input.len() + 256),
            Self::Record(record) => {
                let (rows, bytes) = record.effects.weight();
                (record.steps.len() + rows, record.steps.iter().map(step).sum::<usize>() + bytes)
            }
            Self::Receive(_) => (4, 320),
            Self::Send(messages) => {
                (messages.len(), messages.iter().map(|message| message.value.len() + 64).sum())
            }
            Self::Outcome(outcome) => (2, text(&outcome.output) + text(&outcome.error) + 64),
        }
    }

    pub(crate) fn boundary(&self) -> Boundary {
        match self {
            Self::Start(new) if new.parent.is_some() => Boundary::Child,
            Self::Start(_) => Boundary::Start,
            Self::Record(record) if !record.effects.messages.is_empty() => Boundary::Message,
            Self::Record(record) if !record.effects.events.is_empty() => Boundary::Event,
            Self::Record(record) if !record.effects.streams.is_empty() => Boundary::Stream,
            Self::Record(_) => Boundary::Step,
            Self::Receive(_) => Boundary::Receive,
            Self::Send(_) => Boundary::Message,
            Self::Outcome(_) => Boundary::Outcome,
        }
    }

    /// The workflows and keys whose waiters want to hear of this write.
    pub(crate) fn touches(&self) -> Vec<Touched> {
        match self {
            Self::Record(record) => record.effects.touches(&record.fence.id),
            Self::Send(messages) => messages.iter().map(Touched::message).collect(),
            Self::Outcome(outcome) => vec![Touched::Ended(outcome.fence.id.clone())],
            Self::Start(new) => match new.queued() {
                Some(Queued { queue, delay_until: None, .. }) => vec![Touched::Queue(queue.clone())],
                _ => Vec::new(),
            },
            Self::Receive(_) => Vec::new(),
        }
    }
}

/// Something that somebody may be waiting for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Touched {
    Message {
        id: String,
        topic: String,
    },
    Event {
        id: String,
        key: String,
    },
    /// A stream; its waiters want the value at an offset.
    Stream {
        id: String,
        key: String,
        from: i64,
    },
    Ended(WorkflowId),
    Queue(String),
}

/// The kinds of hints; all but the last but one have a channel between processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Hint {
    Message,
    Event,
    Stream,
    Ended,
    Queue,
}

impl Touched {
    fn message(message: &NewMessage) -> Self {
        Self::Message { id: message.destination.clone(), topic: message.topic.clone() }
    }

    /// Of two waiters for one stream, the safety net looks for the one that is behind.
    pub(crate) fn widen(&mut self, other: &Self) {
        if let (Self::Stream { from, .. }, Self::Stream { from: other, .. }) = (self, other) {
            *from = (*from).min(*other);
        }
    }

    pub(crate) fn hint(&self) -> Hint {
        match self {
            Self::Message { .. } => Hint::Message,
            Self::Event { .. } => Hint::Event,
            Self::Stream { .. } => Hint::Stream,
            Self::Ended(_) => Hint::Ended,
            Self::Queue(_) => Hint::Queue,
        }
    }

    /// The text that stands for it on a channel. Never taken apart again: ids and topics may hold the separator.
    pub(crate) fn payload(&self) -> String {
        match self {
            Self::Message { id, topic: key } | Self::Event { id, key } | Self::Stream { id, key, .. } => {
                format!("{id}::{key}")
            }
            Self::Ended(id) => id.as_str().to_owned(),
            Self::Queue(queue) => queue.clone(),
        }
    }
}
