//! Named commit boundaries at which a test may have this process killed.
//!
//! Every durable write passes one of these doors twice: just before its commit is sent and just after it is known.
//! Without the feature `failpoints` a door is nothing at all.

/// One side of a commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Before,
    After,
}

/// What is being committed. Adding a way to write means adding a variant, which puts it into [`ALL`].
macro_rules! boundaries {
    ($($variant:ident => $name:literal,)*) => {
        /// A durable write, as the crash tests name it.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum Boundary { $($variant,)* }

        #[cfg(feature = "failpoints")]
        impl Boundary {
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }

        /// The names of all boundaries, for tests that must visit each.
        #[cfg(feature = "failpoints")]
        pub(crate) const ALL: &[&str] = &[$($name,)*];
    };
}

boundaries! {
    Start => "start",
    Child => "child",
    Step => "step",
    Event => "event",
    Stream => "stream",
    Message => "message",
    Receive => "receive",
    Outcome => "outcome",
    Transaction => "transaction",
    Witness => "witness",
    Claim => "claim",
    Tick => "tick",
    Bounce => "bounce",
    GiveBack => "give_back",
    Recover => "recover",
    Takeover => "takeover",
    DeadLetter => "dead_letter",
    Cancel => "cancel",
    Resume => "resume",
    Fork => "fork",
    Rewind => "rewind",
    Delete => "delete",
    Delay => "delay",
    Rename => "rename",
    Register => "register",
    Attributes => "attributes",
    Import => "import",
    Collect => "collect",
    Promote => "promote",
    Schedule => "schedule",
    Fire => "fire",
}

/// Passes a boundary; the process dies here when the environment says so.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn pass(_: Boundary, _: Side) {}

#[cfg(feature = "failpoints")]
pub(crate) use armed::pass;

/// `DBOS_FAILPOINT=<n>` kills the process at its n-th boundary (from 0), `DBOS_FAILPOINT=<name>:<side>` at the first of
/// that name; `DBOS_FAILPOINT_LOG=<file>` appends a line for each boundary passed.
#[cfg(feature = "failpoints")]
mod armed {
    use std::io::Write;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{Boundary, Side};

    struct Plan {
        kill: Option<String>,
        log: Option<std::path::PathBuf>,
        passed: AtomicUsize,
    }

    fn plan() -> &'static Plan {
        static PLAN: OnceLock<Plan> = OnceLock::new();
        PLAN.get_or_init(|| Plan {
            kill: std::env::var("DBOS_FAILPOINT").ok(),
            log: std::env::var_os("DBOS_FAILPOINT_LOG").map(Into::into),
            passed: AtomicUsize::new(0),
        })
    }

    pub(crate) fn pass(boundary: Boundary, side: Side) {
        let plan = plan();
        if plan.kill.is_none() && plan.log.is_none() {
            return;
        }
        let number = plan.passed.fetch_add(1, Ordering::SeqCst).to_string();
        let name = format!("{}:{}", boundary.name(), if side == Side::Before { "before" } else { "after" });
        if let Some(path) = &plan.log
            && let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(path)
        {
            // A lost line makes the sweep shorter, which its own count of boundaries notices.
            let _ = writeln!(file, "{name}");
        }
        if plan.kill.as_ref().is_some_and(|kill| *kill == number || *kill == name) {
            die();
        }
    }

    /// SIGKILL, so that no destructor, buffer or handler runs.
    fn die() -> ! {
        let _ = std::process::Command::new("kill").arg("-9").arg(std::process::id().to_string()).status();
        std::process::abort()
    }
}
