//! `Prefer: wait=10` (RFC 7240): how long a client would like to wait for a result.

use std::time::Duration;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response};

use crate::problem::{self, Problem};
use crate::seen::Seen;

const PREFER: HeaderName = HeaderName::from_static("prefer");
pub(crate) const APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Below the patience of usual clients and proxies, which give up after 30 or 60 seconds.
const LONGEST: Duration = Duration::from_secs(25);

/// How long the client prefers to wait, from the header `Prefer`.
///
/// `wait=10` waits up to ten seconds, and never more than 25. Without the header, and with `respond-async` alone, there
/// is no wait. Preferences of other names are ignored; a `wait` that is no whole number of seconds is answered with 400.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use dbos_axum::PreferWait;
///
/// // A handler that waits a little for clients that did not say.
/// let wait = PreferWait::default().or(Duration::from_secs(5));
/// assert_eq!(wait.duration(), Duration::from_secs(5));
/// assert_eq!(PreferWait::up_to(Duration::from_secs(3600)).duration(), Duration::from_secs(25));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PreferWait {
    asked: Option<u64>,
    respond_async: bool,
    unless_asked: Duration,
}

impl PreferWait {
    /// A wait that the application decides on, whatever the client prefers.
    pub fn up_to(wait: Duration) -> Self {
        Self::default().or(wait)
    }

    /// The same, but with that wait for a client that has no preference.
    #[must_use]
    pub fn or(self, wait: Duration) -> Self {
        Self { unless_asked: wait, ..self }
    }

    /// How long to wait.
    pub fn duration(&self) -> Duration {
        let wait = match self.asked {
            Some(seconds) => Duration::from_secs(seconds),
            None if self.respond_async => Duration::ZERO,
            None => self.unless_asked,
        };
        wait.min(LONGEST)
    }

    /// The value of `Preference-Applied`, if the client has a preference that was honoured.
    pub(crate) fn applied(&self, waited: bool, pending: bool) -> Option<HeaderValue> {
        let wait = self.asked.filter(|_| waited).map(|_| format!("wait={}", self.duration().as_secs()));
        let text = match (wait, self.respond_async && pending) {
            (Some(wait), true) => format!("respond-async, {wait}"),
            (Some(wait), false) => wait,
            (None, true) => "respond-async".to_owned(),
            (None, false) => return None,
        };
        HeaderValue::try_from(text).ok()
    }

    fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut prefer = Self::default();
        for line in headers.get_all(PREFER) {
            let line = String::from_utf8_lossy(line.as_bytes());
            for preference in outside_quotes(&line, ',') {
                let preference = outside_quotes(preference, ';').next().unwrap_or_default();
                let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
                match name.trim().to_ascii_lowercase().as_str() {
                    "respond-async" => prefer.respond_async = true,
                    // The first of a name counts.
                    "wait" if prefer.asked.is_none() => prefer.asked = Some(seconds(value.trim())?),
                    _ => {}
                }
            }
        }
        Ok(prefer)
    }
}

/// Says in an answer what was done for the client's preference.
pub(crate) fn applied<B>(response: &mut Response<B>, applied: Option<HeaderValue>) {
    if let Some(applied) = applied {
        response.headers_mut().insert(APPLIED, applied);
    }
}

fn seconds(value: &str) -> Result<u64, Problem> {
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        let detail = "The preference `wait` is a whole number of seconds.";
        return Err(Problem::of(problem::INVALID_ARGUMENT).with_detail(detail));
    }
    // All digits: what does not fit is longer than the longest wait.
    Ok(value.parse().unwrap_or(u64::MAX))
}

/// The parts between separators that do not stand in a quoted string.
fn outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character| {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => return character == separator && !quoted,
        }
        false
    })
}

impl<S: Send + Sync> FromRequestParts<S> for PreferWait {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::read(&parts.headers).map_err(|problem| problem.within(&Seen::of(parts)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Result<PreferWait, Problem> {
        let value = |line: &&str| (PREFER, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        PreferWait::read(&lines.iter().map(value).collect())
    }

    #[test]
    fn a_wait_is_read_and_capped() {
        let cases: &[(&[&str], u64, bool)] = &[
            (&[], 0, false),
            (&[""], 0, false),
            (&["wait=10"], 10, false),
            (&["wait = 10"], 10, false),
            (&["Wait=10"], 10, false),
            (&["wait=\"10\""], 10, false),
            (&["wait=0"], 0, false),
            (&["wait=25"], 25, false),
            (&["wait=26"], 25, false),
            (&["wait=99999999999999999999999"], 25, false),
            (&["respond-async, wait=3"], 3, true),
            (&["respond-async", "wait=3"], 3, true),
            (&["respond-async"], 0, true),
            (&["wait=3;foo=bar; baz"], 3, false),
            (&["wait=3, wait=nonsense"], 3, false),
            (&["handling=lenient, return=minimal"], 0, false),
            (&["foo=\"a, wait=9\", wait=2"], 2, false),
            (&["foo=\"a\\\", wait=9\", wait=2"], 2, false),
            (&["foo=\"open, wait=9"], 0, false),
            (&["waits=9"], 0, false),
            (&["é, wait=1"], 1, false),
            (&[",,;;==,"], 0, false),
        ];
        for (lines, seconds, respond_async) in cases {
            let wait = read(lines).unwrap();
            assert_eq!(
                (wait.duration().as_secs(), wait.respond_async),
                (*seconds, *respond_async),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn a_wait_that_is_no_number_of_seconds_is_refused() {
        for value in
            ["", "-1", "NaN", "inf", "1e300", "0.0000001", "1.5", "+1", "ten", "\"\"", "0x10", "1 0", "٣"]
        {
            assert!(read(&[&format!("wait={value}")]).is_err(), "{value:?}");
        }
        assert!(read(&["wait"]).is_err());
    }

    #[test]
    fn what_was_applied_is_said() {
        let cases = [
            ("wait=60", true, true, Some("wait=25")),
            ("wait=7", true, false, Some("wait=7")),
            ("wait=7", false, true, None),
            ("respond-async, wait=7", true, true, Some("respond-async, wait=7")),
            ("respond-async, wait=7", true, false, Some("wait=7")),
            ("respond-async", false, true, Some("respond-async")),
            ("return=minimal", true, false, None),
        ];
        for (prefer, waited, pending, expected) in cases {
            let applied = read(&[prefer]).unwrap().applied(waited, pending);
            assert_eq!(applied.as_ref().and_then(|value| value.to_str().ok()), expected, "{prefer}");
        }
    }

    #[test]
    fn the_applications_wait_is_for_clients_without_a_preference() {
        let five = Duration::from_secs(5);
        assert_eq!(read(&[]).unwrap().or(five).duration(), five);
        assert_eq!(read(&["wait=2"]).unwrap().or(five).duration(), Duration::from_secs(2));
        assert_eq!(read(&["respond-async"]).unwrap().or(five).duration(), Duration::ZERO);
    }
}
