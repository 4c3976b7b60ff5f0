//! What a function is registered under.

use crate::error::Result;
use crate::limits;

/// A name for a function, with what else it is registered under. A plain text is one too.
///
/// ```
/// # use dbos_runtime::{Ctx, Dbos, Error, Registration};
/// let builder = Dbos::builder("office")
///     .register_fn("open", async |_ctx: Ctx, _: ()| Ok::<_, Error>(()))
///     .register_fn(Registration::named("close").roles(["janitor", "admin"]), async |ctx: Ctx, _: ()| {
///         Ok::<_, Error>(ctx.assumed_role() == Some("janitor"))
///     });
/// # drop(builder);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    pub(crate) name: String,
    pub(crate) class: Option<String>,
    pub(crate) instance: Option<String>,
    pub(crate) roles: Vec<String>,
    pub(crate) fingerprint: &'static str,
}

impl Registration {
    /// A function of that name, which anybody may start.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), class: None, instance: None, roles: Vec::new(), fingerprint: "" }
    }

    /// The class whose method it is, for programs in languages that have some. A start that names another class finds
    /// it all the same, unless that one has a method of the same name.
    #[must_use]
    pub fn class(self, class: impl Into<String>) -> Self {
        Self { class: Some(class.into()), ..self }
    }

    /// The configured instance to which it belongs: the same name may be registered once for each.
    #[must_use]
    pub fn instance(self, instance: impl Into<String>) -> Self {
        Self { instance: Some(instance.into()), ..self }
    }

    /// The roles of which its user must have one. Every execution is asked, in any process; a workflow that is refused
    /// ends with [`ErrorKind::NotAuthorized`](crate::ErrorKind::NotAuthorized).
    #[must_use]
    pub fn roles<R: Into<String>>(self, roles: impl IntoIterator<Item = R>) -> Self {
        Self { roles: roles.into_iter().map(Into::into).collect(), ..self }
    }

    pub(crate) fn check(&self) -> Result<()> {
        limits::name("workflow name", &self.name)?;
        self.class.iter().try_for_each(|class| limits::name("class name", class))?;
        self.instance.iter().try_for_each(|instance| limits::name("instance name", instance))?;
        self.roles.iter().try_for_each(|role| limits::text("role", role))
    }

    /// How it is named in messages.
    pub(crate) fn title(name: &str, class: Option<&str>, instance: Option<&str>) -> String {
        let of = |what: &str, text: Option<&str>| text.map(|text| format!(", {what} {text:?}"));
        [Some(format!("{name:?}")), of("class", class), of("instance", instance)]
            .into_iter()
            .flatten()
            .collect()
    }
}

impl<T: AsRef<str> + ?Sized> From<&T> for Registration {
    fn from(name: &T) -> Self {
        Self::named(name.as_ref())
    }
}

impl From<String> for Registration {
    fn from(name: String) -> Self {
        Self::named(name)
    }
}
