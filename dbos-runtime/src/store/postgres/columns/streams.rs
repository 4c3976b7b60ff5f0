//! The columns of values that are appended to streams.

use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

use crate::model::stream::NewStreamValue;

#[derive(Default)]
pub(super) struct Streams<'a> {
    id: Vec<&'a str>,
    number: Vec<i32>,
    key: Vec<&'a str>,
    value: Vec<&'a str>,
    format: Vec<&'a str>,
}

impl<'a> Streams<'a> {
    pub(super) fn push(&mut self, id: &'a str, number: i32, values: &'a [NewStreamValue]) {
        for appended in values {
            self.id.push(id);
            self.number.push(number);
            self.key.push(&appended.key);
            self.value.push(&appended.value);
            self.format.push(appended.format.name());
        }
    }

    pub(super) fn are_some(&self) -> bool {
        !self.id.is_empty()
    }

    pub(super) fn bind<'q>(
        &'q self,
        query: Query<'q, Postgres, PgArguments>,
    ) -> Query<'q, Postgres, PgArguments> {
        query.bind(&self.id).bind(&self.number).bind(&self.key).bind(&self.value).bind(&self.format)
    }
}
