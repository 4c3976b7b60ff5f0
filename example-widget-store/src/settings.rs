//! What can be set, from the environment and the command line.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use sqlx::any::AnyConnectOptions;

use crate::secret::Secret;

/// What `--help` says.
pub const USAGE: &str = "\
A shop whose checkout survives any crash.

Usage: example-widget-store [--no-crash] [--help]

  --no-crash   There is no endpoint that crashes the shop. At other addresses than loopback there is none anyway.
  --help       Show this text.

Environment:
  DBOS_DATABASE_URL         sqlite:FILE or postgres://…     (sqlite:widget_store.sqlite)
  WIDGET_ADDR               where to listen                 (127.0.0.1:8000)
  WIDGET_TICK_MS            a tenth of a dispatch, in ms    (1000)
  WIDGET_PAYMENT_TIMEOUT_S  how long a payment may take     (120)
  WIDGET_ADMIN_TOKEN        the bearer token of /admin      (a new one at each start)
  WIDGET_WEBHOOK_SECRET     whsec_…, of payment messages    (a new one at each start)
  RUST_LOG                  what to log                     (info)
";

/// What the command line asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Open the shop.
    Serve(Settings),
    /// Explain the command line.
    Help,
}

/// Reads the command line and the environment.
///
/// # Errors
///
/// One line about the argument or the variable that makes no sense.
pub fn read(
    arguments: impl IntoIterator<Item = String>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Request, String> {
    let mut settings = Settings::from_env(variable)?;
    for argument in arguments {
        match argument.as_str() {
            "--no-crash" => settings.crash = false,
            "--help" | "-h" => return Ok(Request::Help),
            _ => return Err(format!("unknown argument {argument:?}")),
        }
    }
    Ok(Request::Serve(settings))
}

/// How the shop runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// `sqlite:file` or `postgres://…`.
    pub database_url: String,
    /// Where to listen: `host:port`.
    pub addr: String,
    /// How long one of the ten parts of a dispatch takes.
    pub tick: Duration,
    /// How long a reserved widget waits for its payment.
    pub payment_timeout: Duration,
    /// How long a request waits for a workflow to answer.
    pub patience: Duration,
    /// Whether everybody may crash the shop. At an address that others can reach nobody may.
    pub crash: bool,
    /// Who has this bearer token may manage the workflows. Made up at the start unless set.
    pub admin_token: Option<Secret>,
    /// What the payment provider signs its messages with. Made up at the start unless set.
    pub webhook_secret: Option<Secret>,
    /// Where the payment provider finds the shop: `http://host:port`.
    pub shop_url: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            database_url: "sqlite:widget_store.sqlite".to_owned(),
            addr: "127.0.0.1:8000".to_owned(),
            tick: Duration::from_secs(1),
            payment_timeout: Duration::from_secs(120),
            patience: Duration::from_secs(60),
            crash: true,
            admin_token: None,
            webhook_secret: None,
            shop_url: "http://127.0.0.1:8000".to_owned(),
        }
    }
}

impl Settings {
    /// The defaults, changed by what the environment holds.
    fn from_env(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let given = |name| variable(name).filter(|value| !value.is_empty());
        let mut settings = Self::default();
        if let Some(url) = given("DBOS_DATABASE_URL") {
            settings.database_url = url;
        }
        if let Some(addr) = given("WIDGET_ADDR") {
            settings.addr = addr;
        }
        if let Some(millis) = given("WIDGET_TICK_MS") {
            settings.tick = Duration::from_millis(number("WIDGET_TICK_MS", &millis)?);
        }
        if let Some(seconds) = given("WIDGET_PAYMENT_TIMEOUT_S") {
            settings.payment_timeout = Duration::from_secs(number("WIDGET_PAYMENT_TIMEOUT_S", &seconds)?);
        }
        settings.admin_token = given("WIDGET_ADMIN_TOKEN").map(Secret::new);
        settings.webhook_secret = given("WIDGET_WEBHOOK_SECRET").map(Secret::new);
        Ok(settings)
    }

    /// The same, for a shop that listens at this address.
    pub fn at(self, address: SocketAddr) -> Self {
        let crash = self.crash && address.ip().is_loopback();
        Self { crash, shop_url: format!("http://{address}"), ..self }
    }

