//! WHERE clauses whose conditions depend on what was asked. Their texts are the same on both backends, but for what a
//! [`Dialect`] names; every value is a parameter.

use serde_json::{Map, Value};

use crate::model::aggregate::StepAggregates;
use crate::model::filter::{Applications, Bound, Filter, TextColumn, TimeColumn};

/// What the backends say differently. `{c}` stands for a column, `{v}` for a parameter.
#[derive(Debug)]
pub(crate) struct Dialect {
    /// The column is one of the texts.
    pub(super) one_of: &'static str,
    /// The column begins with the text.
    pub(super) prefixed: &'static str,
    /// The workflow's attributes contain these.
    pub(super) contains: fn(&mut Conditions, &Map<String, Value>) -> String,
    /// A LIMIT that limits nothing.
    pub(super) unlimited: &'static str,
}

/// A value to be bound.
#[derive(Clone, Debug)]
pub(crate) enum Bind {
    Text(String),
    Texts(Vec<String>),
    Int(i64),
    /// Postgres compares attributes whole.
    #[cfg(feature = "sqlite")]
    Float(f64),
}

/// A statement with its values, in the order of their numbers.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(super) text: String,
    pub(super) binds: Vec<Bind>,
}

/// Conditions that all have to hold.
#[derive(Debug)]
pub(crate) struct Conditions {
    dialect: &'static Dialect,
    parts: Vec<String>,
    binds: Vec<Bind>,
}

impl Conditions {
    fn new(dialect: &'static Dialect) -> Self {
        Self { dialect, parts: Vec::new(), binds: Vec::new() }
    }

    /// Of the rows `w` of `workflow_status`. An application without a name owns everything.
    pub(super) fn of_workflows(filter: &Filter, application: &str, dialect: &'static Dialect) -> Self {
        let mut this = Self::new(dialect);
        for (column, values) in &filter.texts {
            if *column == TextColumn::Status {
                this.status(values);
            } else {
                this.one_of(text_column(*column), values);
            }
        }
        for (column, bound, instant) in &filter.bounds {
            let value = this.bind(Bind::Int(instant.as_millis()));
            let sign = if *bound == Bound::From { ">=" } else { "<=" };
            this.parts.push(format!("{} {sign} {value}", time_column(*column)));
        }
        if let Some(prefixes) = &filter.id_prefixes {
            this.prefixed("w.workflow_uuid", prefixes);
        }
        if filter.queued {
            this.parts.push("w.queue_name IS NOT NULL".to_owned());
            if !filter.names_any(TextColumn::Status) {
                this.parts.push("w.status IN ('DELAYED', 'ENQUEUED', 'PENDING')".to_owned());
            }
        }
        if let Some(was) = filter.was_forked_from {
            this.parts.push(format!("w.was_forked_from = {}", if was { "TRUE" } else { "FALSE" }));
        }
        this.present("w.forked_from", filter.is_fork);
        this.present("w.parent_workflow_id", filter.has_parent);
        if let Some(attributes) = &filter.attributes {
            let part = (dialect.contains)(&mut this, attributes);
            this.parts.push(part);
        }
        // Whoever knows an id may ask for it.
        let by_id = filter.names_any(TextColumn::Id);
        if !(by_id && matches!(filter.applications, Applications::Own)) {
            this.owned("w.application_name", &filter.applications, application);
        }
        if let Some((created_at, id)) = &filter.after {
            let (created_at, id) =
                (this.bind(Bind::Int(created_at.as_millis())), this.bind(Bind::Text(id.clone())));
            let sign = if filter.newest_first { "<" } else { ">" };
            this.parts.push(format!("(w.created_at, w.workflow_uuid) {sign} ({created_at}, {id})"));
        }
        this
    }

