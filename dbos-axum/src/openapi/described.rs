//! What a row of a table does, in words and schemas.

use std::collections::BTreeMap;

use http::StatusCode;
use utoipa::ToSchema;
use utoipa::openapi::path::{Operation, Parameter};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::ObjectBuilder;
use utoipa::openapi::{Content, Ref, RefOr, Required, Response, Schema, SecurityRequirement};

use super::answer::Answer;
use super::parameters;
use crate::problem::{self, Kind};

/// Schemas by their names.
pub(super) type Schemas = Vec<(String, RefOr<Schema>)>;

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

/// The description of an operation.
pub(crate) struct Described {
    id: &'static str,
    summary: &'static str,
    details: Option<&'static str>,
    in_path: Vec<(&'static str, RefOr<Schema>)>,
    parameters: Vec<Parameter>,
    body: Option<RequestBody>,
    answers: BTreeMap<u16, Answer>,
    /// The status that was spoken of last.
    current: u16,
    schemas: Schemas,
}

impl Described {
    /// An operation of that id, which generated clients make their method's name of.
    pub(crate) fn new(id: &'static str, summary: &'static str) -> Self {
        let described = Self {
            id,
            summary,
            details: None,
            in_path: Vec::new(),
            parameters: Vec::new(),
            body: None,
            answers: BTreeMap::new(),
            current: 0,
            schemas: Vec::new(),
        };
        described
            .refuses(&[problem::UNAVAILABLE])
            .plainly(StatusCode::INTERNAL_SERVER_ERROR, "Something failed that is nothing of the request's.")
    }

    /// More than the summary says.
    pub(crate) fn details(self, text: &'static str) -> Self {
        Self { details: Some(text), ..self }
    }

    /// A parameter of the path takes other texts than those of its name do.
    pub(crate) fn in_path(mut self, name: &'static str, schema: ObjectBuilder) -> Self {
        self.in_path.push((name, schema.into()));
        self
    }

    /// A parameter that is not in the path; those of the path are known by their names.
    pub(crate) fn takes(mut self, parameter: Parameter) -> Self {
        self.parameters.push(parameter);
        self
    }

    /// A JSON body, which has to be there.
    pub(crate) fn body<T: ToSchema>(mut self, description: &str) -> Self {
        let schema = self.schema::<T>();
        self.body = Some(
            RequestBodyBuilder::new()
                .description(Some(description))
                .required(Some(Required::True))
                .content(JSON, Content::new(Some(schema)))
                .build(),
        );
        self.plainly(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large.")
            .plainly(StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body is not announced as JSON in plain UTF-8.")
            .refuses(&[problem::MALFORMED_JSON])
    }

    /// Answers with a JSON body.
    pub(crate) fn answers<T: ToSchema>(mut self, status: StatusCode, text: &str) -> Self {
        let schema = self.schema::<T>();
        self.answer(status, |answer| {
            answer.says(text);
            answer.content(JSON, schema);
        })
    }

    /// Answers with server-sent events.
    pub(crate) fn streams(self, text: &str) -> Self {
        self.answer(StatusCode::OK, |answer| {
            answer.says(text);
            answer.content(EVENTS, ObjectBuilder::new().into());
        })
    }

    /// Answers without a body.
    pub(crate) fn ends(self, status: StatusCode, text: &str) -> Self {
        self.answer(status, |answer| answer.says(text))
    }

    /// More about the answer that was spoken of last.
    pub(crate) fn also(mut self, text: &str) -> Self {
        if let Some(answer) = self.answers.get_mut(&self.current) {
            answer.says(text);
        }
        self
    }

    /// The answer that was spoken of last may have these headers.
    pub(crate) fn headers(mut self, names: &[&'static str]) -> Self {
        if let Some(answer) = self.answers.get_mut(&self.current) {
            names.iter().for_each(|name| answer.header(name));
        }
        self
    }

    /// The id in the answer that was spoken of last is one for these operations.
    pub(crate) fn leads_to(mut self, id: &'static str, operations: &[&'static str]) -> Self {
        if let Some(answer) = self.answers.get_mut(&self.current) {
            operations.iter().for_each(|operation| answer.leads_to(operation, id));
        }
        self
    }

    /// Refuses with these problems of the catalogue.
    pub(crate) fn refuses(self, kinds: &[Kind]) -> Self {
        kinds
            .iter()
            .fold(self, |described, kind| described.answer(kind.status, |answer| answer.problem(*kind)))
    }

    /// Refuses with a problem that has no type of its own.
    pub(crate) fn plainly(self, status: StatusCode, text: &str) -> Self {
        self.answer(status, |answer| answer.plain_problem(text))
    }

    fn answer(mut self, status: StatusCode, change: impl FnOnce(&mut Answer)) -> Self {
        self.current = status.as_u16();
        change(self.answers.entry(self.current).or_default());
        self
    }

    /// A reference to a type's schema, which the document will have; the schema itself where it has no name.
    fn schema<T: ToSchema>(&mut self) -> RefOr<Schema> {
        let (name, schema) = (T::name(), T::schema());
        T::schemas(&mut self.schemas);
        if matches!(&schema, RefOr::T(Schema::Object(object)) if object.properties.is_empty()) {
            return schema;
        }
        self.schemas.push((name.clone().into_owned(), schema));
        Ref::from_schema_name(name).into()
    }

    /// The operation at that path, and the schemas that it refers to.
    pub(super) fn at(mut self, path: &str, security: &[SecurityRequirement]) -> (Operation, Schemas) {
        let mut described: Vec<Parameter> = parameters::of_path(path).collect();
        for (name, schema) in std::mem::take(&mut self.in_path) {
            for parameter in described.iter_mut().filter(|parameter| parameter.name == name) {
                parameter.schema = Some(schema.clone());
            }
        }
        if !described.is_empty() {
            self = self.refuses(&[problem::INVALID_ARGUMENT]);
        }
        described.append(&mut self.parameters);
        if !security.is_empty() {
            self = self
                .answer(StatusCode::UNAUTHORIZED, |answer| answer.says("The caller is not known."))
                .answer(StatusCode::FORBIDDEN, |answer| answer.says("The caller may not do this."));
        }
        let mut operation = Operation::new();
        operation.operation_id = Some(self.id.to_owned());
        operation.summary = Some(self.summary.to_owned());
        operation.description = self.details.map(ToOwned::to_owned);
        operation.parameters = Some(described.into_iter().map(RefOr::T).collect());
        operation.request_body = self.body.map(RefOr::T);
        operation.security = (!security.is_empty()).then(|| security.to_vec());
        for (status, answer) in self.answers {
            let response: RefOr<Response> = answer.into_response().into();
            operation.responses.responses.insert(status.to_string(), response);
        }
        (operation, self.schemas)
    }
}
