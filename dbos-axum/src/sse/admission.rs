//! How many event streams may be open, and for how long.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::meter;
use crate::principal::Principal;

/// No stream lives longer, whatever is asked.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The limits of the event streams of a layer. Give them to [`DbosLayer::streams`](crate::DbosLayer::streams).
///
/// A stream over a limit is refused with 503 and `Retry-After`; a browser's `EventSource`, which would give up for good,
/// is told to come back in five seconds.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use dbos_axum::{DbosLayer, StreamLimits};
/// use dbos_runtime::Dbos;
///
/// fn layer(dbos: Dbos) -> DbosLayer {
///     let limits = StreamLimits::default().in_all(10_000).per_caller(20).lifetime(Duration::from_secs(600));
///     DbosLayer::new(dbos).streams(limits)
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamLimits {
    in_all: usize,
    per_caller: usize,
    anonymous: usize,
    lifetime: Duration,
    keep_alive: Duration,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            in_all: 1024,
            per_caller: 6,
            anonymous: 512,
            lifetime: Duration::from_secs(3600),
            keep_alive: Duration::from_secs(15),
        }
    }
}

impl StreamLimits {
    /// How many may be open; 1024 by default.
    #[must_use]
    pub fn in_all(self, most: usize) -> Self {
        Self { in_all: most, ..self }
    }

    /// How many a caller with a name may have open; 6 by default, as many as a browser opens over HTTP/1.1.
    #[must_use]
    pub fn per_caller(self, most: usize) -> Self {
        Self { per_caller: most, ..self }
    }

    /// How many the callers without a name may have open together; 512 by default, so that they leave room for others.
    #[must_use]
    pub fn anonymous(self, most: usize) -> Self {
        Self { anonymous: most, ..self }
    }

    /// How long a stream may live before its client has to come back, with its cursor and its credentials; an hour
    /// by default, and at least a tenth of a second.
    #[must_use]
    pub fn lifetime(self, limit: Duration) -> Self {
        Self { lifetime: limit.clamp(Duration::from_millis(100), LONGEST), ..self }
    }

    /// How long a stream may be silent before a comment is sent; 15 seconds by default, and at least one. Proxies close
    /// what is silent for a minute.
    #[must_use]
    pub fn keep_alive(self, every: Duration) -> Self {
        Self { keep_alive: every.clamp(Duration::from_secs(1), LONGEST), ..self }
    }
}

/// Counts what is open.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: StreamLimits,
    open: Mutex<Open>,
}

#[derive(Default, Debug)]
struct Open {
    in_all: usize,
    callers: HashMap<Caller, usize>,
}

/// A tenant and a user; nobody in particular has neither.
type Caller = Option<(Option<Box<str>>, Box<str>)>;

impl Admission {
    pub(crate) fn new(limits: StreamLimits) -> Self {
        Self { limits, open: Mutex::default() }
    }

    /// Lets one more in, if there is room.
    pub(crate) fn enter(self: &Arc<Self>, who: &Principal) -> Option<Permit> {
        let caller = who.user().map(|user| (who.tenant().map(Into::into), user.into()));
        let most = if caller.is_some() { self.limits.per_caller } else { self.limits.anonymous };
        let mut open = self.open();
        let theirs = open.callers.get(&caller).copied().unwrap_or_default();
        if open.in_all >= self.limits.in_all || theirs >= most {
            return None;
        }
        open.in_all += 1;
        open.callers.insert(caller.clone(), theirs + 1);
        drop(open);
        Some(Permit { admission: Arc::clone(self), caller, _open: meter::Open::stream() })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream may be open as long as this lives.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    caller: Caller,
    _open: meter::Open,
}

impl Permit {
    /// The longest silence, and the longest life.
    pub(super) fn times(&self) -> (Duration, Duration) {
        (self.admission.limits.keep_alive, self.admission.limits.lifetime)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.admission.open();
        open.in_all -= 1;
        if let Some(theirs) = open.callers.get_mut(&self.caller) {
            *theirs -= 1;
            if *theirs == 0 {
                open.callers.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_their_share_and_leaves_it_behind() {
        let limits = StreamLimits::default().in_all(4).per_caller(2).anonymous(1);
        let admission = Arc::new(Admission::new(limits));
        let (ada, nobody) = (Principal::new("ada"), Principal::anonymous());
        let elsewhere = Principal::new("ada").with_tenant("acme");
        let first = admission.enter(&ada).unwrap();
        let _second = admission.enter(&ada).unwrap();
        assert!(admission.enter(&ada).is_none());
        let _third = admission.enter(&elsewhere).unwrap();
        let fourth = admission.enter(&nobody).unwrap();
        assert!(admission.enter(&elsewhere).is_none(), "there are four");
        drop(fourth);
        assert!(admission.enter(&ada).is_none());
        drop(first);
        let last = admission.enter(&ada).unwrap();
        let _nobody = admission.enter(&nobody).unwrap();
        drop(last);
        assert!(admission.enter(&nobody).is_none(), "there is room, but not for two without a name");
        assert_eq!(admission.open().callers.len(), 3);
    }
}
