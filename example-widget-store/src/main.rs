//! Opens the shop, and closes it when it is told to.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use example_widget_store::settings::{self, Request, Settings, USAGE};
use example_widget_store::{AppState, app};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let request = settings::read(std::env::args().skip(1), |name| std::env::var(name).ok());
    let settings = match request {
        Ok(Request::Serve(settings)) => settings,
        Ok(Request::Help) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(mistake) => {
            eprint!("{mistake}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match serve(settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("example-widget-store: {trouble}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(settings: Settings) -> Result<(), Box<dyn Error>> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let addr = settings.addr.clone();
    let state = AppState::open(settings).await?;
    let listener = TcpListener::bind(&addr).await.map_err(|error| format!("{addr} cannot be listened on: {error}"))?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app(state)).await?;
    Ok(())
}
