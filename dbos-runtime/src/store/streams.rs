//! The questions about streams.

use super::{Answer, Store};
use crate::model::stream::StreamRun;

impl Store {
    /// The values of a stream from an offset on, and whether its workflow has ended; nothing when there is none.
    pub(crate) async fn stream(
        &self,
        id: &str,
        key: &str,
        from: i64,
        limit: u32,
    ) -> Answer<Option<StreamRun>> {
        let mut run = ask!(self, backend => backend.stream(id, key, from, limit).await)?;
        run.iter_mut().for_each(|run| self.codec().open_run(run));
        Ok(run)
    }

    /// The offset after the last value of a stream, the mark that closes it excepted.
    pub(crate) async fn stream_length(&self, id: &str, key: &str) -> Answer<i64> {
        ask!(self, backend => backend.stream_length(id, key).await)
    }
}
