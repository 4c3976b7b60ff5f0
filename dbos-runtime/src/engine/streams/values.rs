//! The values of a stream one after another, without a type: what every reader from outside of workflows is made of.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use futures_util::stream::{self, BoxStream, StreamExt};

use super::late;
use super::source::{Next, Source, Value};
use crate::error::{Error, Result};
use crate::limits;
use crate::model::stream::StreamEnd;

/// Set what is to be set before the first poll.
pub(super) struct Values {
    state: State,
    end: Option<StreamEnd>,
}

enum State {
    Built(Result<Source>, Option<Duration>),
    Running(BoxStream<'static, Result<Item>>),
}

enum Item {
    Value(Value),
    End(StreamEnd),
}

impl Values {
    pub(super) fn new(source: Result<Source>) -> Self {
        Self { state: State::Built(source, None), end: None }
    }

    pub(super) fn from(&mut self, offset: u64) {
        if let State::Built(source, _) = &mut self.state {
            *source = taken(source).and_then(|source| source.from(offset));
        }
    }

    pub(super) fn timeout(&mut self, for_each: Duration) {
        if let State::Built(source, timeout) = &mut self.state {
            *source = limits::duration("a stream's time limit", for_each).and(taken(source));
            *timeout = Some(for_each);
        }
    }

    pub(super) fn end(&self) -> Option<StreamEnd> {
        self.end
    }

    pub(super) fn running(&self) -> bool {
        matches!(self.state, State::Running(_))
    }
}

impl Stream for Values {
    type Item = Result<Value>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let State::Built(source, timeout) = &mut self.state {
            let (source, timeout) = (taken(source), *timeout);
            self.state = State::Running(items(source, timeout));
        }
        let State::Running(items) = &mut self.state else {
            return Poll::Ready(None);
        };
        Poll::Ready(match ready!(items.as_mut().poll_next(cx)) {
            Some(Ok(Item::Value(value))) => Some(Ok(value)),
            Some(Ok(Item::End(end))) => {
                self.end = Some(end);
                None
            }
            Some(Err(error)) => Some(Err(error)),
            None => None,
        })
    }
}

/// Takes the source out.
fn taken(source: &mut Result<Source>) -> Result<Source> {
    std::mem::replace(source, Err(Error::invalid("the stream was read")))
}

/// Compiled once, for all types of values.
fn items(source: Result<Source>, timeout: Option<Duration>) -> BoxStream<'static, Result<Item>> {
    let source = match source {
        Ok(source) => source,
        Err(error) => return Box::pin(stream::iter([Err(error)])),
    };
    let items = stream::unfold(Some(source), move |source| async move {
        let mut source = source?;
        match source.next(timeout).await {
            Ok(Next::Value(value)) => Some((Ok(Item::Value(value)), Some(source))),
            Ok(Next::End(end)) => Some((Ok(Item::End(end)), None)),
            Ok(Next::Late) => Some((Err(late()), Some(source))),
            Err(error) => Some((Err(error), None)),
        }
    });
    Box::pin(items.fuse())
}
