//! Opens the shop, and closes it when it is told to.

use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use example_widget_store::secret::Secret;
use example_widget_store::settings::{self, Request, Settings, USAGE};
use example_widget_store::{AppState, app};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// How long requests and workflows have to end. A purchase that has not ended by then goes on at the next start.
const DRAIN: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> ExitCode {
    match settings::read(std::env::args().skip(1), |name| std::env::var(name).ok()) {
        Ok(Request::Serve(settings)) => match serve(settings).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(trouble) => {
                eprintln!("example-widget-store: {trouble}");
                ExitCode::FAILURE
            }
        },
        Ok(Request::Help) => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        Err(mistake) => {
            eprint!("example-widget-store: {mistake}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

async fn serve(mut settings: Settings) -> Result<(), Box<dyn Error>> {
    log();
    // Before the launch: a second shop on the same port must not take up the work of the first.
    let listener = listen(&settings.addr).await?;
    let addr = listener.local_addr()?;
    settings = settings.at(addr);
    let made_up = settings.admin_token.is_none().then(Secret::token);
    let welcome = welcome(&settings, made_up.as_ref());
    settings.admin_token = settings.admin_token.or(made_up);
    let state = AppState::open(settings).await?;
    println!("listening on http://{addr}\n\n{welcome}");
    let dbos = state.dbos.clone();
    dbos_axum::serve(listener, app(state)?, dbos).until(dbos_axum::terminated()).drain(DRAIN).await?;
    Ok(())
}

fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,sqlx_core=warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
}

async fn listen(addr: &str) -> Result<TcpListener, String> {
    TcpListener::bind(addr).await.map_err(|error| format!("cannot listen on {addr}: {error}"))
}

/// What to do now.
fn welcome(settings: &Settings, made_up: Option<&Secret>) -> String {
    let (database, url) = (settings.database(), &settings.shop_url);
    let mut text = format!(
        "\
Products, orders and workflows are in {database}.
Open the page in a browser. Or buy a widget from here, as the visitor who knows a secret of 32 characters or more:

  me='Authorization: Bearer think-of-32-characters-or-more-here'
  payment=$(curl -sX POST -H \"$me\" {url}/checkout/my-first-widget)
  curl -X POST {url}/provider/payments/$payment/paid
  curl -H \"$me\" -H 'Prefer: wait=20' {url}/dbos/workflows/$payment/events/order_id
  curl -N -H \"$me\" {url}/dbos/workflows/$payment::dispatch/streams/progress
"
    );
    if settings.crash {
        text += &format!(
            "\nCrash it on the way, and start it again:\n\n  curl -X POST {url}/crash_application\n"
        );
    }
    if let Some(token) = made_up {
        let token = token.reveal();
        text += &format!(
            "
Manage the workflows with the token of this run (WIDGET_ADMIN_TOKEN sets one that stays):

  curl -X POST --json '{{}}' -H 'Authorization: Bearer {token}' {url}/admin/workflows
"
        );
    }
    text
}
