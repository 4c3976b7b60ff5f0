//! The bytes of the wire. Only numbers, words of ours and JSON on one line are written here, so nothing from outside
//! can begin an event or a field of its own.

use bytes::Bytes;
use dbos_runtime::StreamEnd;
use serde::Serialize;
use serde_json::Value;

/// The first bytes of every answer: how soon to come back, and a comment that takes the headers through proxies.
pub(super) const PRIMING: Bytes = Bytes::from_static(b"retry: 2000\n: ok\n\n");
/// All of an answer to a browser that had better come back later: anything but 200 would end it for good.
pub(super) const NOT_NOW: Bytes = Bytes::from_static(b"retry: 5000\n: not now\n\n");
/// A comment, for proxies that close what is silent.
pub(super) const KEEP_ALIVE: Bytes = Bytes::from_static(b":\n\n");

/// The end of every event.
pub(super) const BLANK: &[u8] = b"\n\n";

/// All of a value's event up to its text.
pub(super) fn value_head(buffer: &mut Vec<u8>, offset: u64) {
    buffer.extend_from_slice(b"id: ");
    number(buffer, offset);
    buffer.extend_from_slice(b"\ndata: ");
}

/// A cursor alone: no event, but what a client comes back with.
pub(super) fn cursor(next: i64) -> Bytes {
    // There is no value before the first, and `-1.end` would say that its reader has seen the end.
    Bytes::from(if next == 0 { "id: -1.tail\n\n".to_owned() } else { format!("id: {}\n\n", next - 1) })
}

#[derive(Serialize)]
struct Ended {
    #[serde(flatten)]
    how: How,
    last_offset: i64,
}

#[derive(Serialize)]
struct How {
    status: Option<dbos_runtime::WorkflowStatus>,
    reason: &'static str,
}

/// The end of a stream whose last value has that offset.
pub(super) fn end(last: i64, end: StreamEnd) -> Vec<u8> {
    let reason = if end.closed { "closed" } else { "ended" };
    let how = How { status: end.status, reason };
    event(Some(format!("{last}.end")), "end", &Ended { how, last_offset: last })
}

/// The end of a watch.
pub(super) fn watch_end(steps: usize, status: &Value) -> Vec<u8> {
    event(Some(format!("{steps}.end")), "end", &serde_json::json!({"status": status, "reason": "ended"}))
}

/// What went wrong after the headers. With an offset, the client comes back behind that value.
pub(super) fn error(offset: Option<u64>, problem: &Value) -> Vec<u8> {
    // Not `error`: that is the name of the browser's own event.
    event(offset.map(|offset| offset.to_string()), "stream-error", problem)
}

/// An event with a name of ours.
pub(super) fn event(id: Option<String>, name: &'static str, data: &impl Serialize) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(128);
    if let Some(id) = id {
        buffer.extend_from_slice(b"id: ");
        buffer.extend_from_slice(id.as_bytes());
        buffer.push(b'\n');
    }
    buffer.extend_from_slice(b"event: ");
    buffer.extend_from_slice(name.as_bytes());
    buffer.extend_from_slice(b"\ndata: ");
    if let Err(error) = serde_json::to_writer(&mut buffer, data) {
        tracing::error!(%error, "an event cannot be encoded");
        buffer.extend_from_slice(b"null");
    }
    buffer.extend_from_slice(BLANK);
    buffer
}

fn number(buffer: &mut Vec<u8>, mut number: u64) {
    let start = buffer.len();
    loop {
        // A remainder of ten is a digit.
        buffer.push(b'0' + u8::try_from(number % 10).unwrap_or_default());
        number /= 10;
        if number == 0 {
            break;
        }
    }
    if let Some(digits) = buffer.get_mut(start..) {
        digits.reverse();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(bytes: &[u8]) -> &str {
        str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn offsets_are_written_as_numbers() {
        for offset in [0, 7, 10, 4_294_967_296, u64::MAX] {
            let mut buffer = b"x".to_vec();
            value_head(&mut buffer, offset);
            assert_eq!(text(&buffer), format!("xid: {offset}\ndata: "));
        }
        assert_eq!(text(&cursor(0)), "id: -1.tail\n\n");
        assert_eq!(text(&cursor(5)), "id: 4\n\n");
    }

    #[test]
    fn whatever_is_in_an_event_it_stays_one_event() {
        let nasty = "a\r\nb\rc\nd\0e\u{2028}f\u{85}\n\nid: 9\nevent: end\ndata: x";
        let frame = error(Some(3), &json!({"detail": nasty}));
        let frame = text(&frame);
        assert!(frame.starts_with("id: 3\nevent: stream-error\ndata: {"), "{frame}");
        assert_eq!(frame.matches(['\n', '\r']).count(), 4, "{frame}");
        let data = frame.trim_end().rsplit_once("data: ").unwrap().1;
        assert!(data.starts_with('x'), "the hostile text is the last of the data");
        assert!(frame.ends_with("\"}\n\n"));
    }
}
