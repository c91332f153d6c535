//! Signals that end a process, by their numbers, which are the same on every system this runs on.

/// SIGHUP, SIGINT and SIGTERM: by which users and systems ask a process to end.
pub const STOPPING: [i32; 3] = [1, 2, 15];

/// SIGXFSZ: a file outgrew its limit.
pub const FILE_TOO_LARGE: i32 = 25;

/// What would end a process that asks for none of it, and ends none of Go's: SIGUSR1, SIGUSR2, SIGALRM, SIGXCPU, SIGXFSZ,
/// SIGVTALRM, SIGPROF, SIGIO and SIGPWR. Programs that rotate logs and count time send such.
#[cfg(target_os = "linux")]
pub const HEARD_AND_LEFT: [i32; 9] = [10, 12, 14, 24, FILE_TOO_LARGE, 26, 27, 29, 30];

/// The same, where their numbers are others: what is sure everywhere.
#[cfg(not(target_os = "linux"))]
pub const HEARD_AND_LEFT: [i32; 5] = [14, 24, FILE_TOO_LARGE, 26, 27];

/// Whether a process passes a signal over, as `standing` tells (`/proc/self/status`; no where nobody can say): who began it wanted it
/// to outlive that (`nohup`), and listening would undo it.
pub fn is_passed_over(standing: &str, signal: i32) -> bool {
    let field = standing.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let bits = field.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or_default();
    bits & (1 << (signal - 1)) != 0
}

/// The exit code that a shell shows of a process which a signal ended.
pub fn code_of_signal(signal: i32) -> u8 {
    128_u8.saturating_add(u8::try_from(signal).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_over_is_read_from_the_standing_of_a_process() {
        let standing = "Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0000000180000440\n";
        assert_eq!(STOPPING.map(|signal| is_passed_over(standing, signal)), [true, false, false]);
        assert!(is_passed_over(standing, 13) && !is_passed_over("", 1));
    }

    #[test]
    fn a_process_that_stopped_ends_as_by_the_signal() {
        assert_eq!(STOPPING.map(code_of_signal), [129, 130, 143]);
    }
}
