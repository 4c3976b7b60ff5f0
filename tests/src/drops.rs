//! Dropping a future at a chosen await: what a timeout, a `select!` or a client that hangs up does to it.

use std::future::poll_fn;
use std::task::Poll;

/// Polls `future` up to `polls` times, each time it is woken, and drops it if it is not ready by then.
///
/// `None` says that it was dropped. To visit every await of a future, call this with 0, 1, 2… until there is a value.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use harness::drops::drop_after;
/// use tokio::task::yield_now;
///
/// let twice = || async { yield_now().await; yield_now().await; 7 };
/// assert_eq!(drop_after(twice(), 2).await, None);
/// assert_eq!(drop_after(twice(), 3).await, Some(7));
/// # });
/// ```
pub fn drop_after<F: Future>(future: F, polls: usize) -> impl Future<Output = Option<F::Output>> {
    let mut running = Some(Box::pin(future));
    let mut left = polls;
    poll_fn(move |context| {
        if let Some(future) = running.as_mut().filter(|_| left > 0) {
            left -= 1;
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                running = None;
                return Poll::Ready(Some(output));
            }
        }
        if left > 0 {
            return Poll::Pending;
        }
        running = None;
        Poll::Ready(None)
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::task::yield_now;

    use super::*;

    struct OnDrop<'a>(&'a Cell<bool>);

    impl Drop for OnDrop<'_> {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }

    #[tokio::test]
    async fn a_future_is_dropped_at_the_await_that_was_chosen() {
        for polls in 0..5 {
            let (reached, dropped) = (Cell::new(0), Cell::new(false));
            let future = async {
                let _guard = OnDrop(&dropped);
                for step in 1..=3 {
                    reached.set(step);
                    yield_now().await;
                }
                "done"
            };
            let output = drop_after(future, polls).await;
            assert_eq!(output, (polls > 3).then_some("done"));
            assert_eq!(reached.get(), polls.min(3));
            assert_eq!(dropped.get(), polls > 0, "what was never polled has no guard to drop");
        }
    }

    #[tokio::test]
    async fn the_future_is_gone_before_the_answer_is_there() {
        let dropped = Cell::new(false);
        let future = async {
            let _guard = OnDrop(&dropped);
            std::future::pending::<()>().await;
        };
        let mut dropping = Box::pin(drop_after(future, 1));
        assert_eq!(dropping.as_mut().await, None);
        assert!(dropped.get());
    }
}
