//! Creates the database that holds the system schema.

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};

use super::schema::quote;
use crate::store::migrate::MigrateError;

/// Creates the database that `options` name when the server does not have it, by way of its database
/// `postgres`.
pub(crate) async fn create_database_if_missing(options: &PgConnectOptions) -> Result<(), MigrateError> {
    let database = options.get_database().unwrap_or(options.get_username()).to_owned();
    let missing = match options.connect().await {
        Ok(connection) => return hang_up(connection).await,
        Err(error) => error,
    };
    if !has_code(&missing, &["3D000"]) {
        return Err(MigrateError::Connect { database, source: missing });
    }
    let mut server = match options.clone().database("postgres").connect().await {
        Ok(server) => server,
        Err(source) => return Err(MigrateError::Connect { database, source }),
    };
    let create = format!("CREATE DATABASE {}", quote(&database));
    match sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut server).await {
        Ok(_) => {}
        // A rival was quicker.
        Err(error) if has_code(&error, &["42P04", "23505"]) => {}
        Err(source) => return Err(MigrateError::CreateDatabase { database, source }),
    }
    hang_up(server).await
}

async fn hang_up(connection: PgConnection) -> Result<(), MigrateError> {
    // Nothing depends on the farewell.
    drop(connection.close().await);
    Ok(())
}

fn has_code(error: &sqlx::Error, codes: &[&str]) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| codes.contains(&code.as_ref()))
}
