//! What a binary prints, and the memory of this process.

use std::fmt;
use std::time::Duration;

use crate::{Args, BoxError, Workload};

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

impl Report {
    /// A report with the median of `latencies`, which are sorted by it, and the memory as it is now.
    pub fn new(args: &Args, elapsed: Duration, operations: usize, latencies: &mut [f64]) -> Self {
        latencies.sort_by(f64::total_cmp);
        let rss_kib = rss_kib().unwrap_or_default();
        Self {
            workload: args.workload,
            seconds: elapsed.as_secs_f64(),
            operations: operations as u64,
            latency_us_median: latencies.get(latencies.len() / 2).copied().unwrap_or_default(),
            rss_kib_before: rss_kib,
            rss_kib_after: rss_kib,
            more: Vec::new(),
        }
    }
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
    rss_kib_of(std::process::id())
}

/// The same of another process.
pub fn rss_kib_of(process: u32) -> Result<u64, BoxError> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or("/proc/self/status has no VmRSS")?;
    let kib = line.split_whitespace().next().ok_or("VmRSS is empty")?;
    Ok(kib.parse()?)
}
