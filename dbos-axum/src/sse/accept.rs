//! Which form of a stream a request asks for.

use axum::extract::FromRequestParts;
use http::header::ACCEPT;
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use crate::problem::Problem;
use crate::seen::Seen;

const EVENTS: &str = "text/event-stream";
const JSON: &str = "application/json";

/// What `Accept` asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    /// Server-sent events; for whoever does not say, too.
    Events,
    /// A page.
    Json,
}

impl Format {
    fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        let events = preference(headers, EVENTS, "text/*");
        let json = preference(headers, JSON, "application/*");
        match (events, json) {
            (None, None) => {
                let detail = format!("A stream is `{EVENTS}` or `{JSON}`.");
                Err(Problem::new(StatusCode::NOT_ACCEPTABLE).with_detail(detail))
            }
            (events, json) if json > events => Ok(Self::Json),
            _ => Ok(Self::Events),
        }
    }
}

/// How much a type is wanted: by its weight in thousandths, then by how exactly it is named. Nothing when it is not.
fn preference(headers: &HeaderMap, exact: &str, group: &str) -> Option<(u32, u8)> {
    let mut best: Option<(u8, u32)> = None;
    let mut said = false;
    for range in ranges(headers) {
        said = true;
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let exactness = match name {
            _ if name.eq_ignore_ascii_case(exact) => 3,
            _ if name.eq_ignore_ascii_case(group) => 2,
            "*/*" => 1,
            _ => continue,
        };
        let weight = parts.find_map(weight).unwrap_or(1000);
        // The most exact range counts, whatever the others weigh.
        best = best.max(Some((exactness, weight)));
    }
    match best {
        None if said => None,
        None => Some((1000, 0)),
        Some((_, 0)) => None,
        Some((exactness, weight)) => Some((weight, exactness)),
    }
}

fn ranges(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(ACCEPT).iter().map(|line| line.to_str().unwrap_or("?"));
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|range| !range.is_empty())
}

fn weight(parameter: &str) -> Option<u32> {
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let weight: f32 = value.trim().parse().ok()?;
    // From 0 to 1000, whatever it was.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped before; NaN becomes 0"
    )]
    Some((weight.clamp(0.0, 1.0) * 1000.0) as u32)
}

/// Whether the request takes nothing but events, as that of an `EventSource` does.
pub(crate) fn only_events(headers: &HeaderMap) -> bool {
    let mut ranges = ranges(headers).peekable();
    ranges.peek().is_some()
        && ranges.all(|range| range.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(EVENTS))
}

impl<S: Send + Sync> FromRequestParts<S> for Format {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::read(&parts.headers).map_err(|problem| problem.within(&Seen::of(parts)))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_more_wanted_form_is_given_and_events_to_whoever_does_not_mind() {
        use Format::{Events, Json};
        let cases: &[(&[&str], Option<Format>, bool)] = &[
            (&[], Some(Events), false),
            (&[""], Some(Events), false),
            (&["*/*"], Some(Events), false),
            (&["text/event-stream"], Some(Events), true),
            (&["Text/Event-Stream; charset=utf-8"], Some(Events), true),
            (&["text/event-stream", "text/event-stream;q=0.5"], Some(Events), true),
            (&["text/*"], Some(Events), false),
            (&["application/json"], Some(Json), false),
            (&["application/*"], Some(Json), false),
            (&["application/json, text/plain, */*"], Some(Json), false),
            (&["application/json, text/event-stream"], Some(Events), false),
            (&["application/json", "text/event-stream;q=0.9"], Some(Json), false),
            (&["text/event-stream;q=0.2, application/json;q=0.1"], Some(Events), false),
            (&["text/event-stream;q=0, */*"], Some(Json), false),
            (&["application/json;q=0"], None, false),
            (&["text/html, application/xhtml+xml"], None, false),
            (&["text/html"], None, false),
            (&["text/html, */*;q=0.1"], Some(Events), false),
            (&["application/json;q=NaN"], None, false),
            (&["nonsense, ,;;"], None, false),
        ];
        for (lines, expected, only) in cases {
            let value = |line: &&str| (ACCEPT, HeaderValue::from_str(line).unwrap());
            let headers: HeaderMap = lines.iter().map(value).collect();
            assert_eq!((Format::read(&headers).ok(), only_events(&headers)), (*expected, *only), "{lines:?}");
        }
    }
}
