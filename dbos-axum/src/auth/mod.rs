//! Ready extractors that say who is asking.

mod anyone;
mod basic;
mod bearer;
mod secrets;

pub use anyone::AllowAnyone;
pub use basic::{Basic, Passwords};
pub use bearer::{BearerToken, Tokens};
pub use secrets::InvalidSecret;

use http::HeaderValue;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::request::Parts;

use crate::problem::{self, Problem};
use crate::seen::Seen;

/// What follows the scheme in the request's one `Authorization` header.
fn credentials<'p>(parts: &'p Parts, scheme: &str) -> Option<&'p str> {
    let mut values = parts.headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    // Two of them may be read differently by a proxy in front.
    let (given, rest) = value.split_once(' ').filter(|_| values.next().is_none())?;
    given.eq_ignore_ascii_case(scheme).then(|| rest.trim_start_matches(' '))
}

/// 401, which says how to authenticate and not what was wrong.
fn refused(parts: &Parts, challenge: &'static str) -> Problem {
    let problem = Problem::of(problem::UNAUTHENTICATED).within(&Seen::of(parts));
    problem.with_header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}
