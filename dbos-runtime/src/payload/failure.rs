//! Errors as portable JSON: readable by every SDK, typed again for us.

use std::any::Any;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{DurableError, Error, ErrorKind};

/// The stored form. `data` is the error itself, unless that came from another language.
#[derive(Serialize, Deserialize)]
struct Portable {
    name: String,
    message: String,
    #[serde(default)]
    code: Value,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    data: Value,
}

/// An error's stored form. Never fails: an error that cannot be encoded is stored as its text.
pub(crate) fn encode_error<E: DurableError>(error: &E) -> String {
    let own = (error as &dyn Any).downcast_ref::<Error>();
    let portable = Portable {
        name: own.map_or_else(|| type_name::<E>().to_owned(), |own| own.name().to_owned()),
        message: error.to_string(),
        code: own
            .map_or(Value::Null, |own| own.kind().code().map_or_else(|| own.code().clone(), Value::from)),
        data: match own {
            // One of another language is passed on as it came, so that its own language knows it again.
            Some(foreign) if foreign.kind() == ErrorKind::Foreign => foreign.data().clone(),
            _ => serde_json::to_value(error).unwrap_or(Value::Null),
        },
    };
    // A struct of strings and JSON values always encodes.
    serde_json::to_string(&portable).unwrap_or_else(|_| r#"{"name":"Error","message":""}"#.to_owned())
}

/// A stored error as the workflow's error type; as a foreign failure when it is none of that type.
pub(crate) fn decode_error<E: DurableError>(text: &str) -> E {
    let Ok(portable) = serde_json::from_str::<Portable>(text) else {
        return Error::foreign("Error".to_owned(), text.to_owned(), Value::Null, Value::Null).into();
    };
    if !portable.data.is_null()
        && let Ok(error) = E::deserialize(&portable.data)
    {
        return error;
    }
    if let Ok(error) = Error::deserialize(&portable.data) {
        return error.into();
    }
    Error::foreign(portable.name, portable.message, portable.code, portable.data).into()
}

/// What a caught panic said.
pub(crate) fn panicked(what: &(dyn Any + Send), place: &str) -> Error {
    let said = what
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| what.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is not text".to_owned());
    Error::new(ErrorKind::Panicked, format!("{place} panicked: {said}"))
}

/// The last segment of the type's path, without generic arguments.
fn type_name<E>() -> &'static str {
    let path = std::any::type_name::<E>();
    let path = path.split('<').next().unwrap_or(path);
    path.rsplit("::").next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
    enum Sale {
        #[error("only {left} left")]
        SoldOut { left: u32 },
        #[error(transparent)]
        Runtime(#[from] Error),
    }

    #[test]
    fn an_error_of_ours_comes_back_typed() {
        let text = encode_error(&Sale::SoldOut { left: 2 });
        assert_eq!(
            text,
            r#"{"name":"Sale","message":"only 2 left","code":null,"data":{"SoldOut":{"left":2}}}"#
        );
        assert_eq!(decode_error::<Sale>(&text), Sale::SoldOut { left: 2 });
    }

    #[test]
    fn an_error_of_another_language_keeps_its_four_parts() {
        let error = decode_error::<Error>(r#"{"name":"ValueError","message":"pe","code":7,"data":{"x":1}}"#);
        assert_eq!(
            (error.kind(), error.name(), error.to_string()),
            (ErrorKind::Foreign, "ValueError", "pe".to_owned())
        );
        assert_eq!((error.code(), error.data()), (&Value::from(7), &serde_json::json!({"x": 1})));
        let passed_on = encode_error(&error);
        assert_eq!(passed_on, r#"{"name":"ValueError","message":"pe","code":7,"data":{"x":1}}"#);
        assert_eq!(decode_error::<Error>(&passed_on), error);
    }

    #[test]
    fn a_runtime_failure_survives_the_round_trip_through_an_application_type() {
        let error = Error::new(ErrorKind::Cancelled, "stopped");
        let text = encode_error(&error);
        assert!(
            text.starts_with(r#"{"name":"DBOSWorkflowCancelledError","message":"stopped","code":10"#),
            "{text}"
        );
        assert_eq!(decode_error::<Sale>(&text), Sale::Runtime(error));
    }

    #[test]
    fn text_that_is_no_error_is_kept_as_the_message() {
        assert_eq!(decode_error::<Error>("gARLAi4=").to_string(), "gARLAi4=");
    }
}
