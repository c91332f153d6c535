//! What the system says of this process, under the names of Prometheus' own libraries.
//!
//! Invariant: what cannot be read is left out. Read when somebody asks.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Time on processors.
    pub cpu_seconds: Option<f64>,
    open_fds: Option<f64>,
    max_fds: u64,
    resident: Option<f64>,
    virtual_bytes: Option<f64>,
    start_time: Option<f64>,
}

/// Linux tells processor time to user space in hundredths of a second, on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

impl Process {
    /// Reads what there is; `max_fds` is known from the start.
    pub fn read(max_fds: u64) -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
        let mut process = Self::parse(&stat, &status, &uptime, SystemTime::now());
        // The directory that is read for it has a descriptor, too.
        process.open_fds = fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count().saturating_sub(1) as f64);
        process.max_fds = max_fds;
        process
    }

    fn parse(stat: &str, status: &str, uptime: &str, now: SystemTime) -> Self {
        // Behind the name, which may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let kilobytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().strip_suffix(" kB")?.parse::<f64>().ok()? * 1_024.0)
        };
        let up: Option<f64> = uptime.split_whitespace().next().and_then(|seconds| seconds.parse().ok());
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        Self {
            cpu_seconds: field(14).zip(field(15)).map(|(user, system)| (user + system) / TICKS_PER_SECOND),
            resident: kilobytes("VmRSS:"),
            virtual_bytes: kilobytes("VmSize:"),
            start_time: field(22).zip(up).map(|(started, up)| now - up + started / TICKS_PER_SECOND),
            ..Self::default()
        }
    }

    /// Name, help and value of each gauge.
    pub fn readings(&self) -> Vec<(&'static str, &'static str, f64)> {
        let max_fds = Some(self.max_fds as f64);
        let table = [
            ("process_open_fds", "Number of open file descriptors.", self.open_fds),
            ("process_max_fds", "Maximum number of open file descriptors.", max_fds),
            ("os_fd_used", "The number of used file descriptors.", self.open_fds),
            ("os_fd_limit", "The file descriptor limit.", max_fds),
            ("process_resident_memory_bytes", "Resident memory size in bytes.", self.resident),
            ("process_virtual_memory_bytes", "Virtual memory size in bytes.", self.virtual_bytes),
            ("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", self.start_time),
        ];
        table.into_iter().filter_map(|(name, help, value)| Some((name, help, value?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_systems_files_are_read() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 0 0 0 250 150 0 0 20 0 8 0 1000 999 5";
        let status = "Name:\ta\nVmSize:\t    2048 kB\nVmRSS:\t   1024 kB\n";
        let process = Process::parse(stat, status, "100.50 7.0\n", UNIX_EPOCH + Duration::from_secs(1_000));
        assert_eq!(process.cpu_seconds, Some(4.0));
        assert_eq!((process.resident, process.virtual_bytes), (Some(1_048_576.0), Some(2_097_152.0)));
        assert_eq!(process.start_time, Some(1_000.0 - 100.5 + 10.0));
        assert!(Process::parse("", "", "", UNIX_EPOCH).readings().iter().all(|(name, ..)| name.contains("fd")));
        assert!(Process::read(9).readings().len() == 7, "on Linux all of it is there");
    }
}
