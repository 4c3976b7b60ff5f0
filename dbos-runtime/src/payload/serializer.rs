//! The application's own stored form of values, around the JSON.

use std::fmt;
use std::sync::Arc;

use super::{Format, PORTABLE, panicked};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;

/// The formats of the SDKs, which no serializer may be named after.
const TAKEN: [&str; 7] =
    ["portable_json", "py_pickle", "js_superjson", "DBOS_JSON", "DBOS_GOB", "java_jackson", "rust_serde"];

type Refusal = Box<dyn std::error::Error + Send + Sync>;

/// How an application stores its values, where plain JSON is not enough: encrypted, or compressed.
///
/// What is given to [`encode`](Self::encode) is the JSON that would be stored otherwise. Its result lies in the
/// database with the serializer's name beside it, and only a program that has a serializer of this name can read it.
/// Values that are portable, because they were written so or come from a program in another language, are read as ever.
///
/// Both directions are called often and from asynchronous code: they should be quick and not block.
///
/// # Examples
///
/// ```
/// use std::error::Error;
///
/// use dbos_runtime::{Dbos, Serializer};
///
/// struct Reversed;
///
/// impl Serializer for Reversed {
///     fn name(&self) -> &str {
///         "reversed"
///     }
///
///     fn encode(&self, json: &str) -> Result<String, Box<dyn Error + Send + Sync>> {
///         Ok(json.chars().rev().collect())
///     }
///
///     fn decode(&self, text: &str) -> Result<String, Box<dyn Error + Send + Sync>> {
///         Ok(text.chars().rev().collect())
///     }
/// }
///
/// let builder = Dbos::builder("shop").serializer(Reversed);
/// # drop(builder);
/// ```
pub trait Serializer: Send + Sync + 'static {
    /// The name that is stored beside every value: 1 to 64 characters, and none of the names of the SDKs' own formats.
    /// It stays the same as long as values of it are stored.
    fn name(&self) -> &str;

    /// The stored form of a value's JSON.
    ///
    /// # Errors
    ///
    /// When it cannot be made; then nothing is stored.
    fn encode(&self, json: &str) -> std::result::Result<String, Refusal>;

    /// The JSON of a stored form.
    ///
    /// # Errors
    ///
    /// When it is none of this serializer's.
    fn decode(&self, text: &str) -> std::result::Result<String, Refusal>;
}

/// The configured serializer, if there is one. Without one, everything passes untouched.
#[derive(Clone, Default)]
pub(crate) struct Codec {
    custom: Option<Arc<Custom>>,
}

/// One serializer with its name.
pub(crate) struct Custom {
    name: Arc<str>,
    serializer: Box<dyn Serializer>,
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Codec").field(&self.custom.as_ref().map(|custom| &custom.name)).finish()
    }
}

impl Codec {
    pub(crate) fn new(serializer: impl Serializer) -> Self {
        let name = serializer.name().into();
        Self { custom: Some(Arc::new(Custom { name, serializer: Box::new(serializer) })) }
    }

    pub(crate) fn custom(&self) -> Option<&Custom> {
        self.custom.as_deref()
    }

    pub(crate) fn check(&self) -> Result<()> {
        let Some(custom) = &self.custom else { return Ok(()) };
        limits::text("serializer name", &custom.name)?;
        if custom.name.chars().count() > 64 {
            return Err(Error::invalid("a serializer's name must have at most 64 characters"));
        }
        if TAKEN.contains(&&*custom.name) {
            let name = &custom.name;
            return Err(Error::invalid(format!("{name:?} is the name of an SDK's own format")));
        }
        Ok(())
    }

    /// The stored form of one value.
    pub(crate) fn seal_text(&self, text: &mut String, format: &mut Format) -> Result<()> {
        self.custom.as_ref().map_or(Ok(()), |custom| custom.seal(text, format))
    }

    /// The JSON of a value, where it lies in the serializer's form. Any other form, and what the serializer cannot read,
    /// stays as it is, under its name: whoever needs the value finds that it cannot be read.
    pub(crate) fn open(&self, text: Option<&mut String>, format: &mut Option<String>) {
        if let (Some(custom), Some(text)) = (&self.custom, text) {
            custom.open(text, format);
        }
    }
}

/// A panic of the application's code is a refusal: it must not end a task that serves everybody.
fn caught<T>(call: impl FnOnce() -> std::result::Result<T, Refusal>) -> std::result::Result<T, Refusal> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(call))
        .unwrap_or_else(|panic| Err(panicked(&*panic, "the serializer").into()))
}

impl Custom {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn seal(&self, text: &mut String, format: &mut Format) -> Result<()> {
        if matches!(format, Format::Default) {
            *text = self.encode(text)?;
            *format = Format::Custom(Arc::clone(&self.name));
        }
        Ok(())
    }

    pub(crate) fn encode(&self, json: &str) -> Result<String> {
        caught(|| self.serializer.encode(json)).map_err(|error| {
            let message = format!("the serializer {:?} cannot store a value: {error}", self.name);
            Error::new(ErrorKind::Serialization, message)
        })
    }

    pub(crate) fn open(&self, text: &mut String, format: &mut Option<String>) {
        if !matches!(format.as_deref(), None | Some("")) && format.as_deref() != Some(&*self.name) {
            return;
        }
        match caught(|| self.serializer.decode(text)) {
            Ok(json) => {
                *text = json;
                *format = Some(PORTABLE.to_owned());
            }
            Err(error) => {
                tracing::warn!(
                    serializer = &*self.name,
                    error = &*error as &dyn std::error::Error,
                    "a stored value cannot be read"
                );
                *format = Some((*self.name).to_owned());
            }
        }
    }
}
