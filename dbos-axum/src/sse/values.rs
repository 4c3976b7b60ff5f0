//! The values of a workflow's stream as events.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use dbos_runtime::{EncodedStream, EncodedValue, Error, ErrorKind, StreamEnd};
use futures_core::Stream;
use futures_util::StreamExt;

use super::frame;
use super::shape::Shape;
use crate::problem::Problem;
use crate::seen::Seen;

/// What is there already is sent together, up to this.
const TOGETHER: usize = 16 * 1024;
/// A longer text is not copied: the readers of a stream share it.
const SHARED: usize = 4 * 1024;

/// Events, as many in one piece as there are.
pub(super) struct Values {
    reader: EncodedStream,
    /// The offset of the next value.
    next: i64,
    shape: Shape,
    seen: Arc<Seen>,
    ready: VecDeque<Bytes>,
    over: bool,
}

impl Values {
    pub(super) fn new(reader: EncodedStream, next: i64, shape: Shape, seen: Arc<Seen>) -> Self {
        Self { reader, next, shape, seen, ready: VecDeque::new(), over: false }
    }

    /// A cursor to come back with, for a client that has no value yet.
    pub(super) fn cursor_first(mut self) -> Self {
        self.ready.push_back(frame::cursor(self.next));
        self
    }

    /// Adds a value; a long one is given out by itself.
    fn add(&mut self, piece: &mut Vec<u8>, value: EncodedValue) {
        let offset = value.offset();
        let text = match self.shape.apply(&value) {
            None if value.json().len() > SHARED => Bytes::from_owner(value),
            None => {
                frame::value_head(piece, offset);
                piece.extend_from_slice(value.json().as_bytes());
                piece.extend_from_slice(frame::BLANK);
                self.next = next(offset);
                return;
            }
            Some(Ok(text)) => Bytes::from(text),
            Some(Err(problem)) => {
                // The client comes back behind this value: it will not get better.
                self.fail(piece, Some(offset), problem);
                return;
            }
        };
        self.next = next(offset);
        frame::value_head(piece, offset);
        self.ready.push_back(std::mem::take(piece).into());
        self.ready.push_back(text);
        piece.extend_from_slice(frame::BLANK);
    }

    fn end(&mut self, piece: &mut Vec<u8>, end: Option<StreamEnd>) {
        self.over = true;
        if let Some(end) = end {
            piece.extend(frame::end(self.next.saturating_sub(1), end));
        }
    }

    fn failed(&mut self, piece: &mut Vec<u8>, error: Error) {
        self.over = true;
        // The end of the process is not the end of the stream: the client comes back to another one.
        if error.kind() != ErrorKind::ShuttingDown {
            self.fail(piece, None, error.into());
        }
    }

    fn fail(&mut self, piece: &mut Vec<u8>, offset: Option<u64>, problem: Problem) {
        self.over = true;
        piece.extend(frame::error(offset, &problem.within(&self.seen).into_json()));
    }
}

fn next(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX).saturating_add(1)
}

impl Stream for Values {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let this = &mut *self;
        if let Some(piece) = this.ready.pop_front() {
            return Poll::Ready(Some(piece));
        }
        let mut piece = Vec::new();
        while !this.over && this.ready.is_empty() && piece.len() < TOGETHER {
            match this.reader.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(value))) => this.add(&mut piece, value),
                Poll::Ready(Some(Err(error))) => this.failed(&mut piece, error),
                Poll::Ready(None) => {
                    let end = this.reader.end();
                    this.end(&mut piece, end);
                }
                Poll::Pending => break,
            }
        }
        if !piece.is_empty() {
            this.ready.push_back(piece.into());
        }
        match this.ready.pop_front() {
            Some(piece) => Poll::Ready(Some(piece)),
            None if this.over => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}