    /// Of the rows `o` of `operation_outputs`.
    pub(super) fn of_steps(asked: &StepAggregates, application: &str, dialect: &'static Dialect) -> Self {
        let mut this = Self::new(dialect);
        if let Some(names) = &asked.names {
            this.one_of("o.function_name", names);
        }
        this.present("o.error", asked.failed);
        if let Some(prefixes) = &asked.id_prefixes {
            this.prefixed("o.workflow_uuid", prefixes);
        }
        for (instant, sign) in [(asked.completed_after, ">="), (asked.completed_before, "<=")] {
            if let Some(instant) = instant {
                let value = this.bind(Bind::Int(instant.as_millis()));
                this.parts.push(format!("o.completed_at_epoch_ms {sign} {value}"));
            }
        }
        this.owned("o.application_name", &asked.applications, application);
        this
    }

    /// Takes a value, and says what stands for it.
    pub(super) fn bind(&mut self, value: Bind) -> String {
        self.binds.push(value);
        format!("${}", self.binds.len())
    }

    /// The statement whose text needs these conditions in the place of `{where}`.
    pub(super) fn into_statement(self, text: &str) -> Statement {
        let conditions = if self.parts.is_empty() { "TRUE".to_owned() } else { self.parts.join(" AND ") };
        Statement { text: text.replace("{where}", &conditions), binds: self.binds }
    }

    /// The texts are this crate's own: as literals they let a partial index be used.
    fn status(&mut self, values: &[String]) {
        let literals: Vec<String> = values.iter().map(|value| format!("'{value}'")).collect();
        self.parts.push(match literals.as_slice() {
            [] => "FALSE".to_owned(),
            [one] => format!("w.status = {one}"),
            several => format!("w.status IN ({})", several.join(", ")),
        });
    }

    fn one_of(&mut self, column: &str, values: &[String]) {
        let part = match values {
            [] => "FALSE".to_owned(),
            [one] => format!("{column} = {}", self.bind(Bind::Text(one.clone()))),
            several => {
                let value = self.bind(Bind::Texts(several.to_vec()));
                self.dialect.one_of.replace("{c}", column).replace("{v}", &value)
            }
        };
        self.parts.push(part);
    }

    fn prefixed(&mut self, column: &str, prefixes: &[String]) {
        let mut either = Vec::new();
        for prefix in prefixes {
            let value = self.bind(Bind::Text(prefix.clone()));
            either.push(self.dialect.prefixed.replace("{c}", column).replace("{v}", &value));
        }
        self.parts.push(if either.is_empty() {
            "FALSE".to_owned()
        } else {
            format!("({})", either.join(" OR "))
        });
    }

    fn present(&mut self, column: &str, present: Option<bool>) {
        if let Some(present) = present {
            self.parts.push(format!("{column} IS {}", if present { "NOT NULL" } else { "NULL" }));
        }
    }

    fn owned(&mut self, column: &str, applications: &Applications, own: &str) {
        let names = match applications {
            Applications::Every => return,
            Applications::Own if own.is_empty() => return,
            Applications::Own => &[own.to_owned()],
            Applications::Named(names) => names.as_slice(),
        };
        self.one_of(column, names);
        if let Some(part) = self.parts.last_mut() {
            *part = format!("({part} OR {column} IS NULL)");
        }
    }
}

fn text_column(column: TextColumn) -> &'static str {
    match column {
        TextColumn::Id => "w.workflow_uuid",
        TextColumn::Status => "w.status",
        TextColumn::Name => "w.name",
        TextColumn::Version => "w.application_version",
        TextColumn::ForkedFrom => "w.forked_from",
        TextColumn::Parent => "w.parent_workflow_id",
        TextColumn::User => "w.authenticated_user",
        TextColumn::Queue => "w.queue_name",
        TextColumn::Executor => "w.executor_id",
        TextColumn::Schedule => "w.schedule_name",
    }
}

fn time_column(column: TimeColumn) -> &'static str {
    match column {
        TimeColumn::Created => "w.created_at",
        TimeColumn::Completed => "w.completed_at",
        TimeColumn::Dequeued => "w.started_at_epoch_ms",
    }
}
