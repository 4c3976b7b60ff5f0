//! Rows of this driver as rows of the model.

use sqlx::Row;

use crate::model::schedule::ScheduleRow;
use crate::model::step::StepRow;
use crate::model::version::VersionRow;
use crate::model::workflow::{Ending, Existing, WorkflowRow};
use crate::store::rows::rows;

rows!(sqlx::postgres::PgRow);
