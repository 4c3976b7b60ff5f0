//! The tenant to whom a workflow's user belongs: an attribute that travels as the user does, to children and forks.

use serde_json::{Map, Value};

/// The attribute.
pub(crate) const ATTRIBUTE: &str = "dbos.tenant";

/// What the attributes of a workflow say, as they are stored.
pub(crate) fn of_attributes(attributes: Option<&str>) -> Option<String> {
    let text = attributes.filter(|text| text.contains(ATTRIBUTE))?;
    let mut map: Map<String, Value> = serde_json::from_str(text).ok()?;
    map.remove(ATTRIBUTE).map(name)
}

/// What is stored under the attribute: JSON.
pub(crate) fn of_value(value: Option<&str>) -> Option<String> {
    value.map(|text| name(serde_json::from_str(text).unwrap_or_default()))
}

/// What is no text is nobody's.
fn name(value: Value) -> String {
    if let Value::String(tenant) = value { tenant } else { String::new() }
}

/// The attributes with the tenant among them, in the place of any other. It is never left out for their length.
pub(crate) fn attach(tenant: &str, attributes: Option<String>) -> String {
    let mut map: Map<String, Value> =
        attributes.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    map.insert(ATTRIBUTE.to_owned(), tenant.into());
    Value::from(map).to_string()
}
