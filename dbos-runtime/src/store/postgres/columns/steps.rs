//! The columns of recorded steps.

use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

use crate::model::step::StepRow;

#[derive(Default)]
pub(super) struct Steps<'a> {
    id: Vec<&'a str>,
    number: Vec<i32>,
    name: Vec<&'a str>,
    output: Vec<Option<&'a str>>,
    error: Vec<Option<&'a str>>,
    child: Vec<Option<&'a str>>,
    started: Vec<Option<i64>>,
    completed: Vec<Option<i64>>,
    serialization: Vec<Option<&'a str>>,
}

impl<'a> Steps<'a> {
    pub(super) fn push(&mut self, id: &'a str, step: &'a StepRow) {
        self.id.push(id);
        self.number.push(step.number);
        self.name.push(&step.name);
        self.output.push(step.output.as_deref());
        self.error.push(step.error.as_deref());
        self.child.push(step.child.as_deref());
        self.started.push(step.started);
        self.completed.push(step.completed);
        self.serialization.push(step.serialization.as_deref());
    }

    pub(super) fn len(&self) -> usize {
        self.id.len()
    }

    pub(super) fn bind<'q>(
        &'q self,
        query: Query<'q, Postgres, PgArguments>,
    ) -> Query<'q, Postgres, PgArguments> {
        query
            .bind(&self.id)
            .bind(&self.number)
            .bind(&self.name)
            .bind(&self.output)
            .bind(&self.error)
            .bind(&self.child)
            .bind(&self.started)
            .bind(&self.completed)
            .bind(&self.serialization)
    }
}
