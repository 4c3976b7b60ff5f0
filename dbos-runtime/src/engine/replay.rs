//! Pure: what the history says about the step that the code asks for.

use crate::error::{Error, ErrorKind};
use crate::ids::WorkflowId;
use crate::model::step::StepRow;

/// Answers a step from the history, if it is in it.
///
/// # Errors
///
/// `UnexpectedStep` when another step is recorded at this number: the code is not the one that ran before.
pub(crate) fn look<'a>(
    recorded: Option<&'a StepRow>,
    workflow: &WorkflowId,
    number: i32,
    name: &str,
) -> Result<Option<&'a StepRow>, Error> {
    match recorded {
        Some(row) if row.name != name => Err(Error::new(
            ErrorKind::UnexpectedStep,
            format!(
                "step {number} of workflow {workflow} was recorded as {:?}, but the code now asks for {name:?} there",
                row.name
            ),
        )
        .about(workflow)),
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_replayed_run_or_refused() {
        let id = WorkflowId::parse("w").unwrap();
        let row = StepRow { number: 1, name: "charge".to_owned(), ..StepRow::default() };
        assert_eq!(look(None, &id, 1, "charge").unwrap(), None);
        assert_eq!(look(Some(&row), &id, 1, "charge").unwrap(), Some(&row));
        let error = look(Some(&row), &id, 1, "refund").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedStep);
        assert!(error.to_string().contains("\"charge\"") && error.to_string().contains("\"refund\""));
    }
}
