//! What an operation may answer with a status.

use std::fmt::Write as _;

use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::link::{Link, LinkBuilder};
use utoipa::openapi::{Content, Ref, RefOr, Response, Schema, Type, schema};

use crate::problem::Kind;

/// The content type of problems.
const PROBLEM: &str = "application/problem+json";

/// The headers of our answers, and what they say.
const HEADERS: &[(&str, &str)] = &[
    ("dbos-workflow-id", "The id of the workflow that the answer is about."),
    ("idempotency-expires", "Until when the idempotency key counts at least, once its workflow has ended."),
    ("idempotent-replayed", "`true` when the idempotency key had been used before: nothing was done again."),
    ("location", "Where the workflow can be asked about."),
    ("preference-applied", "What was done for the client's `Prefer`."),
    ("retry-after", "After how many seconds to ask again."),
];

/// One status of an operation: one meaning when it is good, and any number of problems.
#[derive(Default)]
pub(super) struct Answer {
    text: String,
    contents: Vec<(&'static str, Content)>,
    headers: Vec<&'static str>,
    links: Vec<(&'static str, Link)>,
}

impl Answer {
    pub(super) fn says(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(text);
    }

    pub(super) fn content(&mut self, media: &'static str, schema: RefOr<Schema>) {
        self.contents.push((media, Content::new(Some(schema))));
    }

    pub(super) fn header(&mut self, name: &'static str) {
        self.headers.push(name);
    }

    /// The workflow's id in the answer leads to another operation.
    pub(super) fn leads_to(&mut self, operation: &'static str, id: &'static str) {
        let link = LinkBuilder::new().operation_id(operation).parameter("id", id).build();
        self.links.push((operation, link));
    }

    /// A problem of the catalogue.
    pub(super) fn problem(&mut self, kind: Kind) {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = write!(text, "{}: `{}`.", kind.title, kind.slug);
        self.says(&text);
        self.is_problem();
    }

    /// A problem that is no more than its status.
    pub(super) fn plain_problem(&mut self, text: &str) {
        self.says(text);
        self.is_problem();
    }

    fn is_problem(&mut self) {
        if !self.contents.iter().any(|(media, _)| *media == PROBLEM) {
            self.content(PROBLEM, Ref::from_schema_name("Problem").into());
        }
    }

    pub(super) fn into_response(self) -> Response {
        let mut response = Response::new(self.text);
        response.content =
            self.contents.into_iter().map(|(media, content)| (media.to_owned(), content.into())).collect();
        for name in self.headers {
            let description = HEADERS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text);
            let header = HeaderBuilder::new().schema(Some(schema::Object::with_type(Type::String)));
            response.headers.insert(name.to_owned(), header.description(description).build().into());
        }
        response.links = self.links.into_iter().map(|(name, link)| (name.to_owned(), link.into())).collect();
        response
    }
}
