//! A step that is one transaction of the application, as an open transaction in the body's own hands.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::backend::Backend;
use super::transaction::{Failed, Finished, Open, Placed, Plan, Prepared};
use super::{Datasource, TransactionOptions};
use crate::engine::{Ctx, answer};
use crate::error::{DurableError, Error};
use crate::{limits, payload};

/// What [`Ctx::begin`] found.
#[derive(Debug)]
pub enum Begun<DB: Backend, T, E> {
    /// The step was committed by an earlier execution, with this result.
    Recorded(T),
    /// The step has not been committed: the transaction is open.
    Fresh(OpenTransaction<DB, T, E>),
}

/// An open transaction step. It dereferences to the connection; [`commit`](Self::commit) ends it.
///
/// Dropped without a commit it rolls back and records nothing: the next execution finds the step fresh.
pub struct OpenTransaction<DB: Backend, T, E> {
    plan: Plan<DB>,
    open: Open<DB>,
    types: PhantomData<fn() -> (T, E)>,
}

impl<S, E: DurableError> Ctx<S, E> {
    /// Begins a transaction step by hand, for code that a closure does not suit.
    ///
    /// Unlike [`transaction`](Self::transaction) it cannot run the body again: a serialization failure is the caller's
    /// error to return. Make no other durable call until it is committed: on SQLite it would wait for this very
    /// transaction.
    ///
    /// # Examples
    ///
    /// ```
    /// # use dbos_runtime::{Begun, Ctx, Datasource, Error};
    /// async fn pay(ctx: Ctx<Datasource<sqlx::Sqlite>>, order: i64) -> Result<bool, Error> {
    ///     let db = ctx.state().clone();
    ///     match ctx.begin(&db, "mark_paid").await? {
    ///         Begun::Recorded(paid) => Ok(paid),
    ///         Begun::Fresh(mut tx) => {
    ///             sqlx::query("UPDATE orders SET paid = 1 WHERE id = $1").bind(order).execute(&mut *tx).await?;
    ///             tx.commit(true).await
    ///         }
    ///     }
    /// }
    /// ```
    pub fn begin<DB, T, O>(
        &self,
        datasource: &Datasource<DB>,
        options: O,
    ) -> Placed<impl Future<Output = Result<Begun<DB, T, E>, E>> + Send + use<S, E, DB, T, O>>
    where
        DB: Backend,
        O: Into<TransactionOptions>,
        T: Serialize + DeserializeOwned + Send,
    {
        let (options, datasource) = (options.into(), datasource.clone());
        let claimed = limits::name("step name", &options.name).and_then(|()| self.execution.claim(1));
        let execution = Arc::clone(&self.execution);
        Placed::new(&self.execution, async move {
            let number = execution.granted(claimed).await?;
            match Plan::make(&execution, number, &datasource, &options).await? {
                Prepared::Recorded(row) => Ok(Begun::Recorded(answer(&row, &execution)?)),
                Prepared::Run(plan) => {
                    let open = plan.begin().await.map_err(Error::from)?;
                    Ok(Begun::Fresh(OpenTransaction { plan, open, types: PhantomData }))
                }
            }
        })
    }
}

impl<DB, T, E> OpenTransaction<DB, T, E>
where
    DB: Backend,
    T: Serialize + DeserializeOwned,
    E: DurableError,
{
    /// Commits the transaction together with the step's result.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Transaction`](crate::ErrorKind::Transaction) when the database refuses the commit, and then nothing is recorded.
    ///
    /// # Cancel safety
    ///
    /// A commit that has begun is finished though nobody waits.
    pub async fn commit(self, value: T) -> Result<T, E> {
        let output = payload::encode(&value)?;
        match self.plan.finish(self.open, output).await {
            Ok(Finished::Committed) => Ok(value),
            Ok(Finished::Recorded(row)) => answer(&row, self.plan.execution()),
            // Perhaps the commit happened and only its answer was lost.
            Err(Failed::Sql(error) | Failed::Unanswered(error)) => match self.plan.committed().await? {
                Some(row) => answer(&row, self.plan.execution()),
                None => Err(Error::from(error).into()),
            },
            Err(Failed::Runtime(error)) => Err(error.into()),
        }
    }
}

impl<DB: Backend, T, E> Deref for OpenTransaction<DB, T, E> {
    type Target = DB::Connection;

    fn deref(&self) -> &DB::Connection {
        &self.open.transaction
    }
}

impl<DB: Backend, T, E> DerefMut for OpenTransaction<DB, T, E> {
    fn deref_mut(&mut self) -> &mut DB::Connection {
        &mut self.open.transaction
    }
}

impl<DB: Backend, T, E> fmt::Debug for OpenTransaction<DB, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenTransaction").field("step", &self.plan.row().name).finish_non_exhaustive()
    }
}
