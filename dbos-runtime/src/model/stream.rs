//! Streams: values that a workflow appends under a key, numbered from 0 without gaps.

use std::sync::OnceLock;

use serde::de::IgnoredAny;
use serde_json::Value;

use crate::model::mailbox::Stored;
use crate::model::status::WorkflowStatus;
use crate::payload::Format;

/// The JSON that closes a stream, the same in every SDK.
pub(crate) const CLOSED: &str = "\"__DBOS_STREAM_CLOSED__\"";
/// Values of one look.
pub(crate) const PAGE: u32 = 100;

/// A value to append. Its offset is made with its row.
#[derive(Clone, Debug)]
pub(crate) struct NewStreamValue {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) format: Format,
}

/// How a stream ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct StreamEnd {
    /// Whether the workflow closed it; if not, it ended with its workflow.
    pub closed: bool,
    /// Where the workflow stood then; nothing for a status that this version does not know.
    pub status: Option<WorkflowStatus>,
}

/// What one look at a stream found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StreamRun {
    /// The offset of the first value, whether it is there or not.
    pub(crate) from: i64,
    /// The values from there on without a gap, up to the end of the page or of the stream.
    pub(crate) values: Vec<Stored>,
    /// Whether the mark that closes the stream follows the last value.
    pub(crate) closed: bool,
    /// Whether there is room for no more: the next look may find values.
    pub(crate) full: bool,
    /// Where the workflow stood when this was read; nothing for a status that is not known.
    pub(crate) status: Option<WorkflowStatus>,
    /// The values that are not yet JSON on one line, as that; made for the first reader who asks, and for all.
    lines: OnceLock<Vec<Option<Box<str>>>>,
}

impl StreamRun {
    /// Of the rows from an offset on, in order, the run that begins there. What follows a gap or the closing mark is
    /// not read.
    pub(crate) fn of(from: i64, limit: u32, status: &str, rows: Vec<(i64, Stored)>) -> Self {
        let status = WorkflowStatus::from_text(status);
        let full = rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        let lines = OnceLock::new();
        let mut page = Self { from, values: Vec::new(), closed: false, full, status, lines };
        for ((offset, stored), expected) in rows.into_iter().zip(from..) {
            if offset != expected {
                page.full = false;
                break;
            }
            if closes(&stored) {
                page.closed = true;
                page.full = false;
                break;
            }
            page.values.push(stored);
        }
        page
    }

    /// Whether the workflow had ended when this was read.
    pub(crate) fn ended(&self) -> bool {
        self.status.is_none_or(WorkflowStatus::is_terminal)
    }

    /// The end that follows the last value, when one does.
    pub(crate) fn end(&self) -> StreamEnd {
        StreamEnd { closed: self.closed, status: self.status }
    }

    /// A value as JSON on one line.
    pub(crate) fn line(&self, index: usize) -> Option<&str> {
        let lines =
            self.lines.get_or_init(|| self.values.iter().map(|stored| one_line(&stored.value)).collect());
        let stored = self.values.get(index)?;
        Some(lines.get(index)?.as_deref().unwrap_or(&stored.value))
    }

    /// The offset after the last value.
    pub(crate) fn next(&self) -> i64 {
        self.from.saturating_add(i64::try_from(self.values.len()).unwrap_or(i64::MAX))
    }
}

/// A text as JSON on one line, unless it is that as it stands. What is no JSON becomes a string.
fn one_line(text: &str) -> Option<Box<str>> {
    if serde_json::from_str::<IgnoredAny>(text).is_err() {
        return Some(Value::from(text).to_string().into());
    }
    // In JSON these stand between tokens only.
    let breaks = ['\n', '\r'];
    text.contains(breaks).then(|| text.replace(breaks, " ").into())
}

/// The offset that follows the last row of a stream; the mark that closes it stands there itself.
pub(crate) fn after(last: i64, stored: &Stored) -> i64 {
    if closes(stored) { last } else { last.saturating_add(1) }
}

/// Whether this is the closing mark: ours, or as an older TypeScript wrote it.
fn closes(stored: &Stored) -> bool {
    let text = stored.value.trim();
    match stored.serialization.as_deref() {
        None | Some("portable_json") => text == CLOSED,
        Some("js_superjson") => {
            let inner = text.strip_prefix("{\"json\":").and_then(|rest| rest.strip_suffix('}'));
            inner == Some(CLOSED)
        }
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Stored {
        Stored { value: text.to_owned(), serialization: Some("portable_json".to_owned()) }
    }

    #[test]
    fn a_page_is_the_run_without_a_gap_up_to_the_closing_mark() {
        // Rows by offset, limit; then how many values, whether closed, whether full.
        type Case = (&'static [i64], Option<usize>, u32, usize, bool, bool);
        let cases: [Case; 7] = [
            (&[], None, 3, 0, false, false),
            (&[5, 6], None, 3, 2, false, false),
            (&[5, 6, 7], None, 3, 3, false, true),
            (&[6, 7, 8], None, 3, 0, false, false),
            (&[5, 7, 8], None, 3, 1, false, false),
            (&[5, 6, 7], Some(1), 3, 1, true, false),
            (&[5, 6, 7], Some(0), 3, 0, true, false),
        ];
        for (offsets, mark, limit, values, closed, full) in cases {
            let row =
                |(n, offset): (usize, &i64)| (*offset, value(if mark == Some(n) { CLOSED } else { "1" }));
            let page = StreamRun::of(5, limit, "PENDING", offsets.iter().enumerate().map(row).collect());
            assert_eq!((page.values.len(), page.closed, page.full), (values, closed, full), "{offsets:?}");
            assert_eq!(page.next(), 5 + i64::try_from(values).unwrap());
            assert!(!page.ended());
        }
    }

    #[test]
    fn a_page_says_whether_the_producer_can_still_write() {
        for (status, ended) in
            [("ENQUEUED", false), ("DELAYED", false), ("CANCELLED", true), ("SUCCESS", true)]
        {
            assert_eq!(StreamRun::of(0, 1, status, Vec::new()).ended(), ended, "{status}");
        }
    }

    #[test]
    fn every_value_is_given_as_json_on_one_line() {
        let cases = [
            ("{\"a\":1}", "{\"a\":1}"),
            ("12345678901234567890123", "12345678901234567890123"),
            ("\"\u{2028}\u{85}\"", "\"\u{2028}\u{85}\""),
            ("[1,\r\n 2]\n", "[1,   2] "),
            ("\"a\nb\"", r#""\"a\nb\"""#),
            ("gASVBQ==", "\"gASVBQ==\""),
            ("a\0\r\nid: 7", r#""a\u0000\r\nid: 7""#),
            ("", "\"\""),
        ];
        let rows = (0..).zip(cases).map(|(offset, (text, _))| (offset, value(text))).collect();
        let run = StreamRun::of(0, 100, "PENDING", rows);
        for (index, (text, line)) in cases.into_iter().enumerate() {
            assert_eq!(run.line(index), Some(line), "{text:?}");
            assert!(serde_json::from_str::<Value>(line).is_ok());
        }
        assert_eq!(run.line(cases.len()), None);
    }

    #[test]
    fn the_closing_mark_of_older_typescript_counts() {
        let stored = |text: &str, format: &str| Stored {
            value: text.to_owned(),
            serialization: Some(format.to_owned()),
        };
        assert!(closes(&stored("{\"json\":\"__DBOS_STREAM_CLOSED__\"}", "js_superjson")));
        assert!(!closes(&stored(CLOSED, "py_pickle")));
        assert!(!closes(&stored("\"__DBOS_STREAM_CLOSED__ \"", "portable_json")));
    }
}
