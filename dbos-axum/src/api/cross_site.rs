//! What the page of another site makes a browser send with its user's credentials.

use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderName, Uri};

use crate::json;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether a page of another site may have sent it without asking. JSON it sends only after the browser has asked this
/// server for its leave (CORS), and nobody but a browser sends these headers.
pub(super) fn is_forged(parts: &Parts) -> bool {
    !parts.method.is_safe() && !is_from_here(parts) && json::content(&parts.headers).is_err()
}

fn is_from_here(parts: &Parts) -> bool {
    if let Some(site) = parts.headers.get(SEC_FETCH_SITE) {
        return site == "same-origin" || site == "none";
    }
    let Some(origin) = parts.headers.get(ORIGIN) else { return true };
    let origin = Uri::try_from(origin.as_bytes()).ok().and_then(|uri| uri.authority().cloned());
    origin.is_some_and(|origin| Some(&origin) == host(parts).as_ref())
}

fn host(parts: &Parts) -> Option<Authority> {
    let header = || Authority::try_from(parts.headers.get(HOST)?.as_bytes()).ok();
    parts.uri.authority().cloned().or_else(header)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_request_that_another_site_can_make_a_browser_send_is_forged() {
        type Case = (&'static str, &'static [(&'static str, &'static str)], bool);
        let cases: &[Case] = &[
            ("POST", &[], false),
            ("POST", &[("origin", "https://shop.example")], false),
            ("POST", &[("origin", "https://evil.example")], true),
            ("POST", &[("origin", "null")], true),
            ("POST", &[("origin", "https://evil.example"), ("content-type", "application/json")], false),
            ("POST", &[("origin", "https://evil.example"), ("content-type", "text/plain")], true),
            ("POST", &[("sec-fetch-site", "same-origin"), ("origin", "https://shop.example")], false),
            ("POST", &[("sec-fetch-site", "none")], false),
            ("POST", &[("sec-fetch-site", "same-site")], true),
            ("POST", &[("sec-fetch-site", "cross-site")], true),
            ("GET", &[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")], false),
        ];
        for (method, headers, forged) in cases {
            let mut request = Request::builder().method(*method).header("host", "shop.example");
            for (name, value) in *headers {
                request = request.header(*name, *value);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(is_forged(&parts), *forged, "{method} {headers:?}");
        }
    }
}
