//! The shop, put together: database, tables, workflows.

use std::sync::Arc;

use axum::extract::FromRef;
use dbos_axum::{Principal, Tokens, webhooks};
use dbos_runtime::{Datasource, Dbos};

use crate::db::{Db, migrate};
use crate::error::StartError;
use crate::secret::Secret;
use crate::settings::Settings;
use crate::workflows::{Shop, checkout::checkout, dispatch::dispatch_order};

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct AppState {
    /// Starts workflows, and talks to them.
    pub dbos: Dbos,
    /// Where products and orders are.
    pub db: Db,
    /// How the shop runs.
    pub settings: Arc<Settings>,
    /// Who may manage the workflows.
    pub operators: Tokens,
    /// What only the payment provider and the shop know.
    pub webhook_secret: Secret,
}

impl FromRef<AppState> for Tokens {
    fn from_ref(state: &AppState) -> Self {
        state.operators.clone()
    }
}

impl AppState {
    /// Opens the database and goes on with the purchases that were interrupted.
    ///
    /// # Errors
    ///
    /// The database cannot be opened, or not be used.
    pub async fn open(settings: Settings) -> Result<Self, StartError> {
        let operators = match &settings.admin_token {
            Some(token) => Tokens::new().add(Principal::new("operator"), token.reveal())?,
            None => Tokens::new(),
        };
        let webhook_secret = settings.webhook_secret.clone().unwrap_or_else(|| {
            tracing::info!("payment messages are signed with a secret made up for this run");
            Secret::webhook()
        });
        sqlx::any::install_default_drivers();
        let url = &settings.database_url;
        migrate::create_database(url)
            .await
            .map_err(|error| StartError::Database(settings.database(), error))?;
        let db = Datasource::connect(url).await?;
        // Before the launch: recovered purchases use the tables at once.
        migrate::run(&db).await.map_err(|error| StartError::Tables(settings.database(), error))?;
        let shop = Shop { db: db.clone(), payment_timeout: settings.payment_timeout, tick: settings.tick };
        let dbos = Dbos::builder("widget-store")
            .database_url(url)
            .state(shop)
            .register(checkout)
            .register(dispatch_order)
            .register(webhooks::inbox())
            .launch()
            .await?;
        Ok(Self { dbos, db, settings: Arc::new(settings), operators, webhook_secret })
    }
}
