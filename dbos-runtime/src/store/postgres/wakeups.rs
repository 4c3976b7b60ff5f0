//! Hints between processes, over the three shared channels.

mod echoes;

use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Postgres;
use crate::model::write::{Hint, Touched};
use crate::store::wakeups::Wakeups;

pub(super) use self::echoes::Echoes;

const MESSAGES: &str = "dbos_notifications_channel";
const EVENTS: &str = "dbos_workflow_events_channel";
const STREAMS: &str = "dbos_streams_channel";
/// Our own: other SDKs neither send on it nor hear it, and look at their queues once a second.
const QUEUES: &str = "dbos_queues_channel";
/// From one statement with hints to the next. The first hint after a quiet time leaves at once; what comes in while
/// one is under way, or too soon after it, leaves together.
const SPACING: Duration = Duration::from_millis(5);
/// Hints of one statement.
const MOST: usize = 1000;
/// The longest text that NOTIFY takes.
const LONGEST: usize = 7999;
const RECONNECT: Duration = Duration::from_secs(1);

/// Not synced to the disk, which every commit with a NOTIFY would be: what a hint is about is durable already.
const NOTIFY: &str = "\
SELECT pg_notify(c, p)
FROM set_config('synchronous_commit', 'off', true), unnest($1::text[], $2::text[]) AS n(c, p)";

fn channel(touched: &Touched) -> &'static str {
    match touched.hint() {
        Hint::Queue => QUEUES,
        Hint::Stream => STREAMS,
        _ => EVENTS,
    }
}

fn hint(channel: &str) -> (&'static str, Hint) {
    match channel {
        MESSAGES => (MESSAGES, Hint::Message),
        QUEUES => (QUEUES, Hint::Queue),
        STREAMS => (STREAMS, Hint::Stream),
        _ => (EVENTS, Hint::Event),
    }
}

impl Postgres {
    /// Hears what other processes commit, until told to stop. Whatever was missed while the connection was away is
    /// made up for by waking every waiter.
    pub(crate) async fn hear(&self, wakeups: Wakeups, stop: CancellationToken) {
        if !self.listen {
            return;
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                result = self.hear_once(&wakeups) => {
                    if let Err(error) = result {
                        tracing::warn!(error = &error as &dyn std::error::Error, "listening for hints stopped; polling goes on");
                    }
                }
            }
            wakeups.set_heard(false);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RECONNECT) => {}
            }
        }
    }

    async fn hear_once(&self, wakeups: &Wakeups) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.listen_all([MESSAGES, EVENTS, STREAMS, QUEUES]).await?;
        loop {
            // True from the moment that LISTEN holds; what came before is found by the waiters' own look.
            self.echoes.forget();
            wakeups.set_heard(true);
            wakeups.poke_all();
            while let Some(notification) = listener.try_recv().await? {
                let (channel, hint) = hint(notification.channel());
                if !self.echoes.take(channel, notification.payload()) {
                    wakeups.poke(hint, notification.payload().to_owned());
                }
            }
        }
    }

    /// Tells other processes of events, streams and queues; messages have a trigger for that. Ends when the outbox is
    /// closed and empty.
    pub(crate) async fn tell(&self, wakeups: Wakeups, mut outbox: mpsc::Receiver<Touched>) {
        let mut spacing = tokio::time::interval(SPACING);
        spacing.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while let Some(first) = outbox.recv().await {
            if !self.listen {
                continue;
            }
            spacing.tick().await;
            let mut hints = vec![first];
            while hints.len() < MOST
                && let Ok(next) = outbox.try_recv()
            {
                hints.push(next);
            }
            let mut hints: Vec<(&'static str, String)> =
                hints.iter().map(|hint| (channel(hint), hint.payload())).collect();
            hints.retain(|(_, payload)| payload.len() <= LONGEST);
            hints.sort_unstable();
            hints.dedup();
            if wakeups.heard() {
                self.echoes.told(&hints);
            }
            let (channels, payloads): (Vec<&str>, Vec<&str>) =
                hints.iter().map(|(channel, payload)| (*channel, payload.as_str())).unzip();
            let query = sqlx::query(NOTIFY).bind(channels).bind(payloads);
            if let Err(error) = self.ask(async |c| query.execute(c).await).await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "hints were not sent; their readers poll"
                );
                self.echoes.forget();
                // What another process told meanwhile may have been taken for the echo of one of these.
                for (channel, payload) in hints {
                    wakeups.poke(hint(channel).1, payload);
                }
            }
        }
    }
}
