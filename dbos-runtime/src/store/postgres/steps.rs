//! Questions about steps.

use super::{Postgres, rows};
use crate::model::step::StepRow;
use crate::store::error::StoreError;

const HISTORY: &str = "\
SELECT function_id, function_name, output, error, child_workflow_id, started_at_epoch_ms, completed_at_epoch_ms,
    serialization
FROM {s}.operation_outputs WHERE workflow_uuid = $1 ORDER BY function_id";

impl Postgres {
    pub(crate) async fn history(&self, id: &str) -> Result<Vec<StepRow>, StoreError> {
        let query = sqlx::query(self.statements.get(HISTORY)).bind(id);
        self.ask(async |c| query.fetch_all(c).await?.iter().map(rows::step).collect()).await
    }
}
