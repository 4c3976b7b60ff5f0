//! On whose behalf a workflow runs, and whether they may.

use super::context::Ctx;
use super::execution::Execution;
use crate::error::{Error, ErrorKind, Result};

impl<S, E> Ctx<S, E> {
    /// Who started this workflow, if it was started on somebody's behalf.
    pub fn authenticated_user(&self) -> Option<&str> {
        self.execution.user.as_deref()
    }

    /// The tenant to whom that user belongs, if there is one; empty where it is nobody's.
    pub fn authenticated_tenant(&self) -> Option<&str> {
        self.execution.tenant.as_deref()
    }

    /// The roles of the [authenticated user](Self::authenticated_user).
    pub fn authenticated_roles(&self) -> Vec<String> {
        // Text that is no list of roles does not come so far.
        roles(&self.execution).unwrap_or_default()
    }

    /// The role in which this workflow runs: the first of those that it requires which its user has. `None` where it
    /// requires none.
    pub fn assumed_role(&self) -> Option<&str> {
        self.execution.assumed.get().map(String::as_str)
    }
}

/// Lets the execution assume the first of the required roles that its user has.
///
/// Every execution is asked, whoever wrote the row.
///
/// # Errors
///
/// [`ErrorKind::NotAuthorized`] when the user has none of them, or has something else than roles.
pub(crate) fn assume(execution: &Execution, required: &[String]) -> Result<()> {
    let roles = roles(execution)?;
    if required.is_empty() {
        return Ok(());
    }
    let Some(role) = assumed(required, &roles) else {
        let why = if execution.user.is_none() && roles.is_empty() {
            "was started without any"
        } else {
            "its user has none of them"
        };
        let required = required.join(", ");
        return Err(denied(
            execution,
            &format!("workflow {:?} requires one of the roles {required}, and {why}", execution.name),
        ));
    };
    // An execution begins once.
    let _ = execution.assumed.set(role.to_owned());
    Ok(())
}

/// The first required role that the user has.
pub(crate) fn assumed<'r>(required: &'r [String], roles: &[String]) -> Option<&'r str> {
    required.iter().find(|role| roles.contains(role)).map(String::as_str)
}

fn roles(execution: &Execution) -> Result<Vec<String>> {
    let Some(text) = &execution.roles else {
        return Ok(Vec::new());
    };
    serde_json::from_str(text).map_err(|_| denied(execution, "the workflow's roles are not a list of texts"))
}

fn denied(execution: &Execution, message: &str) -> Error {
    Error::new(ErrorKind::NotAuthorized, message).about(&execution.fence.id)
}
