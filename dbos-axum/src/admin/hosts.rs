//! For which hosts the routes answer.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;

#[derive(Clone, Debug)]
pub(super) enum Hosts {
    Any,
    /// Loopback, and these.
    Named(Vec<String>),
}

impl Default for Hosts {
    fn default() -> Self {
        Self::Named(Vec::new())
    }
}

impl Hosts {
    pub(super) fn add(&mut self, names: impl Iterator<Item = String>) {
        if let Self::Named(named) = self {
            named.extend(names);
        }
    }

    /// Whether all hosts that the request names are among them. A browser always names one.
    pub(super) fn answer_for(&self, parts: &Parts) -> bool {
        let Self::Named(named) = self else { return true };
        let known =
            |host: &str| is_loopback(host) || named.iter().any(|name| name.eq_ignore_ascii_case(host));
        let in_headers = parts.headers.get_all(HOST).iter().all(|value| {
            let authority = value.to_str().ok().and_then(|text| text.parse::<Authority>().ok());
            authority.is_some_and(|authority| !authority.as_str().contains('@') && known(authority.host()))
        });
        in_headers && parts.uri.host().is_none_or(known)
    }
}

fn is_loopback(host: &str) -> bool {
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || v6.and_then(|host| host.parse::<Ipv6Addr>().ok()).is_some_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn answers(hosts: &Hosts, uri: &str, headers: &[&str]) -> bool {
        let mut request = Request::builder().uri(uri);
        for host in headers {
            request = request.header(HOST, *host);
        }
        hosts.answer_for(&request.body(()).unwrap().into_parts().0)
    }

    // S23
    #[test]
    fn a_foreign_name_is_not_answered_for() {
        let mut hosts = Hosts::default();
        let cases: [(&str, &[&str], bool); 16] = [
            ("/", &[], true),
            ("/", &["localhost"], true),
            ("/", &["LocalHost:3000"], true),
            ("/", &["127.0.0.1:80"], true),
            ("/", &["127.8.9.1"], true),
            ("/", &["[::1]:3000"], true),
            ("/", &["evil.example"], false),
            ("/", &["localhost.evil.example"], false),
            ("/", &["127.0.0.1.evil.example"], false),
            ("/", &["0.0.0.0"], false),
            ("/", &["[::2]"], false),
            ("/", &["localhost@evil.example"], false),
            ("/", &["evil.example@localhost"], false),
            ("/", &["localhost", "evil.example"], false),
            ("/", &["\u{e9}"], false),
            ("http://evil.example/", &["localhost"], false),
        ];
        for (uri, headers, expected) in cases {
            assert_eq!(answers(&hosts, uri, headers), expected, "{uri} {headers:?}");
        }
        hosts.add(["Ops.example.com".to_owned()].into_iter());
        assert!(answers(&hosts, "/", &["ops.example.com:8443"]) && answers(&hosts, "/", &["localhost"]));
        assert!(!answers(&hosts, "/", &["www.ops.example.com"]));
        assert!(answers(&Hosts::Any, "/", &["evil.example"]));
    }
}
