//! Arguments without a type, for workflows of other languages.

use std::fmt;

use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use super::{decode, encode_input};
use crate::error::Result;

/// The name under which serializers see [`Arguments`], and under which no struct of anybody can be declared.
pub(super) const ENVELOPE: &str = "dbos arguments";

/// An input as any language passes it: arguments by position, then arguments by name.
///
/// Inputs of other types are positional arguments only. Use this one to start a workflow of another language with named
/// arguments, or to accept whatever a workflow is given.
///
/// ```
/// use dbos_runtime::{Arguments, Dbos, Error, WorkflowRef};
/// use serde_json::{Value, json};
///
/// /// `def report(customer, *, month, draft=False)` of a Python program.
/// const REPORT: WorkflowRef<Arguments, Value> = WorkflowRef::named("report");
///
/// # async fn example(dbos: Dbos) -> Result<(), Error> {
/// let arguments = Arguments::new([json!("Ada")]).named("month", json!("2026-11")).named("draft", json!(true));
/// dbos.start(REPORT, arguments).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arguments {
    /// In the order of the parameters.
    pub positional: Vec<Value>,
    /// By the names of the parameters.
    pub named: Map<String, Value>,
}

impl Arguments {
    /// These positional arguments, and no named ones.
    pub fn new(positional: impl IntoIterator<Item = Value>) -> Self {
        Self { positional: positional.into_iter().collect(), named: Map::new() }
    }

    /// An input of any type as the arguments that it is passed as: a tuple is several, unit is none, any other value is
    /// one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Serialization`](crate::ErrorKind::Serialization) for what is no JSON.
    ///
    /// ```
    /// # use dbos_runtime::Arguments;
    /// # use serde_json::json;
    /// assert_eq!(Arguments::of(&("2026-11", true))?, Arguments::new([json!("2026-11"), json!(true)]));
    /// assert_eq!(Arguments::of(&[1, 2, 3].as_slice())?, Arguments::new([json!([1, 2, 3])]));
    /// # Ok::<(), dbos_runtime::Error>(())
    /// ```
    pub fn of<T: Serialize + ?Sized>(input: &T) -> Result<Self> {
        decode(&encode_input(input)?)
    }

    /// One more named argument.
    #[must_use]
    pub fn named(mut self, name: &str, value: Value) -> Self {
        self.named.insert(name.to_owned(), value);
        self
    }
}

/// As we store it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    positional_args: &'a [Value],
    named_args: &'a Map<String, Value>,
}

/// As others do: what is empty may be left out or null.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read {
    positional_args: Option<Vec<Value>>,
    named_args: Option<Map<String, Value>>,
}

impl Serialize for Arguments {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = Written { positional_args: &self.positional, named_args: &self.named };
        serializer.serialize_newtype_struct(ENVELOPE, &written)
    }
}

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Opened;
        impl<'de> Visitor<'de> for Opened {
            type Value = Arguments;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("positional and named arguments")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                deserializer: D,
            ) -> Result<Arguments, D::Error> {
                let Read { positional_args, named_args } = Read::deserialize(deserializer)?;
                Ok(Arguments {
                    positional: positional_args.unwrap_or_default(),
                    named: named_args.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_newtype_struct(ENVELOPE, Opened)
    }
}
