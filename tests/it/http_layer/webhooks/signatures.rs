//! Who may deliver: forgeries, replays, mangled headers and bodies.

use dbos_axum::webhooks::Unsigned;
use harness::on_each_backend;

use super::*;

const BODY: &str = r#"{"id":"d-1","what":"add","value":1}"#;
/// The same JSON in another order.
const REORDERED: &str = r#"{"what":"add","value":1,"id":"d-1"}"#;

type Headers = Vec<(&'static str, String)>;

/// All that a forger can do to a delivery, by name.
fn forgeries(sender: Sender) -> Vec<(&'static str, Headers, &'static str)> {
    let good = sender.headers(SECRET, "d-1", NOW, BODY.as_bytes());
    let with = |signature: &str| {
        let mut headers = good.clone();
        headers[0].1 = signature.to_owned();
        headers
    };
    let signature = good[0].1.as_str();
    let at = |seconds: i64| sender.headers(SECRET, "d-1", seconds, BODY.as_bytes());
    let mut forgeries = vec![
        ("nothing", Vec::new(), BODY),
        ("no signature", good[1..].to_vec(), BODY),
        ("an empty signature", with(""), BODY),
        ("a wrong signature", with(&signature.replace(|c: char| c.is_ascii_digit(), "0")), BODY),
        (
            "another key",
            sender.headers("a-secret-of-somebody-else-0123456", "d-1", NOW, BODY.as_bytes()),
            BODY,
        ),
        ("the empty key", sender.headers("", "d-1", NOW, BODY.as_bytes()), BODY),
        ("half of the signature", with(&signature[..signature.len() / 2]), BODY),
        ("all but the end", with(&signature[..signature.len() - 2]), BODY),
        ("more than the signature", with(&format!("{signature}00")), BODY),
        ("reordered JSON", good.clone(), REORDERED),
        ("another body", good.clone(), "{}"),
        ("no body", good.clone(), ""),
    ];
    if sender.has_a_time() {
        forgeries.extend([
            ("stale", at(NOW - 301), BODY),
            ("in the future", at(NOW + 302), BODY),
            ("the least number", at(i64::MIN), BODY),
            ("the greatest number", at(i64::MAX), BODY),
        ]);
        let mut moved = at(NOW - 301);
        for (name, value) in &mut moved {
            if name.ends_with("time") || name.ends_with("timestamp") || name.starts_with("stripe") {
                *value = value.replace(&(NOW - 301).to_string(), &NOW.to_string());
            }
        }
        forgeries.push(("a stale one with another time", moved, BODY));
    }
    forgeries
}

on_each_backend! {
    // S08, S09, S11.
    async fn s08_a_forged_or_stale_delivery_is_refused_in_one_way_and_leaves_nothing(fresh: Fresh) {
        let (dbos, client) = receiving(&fresh).await;
        let mut refused = 0;
        for sender in Sender::ALL {
            let mut bodies = std::collections::BTreeSet::new();
            for (what, headers, body) in forgeries(sender) {
                let response = send(&client, sender, &headers, body.into()).await;
                assert_eq!(response.status, StatusCode::UNAUTHORIZED, "{sender:?}, {what}: {}", response.text());
                is_problem(&response, 401, Some("delivery-unverified"));
                bodies.insert(response.text().to_owned());
                refused += 1;
            }
            assert_eq!(bodies.len(), 1, "{sender:?}: an answer tells what was wrong");
        }
        assert_eq!((refused, fresh.scalar(WORKFLOWS).await), (12 * 4 + 5 * 3, 0));
        for sender in Sender::ALL {
            let good = sender.headers(SECRET, "d-1", NOW, BODY.as_bytes());
            is_accepted(&send(&client, sender, &good, BODY.into()).await, "d-1", false);
            // Another delivery of the same event, within the time that clocks may be apart.
            let again = sender.headers(SECRET, "d-1", NOW - 299, BODY.as_bytes());
            is_accepted(&send(&client, sender, &again, BODY.into()).await, "d-1", true);
        }
        harness::until("all are done", async || {
            fresh.scalar("SELECT count(*) FROM workflow_status WHERE status = 'SUCCESS'").await == 8
        }).await;
        assert_eq!(fresh.scalar(WORKFLOWS).await, 8);
        end(&dbos).await;
    }

    async fn s12_a_delivery_that_is_signed_ambiguously_is_malformed(fresh: Fresh) {
        let (dbos, client) = receiving(&fresh).await;
        for sender in Sender::ALL {
            let good = sender.headers(SECRET, "d-1", NOW, BODY.as_bytes());
            for index in 0..good.len() {
                let mut twice = good.clone();
                twice.push(good[index].clone());
                is_problem(&send(&client, sender, &twice, BODY.into()).await, 400, Some("delivery-invalid"));
            }
        }
        for (sender, separator, rest) in [(Sender::Standard, " ", "v1,AAAA"), (Sender::Stripe, ",", "v1=00")] {
            for (more, status) in [(8, 202), (9, 202), (10, 400), (500, 400)] {
                let mut headers = sender.headers(SECRET, "d-1", NOW, BODY.as_bytes());
                // Stripe's header has the time in it.
                let more = if sender == Sender::Stripe { more - 1 } else { more };
                headers[0].1.push_str(&format!("{separator}{rest}").repeat(more));
                let response = send(&client, sender, &headers, BODY.into()).await;
                assert_eq!(response.status.as_u16(), status, "{sender:?} with {more} more: {}", response.text());
            }
        }
        assert_eq!(fresh.scalar("SELECT count(*) FROM workflow_status WHERE name = 'dbos.webhook'").await, 2);
        end(&dbos).await;
    }

    async fn s12_both_secrets_count_while_one_is_being_replaced(fresh: Fresh) {
        let dbos = builder(&fresh).launch().await.unwrap();
        const OLD: &str = "the-secret-before-this-one-01234";
        let encoded = |secret: &str| senders::base64(secret.as_bytes());
        let scheme = StandardWebhooks::new(encoded(SECRET)).unwrap().also_accept(encoded(OLD)).unwrap();
        let hooks = Webhooks::new(dbos.clone()).source("standard", scheme, meaning);
        let client = client(hooks.clock(|| Timestamp::from_millis(NOW * 1000)));
        let headers = |secret: &str, id: &str| Sender::Standard.headers(secret, id, NOW, BODY.as_bytes());
        let by_both = |id: &str| {
            let mut headers = headers("nobody-has-this-secret-012345678", id);
            headers[0].1 = [headers[0].1.clone(), self::headers_of(OLD, id)].join(" ");
            headers
        };
        for (id, headers, status) in [
            ("d-1", headers(SECRET, "d-1"), 202),
            ("d-2", headers(OLD, "d-2"), 202),
            ("d-3", by_both("d-3"), 202),
            ("d-4", headers("nobody-has-this-secret-012345678", "d-4"), 401),
        ] {
            let response = send(&client, Sender::Standard, &headers, BODY.into()).await;
            assert_eq!(response.status.as_u16(), status, "{id}");
        }
        end(&dbos).await;
    }

    // S11, S13, B13, B14, B19-B22, B26, B28, B29, B32: what is signed and cannot be read.
    async fn s11_an_authentic_delivery_that_cannot_be_read_is_refused(fresh: Fresh) {
        let (dbos, client) = receiving(&fresh).await;
        let (deep, bomb) = (format!("{}{}", "[".repeat(128), "]".repeat(128)), vec![b' '; 1024 * 1024 + 1]);
        let bodies: Vec<(&[u8], u16)> = vec![
            (b"", 400),
            (b" ", 400),
            (b"{", 400),
            (b"{} 1", 400),
            (b"\xef\xbb\xbf{}", 400),
            (b"{\"id\": NaN}", 400),
            (b"{\"id\": \"\\ud800\"}", 400),
            (b"\xff\xfe", 400),
            (deep.as_bytes(), 400),
            // JSON of another shape: the sender cannot tell the two apart.
            (b"null", 400),
            (b"{}", 400),
            (b"{\"id\": \"d-1\", \"what\": 7}", 400),
            (&bomb, 413),
        ];
        for sender in Sender::ALL {
            for (body, status) in &bodies {
                // The bomb is no more than GitHub sends.
                let status = if sender == Sender::GitHub { 400 } else { *status };
                let response = send(&client, sender, &sender.headers(SECRET, "d-1", NOW, body), body.to_vec()).await;
                let text = String::from_utf8_lossy(&body[..body.len().min(20)]);
                assert_eq!(response.status.as_u16(), status, "{sender:?} {text:?}: {}", response.text());
            }
        }
        // The length counts before the signature does.
        is_problem(&send(&client, Sender::Standard, &[], vec![b'x'; 2 * 1024 * 1024]).await, 413, None);
        is_problem(&send(&client, Sender::GitHub, &[], vec![b'x'; 25 * 1024 * 1024 + 1]).await, 413, None);

        let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 64 * 1024]));
        let request = client.post("/in/hooks/stripe").header("content-type", "application/json");
        is_problem(&request.body(axum::body::Body::from_stream(endless)).send().await, 413, None);

        let headers = Sender::Custom.headers(SECRET, "d-1", NOW, BODY.as_bytes());
        let kinds: [&[(&str, &str)]; 5] = [
            &[],
            &[("content-type", "text/plain")],
            &[("content-type", "application/x-www-form-urlencoded")],
            &[("content-type", "application/json; charset=utf-16")],
            &[("content-type", "application/json"), ("content-encoding", "gzip")],
        ];
        for kind in kinds {
            let request = client.post("/in/hooks/custom").body(BODY);
            let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
            let request = kind.iter().fold(request, |request, (name, value)| request.header(name, value));
            is_problem(&request.send().await, 415, None);
        }
        assert_eq!(fresh.scalar(WORKFLOWS).await, 0);
        end(&dbos).await;
    }

    async fn s08_a_source_without_signatures_has_to_be_wanted(fresh: Fresh) {
        let dbos = builder(&fresh).launch().await.unwrap();
        let client = client(Webhooks::new(dbos.clone()).source("custom", Unsigned::i_understand(), meaning));
        let first = send(&client, Sender::Custom, &[], BODY.into()).await;
        let delivery = first.json()["delivery"].as_str().unwrap().to_owned();
        assert_eq!((first.status.as_u16(), delivery.len()), (202, 64));
        is_accepted(&send(&client, Sender::Custom, &[], BODY.into()).await, &delivery, true);
        assert_eq!(send(&client, Sender::Custom, &[], REORDERED.into()).await.json()["duplicate"], false);
        end(&dbos).await;
    }
}

/// The signature alone.
fn headers_of(secret: &str, id: &str) -> String {
    Sender::Standard.headers(secret, id, NOW, BODY.as_bytes())[0].1.clone()
}
