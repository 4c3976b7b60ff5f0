//! The queue of writers. SQLite lets one connection write at a time and makes the others try again and again; within
//! this process they stand in line instead.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Mutex as Turns, OwnedMutexGuard};

/// A file's queue of writers: first come, first served.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    turns: Arc<Turns<()>>,
}

static WRITERS: Mutex<Option<HashMap<PathBuf, Weak<Turns<()>>>>> = Mutex::new(None);

impl Writer {
    /// The queue of that file. Every part of the process that writes to the file gets the same one.
    pub(crate) fn of(file: &Path) -> Self {
        let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        let mut writers = WRITERS.lock().unwrap_or_else(PoisonError::into_inner);
        let writers = writers.get_or_insert_default();
        writers.retain(|_, turns| turns.strong_count() > 0);
        if let Some(turns) = writers.get(&file).and_then(Weak::upgrade) {
            return Self { turns };
        }
        let turns = Arc::new(Turns::new(()));
        writers.insert(file, Arc::downgrade(&turns));
        Self { turns }
    }

    /// Waits for this caller's turn to write; the turn ends when the guard is dropped.
    pub(crate) async fn turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.turns).lock_owned().await
    }
}
