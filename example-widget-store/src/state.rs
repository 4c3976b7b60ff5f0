//! The shop, put together: database, tables, workflows.

use std::sync::Arc;

use dbos_runtime::{Datasource, Dbos};

use crate::db::{Db, migrate};
use crate::error::StartError;
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
}

impl AppState {
    /// Opens the database and goes on with the purchases that were interrupted.
    ///
    /// # Errors
    ///
    /// The database cannot be opened, or not be used.
    pub async fn open(settings: Settings) -> Result<Self, StartError> {
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
            .launch()
            .await?;
        Ok(Self { dbos, db, settings: Arc::new(settings) })
    }
}
