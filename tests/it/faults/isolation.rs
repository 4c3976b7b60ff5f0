//! A write that the database refuses is nobody else's trouble.

use dbos_runtime::ErrorKind;
use futures_util::future::join_all;
use harness::on_each_backend;

use super::*;

on_each_backend! {
    async fn a_refused_write_fails_alone_among_fifty(fresh: Fresh) {
        let (_site, builder) = site(&fresh, None).await;
        let dbos = builder.journal_lanes(1).launch().await.unwrap();
        let there = dbos.start(inbox, "t".to_owned()).id("there").await.unwrap();
        let sends = (0..50).map(|n| {
            let to = if n == 25 { id("missing") } else { there.id().clone() };
            dbos.send(&to, &n).topic("other").into_future()
        });
        let sent = join_all(sends).await;
        for (n, sent) in sent.iter().enumerate() {
            match sent {
                Ok(new) => assert!(*new && n != 25, "message {n}"),
                Err(error) => assert_eq!((n, error.kind()), (25, ErrorKind::NonExistentWorkflow), "{error}"),
            }
        }
        assert_eq!(sent.iter().filter(|sent| sent.is_ok()).count(), 49);
        assert_eq!(fresh.scalar("SELECT count(DISTINCT message) FROM notifications").await, 49);
        dbos.shutdown(Duration::ZERO).await;
    }
}
