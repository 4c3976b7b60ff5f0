//! The other SDKs as witnesses: what they write we read, what they ask we do, and the other way round.
//!
//! A witness (`tests/python/witness.py`, `tests/node/witness.mjs`) is an application of its own on the same database, with
//! the same workflows as the [scene](scene). The tests of `with_each_peer!` run with Python on SQLite, with Python on
//! Postgres and with Node on Postgres.
//!
//! | | from theirs to ours | from ours to theirs |
//! |---|---|---|
//! | enqueue | `calls::they_enqueue_our_workflow` | `calls::we_enqueue_their_workflow` |
//! | enqueue by a workflow | `calls::their_workflow_starts_ours_and_talks_with_it` | `calls::our_workflow_starts_theirs_and_talks_with_it` |
//! | arguments | `calls::their_arguments_are_our_struct_or_tuple` | `calls::we_enqueue_their_workflow` |
//! | deduplication | `calls::their_second_enqueue_under_…` | `calls::our_second_enqueue_under_…` |
//! | result, typed error | `values::our_results_and_typed_errors_are_theirs` | `values::their_results_and_typed_errors_are_ours` |
//! | native values | | `values::a_result_in_a_format_of_their_own_…`, `listings::we_list_their_rows` |
//! | send, event, stream | `signals::they_talk_with_our_workflow` | `signals::we_talk_with_their_workflow` |
//! | cancel, resume, fork, rewind, delay, delete | `management::they_…` | `management::we_…` |
//! | traces | `traces::we_continue_their_trace` | `traces::they_continue_our_trace` |
//! | list, steps | `listings::they_list_our_rows` | `listings::we_list_their_rows` |
//! | schedules | `schedules::our_schedule_is_theirs_to_see_and_pause` | `schedules::their_schedule_is_ours_to_see_and_pause` |
//! | queues, names, versions | `ownership::…` | `ownership::…` |
//! | shared vectors | `golden::a_start_of_theirs_gives_the_golden_rows` | |
//! | the demo of all SDKs | `service::…` | `service::…` |
//!
//! Without any SDK: `sql`, and `golden::a_row_of_plain_sql_gives_the_golden_rows`.

mod calls;
mod golden;
mod listings;
mod management;
mod ownership;
mod scene;
mod schedules;
mod service;
mod signals;
mod sql;
mod traces;
mod values;
