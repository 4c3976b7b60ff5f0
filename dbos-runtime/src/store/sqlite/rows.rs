//! Rows of this driver as rows of the model.

use sqlx::Row;

use crate::ids::WorkflowId;
use crate::model::aggregate::{StepAggregate, WorkflowAggregate};
use crate::model::info::{Payload, StepInfo, WorkflowInfo};
use crate::model::management::Found;
use crate::model::schedule::ScheduleRow;
use crate::model::status::WorkflowStatus;
use crate::model::step::StepRow;
use crate::model::version::VersionRow;
use crate::model::workflow::{Ending, Existing};
use crate::store::rows::rows;
use crate::time::Timestamp;

rows!(sqlx::sqlite::SqliteRow);
