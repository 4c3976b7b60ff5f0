//! The signals by which a process is asked to end.

/// Ready when the process is asked to end: by Ctrl-C, or by `SIGTERM` where there is one.
pub async fn terminated() {
    let interrupt = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "Ctrl-C cannot be noticed");
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = interrupt => {}
        () = asked_to_terminate() => {}
    }
}

#[cfg(unix)]
async fn asked_to_terminate() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut asked) => {
            asked.recv().await;
        }
        Err(error) => {
            tracing::error!(%error, "SIGTERM cannot be noticed");
            std::future::pending().await
        }
    }
}

#[cfg(not(unix))]
async fn asked_to_terminate() {
    std::future::pending().await
}
