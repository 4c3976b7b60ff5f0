//! The widget store as a process of its own, with one customer.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::process::Command;

use crate::Fresh;
use crate::process::{Process, binary};
use crate::web::{self, Answer};

/// How long the shop may take to open.
const SOON: Duration = Duration::from_secs(120);
/// Who buys.
const CUSTOMER: (&str, &str) = ("authorization", "Bearer the-secret-of-the-customer-of-these-tests");

/// A running shop. It is killed when this value is dropped.
#[derive(Debug)]
pub struct Shop {
    /// The shop's process.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Shop {
    /// Starts the shop on that database, on a free port, with a further environment. `None` when it dies before it
    /// listens.
    pub async fn open(fresh: &Fresh, environment: &[(&str, &str)]) -> Option<Self> {
        let mut command = Command::new(binary("WIDGET_STORE_BIN", "example-widget-store"));
        command
            .env("DBOS_DATABASE_URL", fresh.url())
            .env("WIDGET_ADDR", "127.0.0.1:0")
            .env("RUST_LOG", "warn")
            .envs(environment.iter().copied());
        let mut process = Process::spawn(&mut command);
        let line = process.line_unless_it_ends(SOON, |line| line.starts_with("listening on ")).await?;
        let address = line.trim_start_matches("listening on http://").trim().parse().ok()?;
        Some(Self { process, address })
    }

    /// Reserves a widget under that key, and gives the payment id. `None` when the shop dies on the way.
    pub async fn reserve(&self, key: &str) -> Option<String> {
        let reserved = self.post(&format!("/checkout/{key}")).await?;
        assert_eq!(reserved.status, 200, "{}", reserved.body);
        Some(reserved.body)
    }

    /// Pays for what is reserved: tells the provider, who tells the shop. `None` when the shop dies on the way.
    pub async fn pay(&self, payment_id: &str) -> Option<()> {
        let paid = self.post(&format!("/provider/payments/{payment_id}/paid")).await?;
        assert_eq!(paid.status, 202, "{}", paid.body);
        Some(())
    }

    async fn post(&self, path: &str) -> Option<Answer> {
        web::request_with(self.address, "POST", path, &[CUSTOMER]).await.ok()
    }
}
