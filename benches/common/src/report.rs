//! What a binary prints, and the memory of this process.

use std::fmt;

use crate::{BoxError, Workload};

/// One measurement; it displays as one line of JSON.
#[derive(Debug, Clone)]
pub struct Report {
    /// What was measured.
    pub workload: Workload,
    /// The time all operations took.
    pub seconds: f64,
    /// Steps for [`Workload::Steps`], else workflows.
    pub operations: u64,
    /// The median over the operations; for [`Workload::Steps`] the mean.
    pub latency_us_median: f64,
    /// Resident memory after the warm-up.
    pub rss_kib_before: u64,
    /// Resident memory at the end.
    pub rss_kib_after: u64,
    /// Further numbers of one workload.
    pub more: Vec<(&'static str, i64)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            r#"{{"workload": "{}", "seconds": {:.6}, "operations": {}, "latency_us_median": {:.1}, "rss_kib_before": {}, "rss_kib_after": {}"#,
            self.workload,
            self.seconds,
            self.operations,
            self.latency_us_median,
            self.rss_kib_before,
            self.rss_kib_after,
        )?;
        for (name, value) in &self.more {
            write!(f, r#", "{name}": {value}"#)?;
        }
        f.write_str("}")
    }
}

/// The resident memory of this process in KiB, as Linux counts it.
pub fn rss_kib() -> Result<u64, BoxError> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or("/proc/self/status has no VmRSS")?;
    let kib = line.split_whitespace().next().ok_or("VmRSS is empty")?;
    Ok(kib.parse()?)
}