    /// The database as it may be shown: without its password.
    pub fn database(&self) -> String {
        let unknown = || "of DBOS_DATABASE_URL".to_owned();
        let Ok(AnyConnectOptions { database_url: mut url, .. }) =
            AnyConnectOptions::from_str(&self.database_url)
        else {
            return unknown();
        };
        match url.scheme() {
            "sqlite" => url.into(),
            _ => url.set_password(None).map_or_else(|()| unknown(), |()| url.into()),
        }
    }
}

/// A number greater than zero.
fn number(name: &str, value: &str) -> Result<u64, String> {
    let number = value.parse::<NonZeroU32>().map_err(|_| format!("{name} cannot be {value:?}"))?;
    Ok(number.get().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(arguments: &[&str], variables: &[(&str, &str)], expected: Result<Request, &str>) {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let request = read(arguments.iter().map(ToString::to_string), variable);
        assert_eq!(request, expected.map_err(ToOwned::to_owned));
    }

    #[test]
    fn nothing_said_means_the_defaults() {
        check(&[], &[], Ok(Request::Serve(Settings::default())));
        check(&[], &[("WIDGET_ADDR", "")], Ok(Request::Serve(Settings::default())));
    }

    #[test]
    fn the_environment_changes_what_it_names() {
        let variables = [
            ("DBOS_DATABASE_URL", "postgres://host/shop"),
            ("WIDGET_ADDR", "localhost:0"),
            ("WIDGET_TICK_MS", "5"),
            ("WIDGET_PAYMENT_TIMEOUT_S", "3"),
            ("WIDGET_ADMIN_TOKEN", "token"),
            ("WIDGET_WEBHOOK_SECRET", "whsec_"),
        ];
        let expected = Settings {
            database_url: "postgres://host/shop".to_owned(),
            addr: "localhost:0".to_owned(),
            tick: Duration::from_millis(5),
            payment_timeout: Duration::from_secs(3),
            admin_token: Some(Secret::new("token")),
            webhook_secret: Some(Secret::new("whsec_")),
            ..Settings::default()
        };
        check(&[], &variables, Ok(Request::Serve(expected)));
    }

    #[test]
    fn the_crash_button_can_be_taken_away() {
        check(&["--no-crash"], &[], Ok(Request::Serve(Settings { crash: false, ..Settings::default() })));
    }

    #[test]
    fn only_a_shop_that_nobody_else_can_reach_has_the_button() {
        let cases = [
            ("127.0.0.1:80", true, true),
            ("[::1]:80", true, true),
            ("127.0.0.1:80", false, false),
            ("0.0.0.0:80", true, false),
            ("[::]:80", true, false),
            ("10.0.0.7:80", true, false),
        ];
        for (address, wanted, there) in cases {
            let settings = Settings { crash: wanted, ..Settings::default() }.at(address.parse().unwrap());
            assert_eq!((settings.crash, settings.shop_url), (there, format!("http://{address}")));
        }
    }

    #[test]
    fn help_is_given_when_it_is_asked_for() {
        check(&["--no-crash", "--help"], &[], Ok(Request::Help));
    }

    #[test]
    fn a_password_is_not_shown() {
        let cases = [
            ("sqlite:widget_store.sqlite", "sqlite:widget_store.sqlite"),
            ("postgres://me:secret@host:1/shop", "postgres://me@host:1/shop"),
            ("me:secret@host", "of DBOS_DATABASE_URL"),
        ];
        for (database_url, shown) in cases {
            let settings = Settings { database_url: database_url.to_owned(), ..Settings::default() };
            assert_eq!(settings.database(), shown);
        }
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        check(&["--supervise"], &[], Err("unknown argument \"--supervise\""));
        check(&[], &[("WIDGET_TICK_MS", "1s")], Err("WIDGET_TICK_MS cannot be \"1s\""));
        check(&[], &[("WIDGET_TICK_MS", "0")], Err("WIDGET_TICK_MS cannot be \"0\""));
        check(&[], &[("WIDGET_PAYMENT_TIMEOUT_S", "-1")], Err("WIDGET_PAYMENT_TIMEOUT_S cannot be \"-1\""));
    }
}
