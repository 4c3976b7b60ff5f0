//! The routes of the DBOS admin servers, locked.
