//! What requests carry beside a body, by name.

use serde_json::json;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};

/// What stands for itself in a path.
const ID: &str = r"^[A-Za-z0-9\-._~!$&'()*+,;=:@]+$";
/// No control characters, and no white space at the ends.
const LABEL: &str = r"^[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?$";
/// Bare, or as a quoted string.
const KEY: &str = r#"^([A-Za-z0-9._~\-]+(:[A-Za-z0-9._~\-]+)*|"[A-Za-z0-9._~\-]+(:[A-Za-z0-9._~\-]+)*")$"#;

/// The parameters in the path of a route.
pub(super) fn of_path(path: &str) -> impl Iterator<Item = Parameter> + '_ {
    let names = path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    names.map(|name| {
        let name = name.trim_start_matches('*');
        let (description, schema) = match name {
            "id" => ("A workflow's id.", text().max_length(Some(512)).pattern(Some(ID))),
            "key" => ("The key under which the workflow publishes.", label()),
            "topic" => ("The topic on which the workflow receives.", label()),
            "name" => ("The name of a workflow that may be started.", text().min_length(Some(1))),
            _ => ("", text().min_length(Some(1))),
        };
        let parameter =
            ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path).required(Required::True);
        parameter.description(Some(description).filter(|text| !text.is_empty())).schema(Some(schema)).build()
    })
}

/// A path as OpenAPI writes it.
pub(super) fn template(path: &str) -> String {
    path.replace("{*", "{")
}

/// `Idempotency-Key`.
pub(crate) fn idempotency_key() -> Parameter {
    let schema = text().min_length(Some(1)).max_length(Some(255)).pattern(Some(KEY));
    let description = "The client's name for the operation: what is sent again under it happens once. Without \
        authentication it needs 32 characters, and is a secret.";
    optional(ParameterIn::Header, "Idempotency-Key", description, schema)
}

/// `Prefer`. Preferences that are not known are ignored, as the standard has it, so every text is good.
pub(crate) fn prefer() -> Parameter {
    let description = "`wait=10` waits up to ten seconds for the result, and never more than 25; `respond-async` does \
        not wait.";
    optional(ParameterIn::Header, "Prefer", description, text().examples([json!("wait=1")]))
}

/// `Last-Event-ID`.
pub(crate) fn last_event_id() -> Parameter {
    let description = "How far the client has come: the id of the last event, which is the offset of its value. It \
        counts before the query's `after`.";
    optional(ParameterIn::Header, "Last-Event-ID", description, position())
}

/// How far a reader of a stream has come.
pub(crate) fn position() -> ObjectBuilder {
    text().pattern(Some(r"^([0-9]{1,18}(\.end)?|-1\.(end|tail))?$"))
}

/// A parameter of the query.
pub(crate) fn query(name: &str, description: &str, schema: ObjectBuilder) -> Parameter {
    optional(ParameterIn::Query, name, description, schema)
}

/// A schema of texts.
pub(crate) fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::Type(Type::String))
}

/// A schema of names as the runtime takes them.
pub(crate) fn label() -> ObjectBuilder {
    text().max_length(Some(512)).pattern(Some(LABEL))
}

/// A schema of these texts.
pub(crate) fn one_of(values: Vec<String>) -> ObjectBuilder {
    text().enum_values(Some(values))
}

/// A schema of whole numbers within bounds.
pub(crate) fn integer(from: i64, to: i64) -> ObjectBuilder {
    let schema = ObjectBuilder::new().schema_type(SchemaType::Type(Type::Integer));
    schema.minimum(Some(from)).maximum(Some(to))
}

fn optional(place: ParameterIn, name: &str, description: &str, schema: ObjectBuilder) -> Parameter {
    let parameter = ParameterBuilder::new().name(name).parameter_in(place).required(Required::False);
    parameter.description(Some(description)).schema(Some(schema)).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameters_of_a_path_are_those_between_its_braces() {
        let cases: &[(&str, &[&str], &str)] = &[
            ("/workflows", &[], "/workflows"),
            ("/workflows/{id}", &["id"], "/workflows/{id}"),
            ("/workflows/{id}/events/{key}", &["id", "key"], "/workflows/{id}/events/{key}"),
            ("/hooks/{source}/{*tail}", &["source", "tail"], "/hooks/{source}/{tail}"),
        ];
        for (path, names, written) in cases {
            let found: Vec<String> = of_path(path).map(|parameter| parameter.name).collect();
            assert_eq!(
                (found.as_slice(), template(path).as_str()),
                (names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>().as_slice(), *written)
            );
        }
    }
}
