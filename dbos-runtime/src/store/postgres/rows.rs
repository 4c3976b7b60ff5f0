//! Rows of this driver as rows of the model.

use sqlx::Row;

use crate::ids::WorkflowId;
use crate::model::management::Found;
use crate::model::step::StepRow;
use crate::model::workflow::{Ending, Existing, WorkflowRow};
use crate::store::rows::rows;

rows!(sqlx::postgres::PgRow);
