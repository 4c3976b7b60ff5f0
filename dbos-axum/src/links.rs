//! Where a client finds out about a workflow.

use std::sync::Arc;

use dbos_runtime::WorkflowId;

/// The path at which the API about workflows is mounted.
#[derive(Clone, Debug)]
pub(crate) struct Links(Arc<str>);

impl Links {
    pub(crate) fn below(path: &str) -> Self {
        Self(path.trim_end_matches('/').into())
    }

    /// Where all of them begin.
    #[cfg(feature = "openapi")]
    pub(crate) fn path(&self) -> &str {
        &self.0
    }

    /// The page of a workflow.
    pub(crate) fn workflow(&self, id: &WorkflowId) -> String {
        let mut link = format!("{}/workflows/", self.0);
        for byte in id.as_str().bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte) {
                link.push(char::from(byte));
            } else {
                link.push_str(&format!("%{byte:02X}"));
            }
        }
        link
    }

    /// The page of its result.
    pub(crate) fn result(&self, id: &WorkflowId) -> String {
        format!("{}/result", self.workflow(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_segment_of_the_path() {
        let id = WorkflowId::parse("a/b c%d:é").unwrap();
        assert_eq!(Links::below("/dbos/").workflow(&id), "/dbos/workflows/a%2Fb%20c%25d:%C3%A9");
        assert_eq!(Links::below("").result(&id), "/workflows/a%2Fb%20c%25d:%C3%A9/result");
    }
}
