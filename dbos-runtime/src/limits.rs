//! The rules for text and numbers, the same on both backends, checked before anything is sent.

use std::time::Duration;

use crate::error::{Error, Result};

/// Bytes of an id, a topic or a key. The schema's primary keys and its NOTIFY trigger both have a limit of their own,
/// which depends on the content; this one does not.
pub(crate) const TEXT_BYTES: usize = 512;
/// Bytes of a name: workflow, step, application version, executor.
pub(crate) const NAME_BYTES: usize = 256;
/// Bytes of a workflow's attributes, as JSON.
pub(crate) const ATTRIBUTE_BYTES: usize = 64 * 1024;
/// The longest wait that can be asked for: a hundred years.
pub(crate) const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// An id, a topic, an event key: one to [`TEXT_BYTES`] bytes.
pub(crate) fn text(field: &str, value: &str) -> Result<()> {
    bounded(field, value, TEXT_BYTES)
}

/// A name: one to [`NAME_BYTES`] bytes.
pub(crate) fn name(field: &str, value: &str) -> Result<()> {
    bounded(field, value, NAME_BYTES)
}

/// An application's name: 3 to 256 of `a-z`, `0-9`, `-` and `_`, as every SDK demands.
pub(crate) fn application(value: &str) -> Result<()> {
    let fits = (3..=256).contains(&value.len());
    let plain = value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if fits && plain {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "application name {value:?} must be 3 to 256 characters of a-z, 0-9, '-' and '_'"
    )))
}

/// A wait: at most [`LONGEST`].
pub(crate) fn duration(field: &str, value: Duration) -> Result<()> {
    if value > LONGEST {
        return Err(Error::invalid(format!("{field} of {} s is longer than 100 years", value.as_secs())));
    }
    Ok(())
}

/// A database's own limit for a statement: 1 ms to 24 days, in whole milliseconds.
pub(crate) fn statement_timeout(value: Duration) -> Result<()> {
    if !(1..=i32::MAX.unsigned_abs().into()).contains(&value.as_millis()) {
        return Err(Error::invalid(format!("a time limit of {value:?} is not between 1 ms and 24 days")));
    }
    Ok(())
}

/// A text that is only compared with stored ones: whatever another program may have stored, as far as it can be sent.
pub(crate) fn searched(value: &str) -> Result<()> {
    if value.len() > TEXT_BYTES || value.contains('\0') {
        return Err(Error::invalid(format!("a text to search for has NUL, or more than {TEXT_BYTES} bytes")));
    }
    Ok(())
}

fn bounded(field: &str, value: &str, most: usize) -> Result<()> {
    let why = if value.is_empty() {
        "must not be empty".to_owned()
    } else if value.len() > most {
        format!("has {} bytes; the limit is {most}", value.len())
    } else if value.chars().any(char::is_control) {
        "must not contain control characters".to_owned()
    } else if value.trim() != value {
        "must not start or end with white space".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!("{field} {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_refused_for_the_reason_that_is_named() {
        let cases = [
            ("", "empty"),
            (" a", "white space"),
            ("a ", "white space"),
            ("   ", "white space"),
            ("a\0b", "control"),
            ("a\nb", "control"),
            ("\u{85}", "control"),
        ];
        for (value, why) in cases {
            let error = text("topic", value).unwrap_err().to_string();
            assert!(error.contains(why), "{value:?}: {error}");
        }
        assert!(text("topic", &"é".repeat(256)).is_ok());
        assert!(text("topic", &"é".repeat(257)).is_err());
        assert!(text("topic", "a::b'; DROP TABLE x; --").is_ok());
    }

    #[test]
    fn application_names_follow_the_shared_rule() {
        for good in ["abc", "widget-store", "a_1"] {
            assert!(application(good).is_ok(), "{good}");
        }
        for bad in ["", "ab", "Widget", "a b c", "é23"] {
            assert!(application(bad).is_err(), "{bad}");
        }
    }
}
