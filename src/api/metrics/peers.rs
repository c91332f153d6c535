//! What is counted between members, as text under etcd's names and labels.
//!
//! Invariants: as with etcd's client library a family is there once it has a series, and a series once there was something to
//! count; what grows never shrinks while the peer is one. Does not count by itself.

use std::fmt::Write;

use crate::base::MemberId;
use crate::driver::Promotions;
use crate::node::NodeStatus;
use crate::peer::{PeerTraffic, ROUND_TRIP_BOUNDS, SNAPSHOT_BOUNDS, ToldDurations, ToldSnapshots};

/// Everything that is told here.
pub struct PeerMetrics<'a> {
    /// This member.
    pub local: MemberId,
    pub status: &'a NodeStatus,
    pub traffic: &'a [PeerTraffic],
    pub promotions: &'a Promotions,
}

struct Page(String);

impl Page {
    /// A family, where it has series: labels and value each.
    fn family(&mut self, name: &str, kind: &str, help: &str, series: impl Iterator<Item = (String, u64)>) {
        let mut series = series.peekable();
        if series.peek().is_some() {
            self.head(name, kind, help);
        }
        for (labels, value) in series {
            self.line(name, &labels, &value.to_string());
        }
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a string takes all that is written");
    }

    fn line(&mut self, name: &str, labels: &str, value: &str) {
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        writeln!(self.0, "{name}{labels} {value}").expect("a string takes all that is written");
    }

    /// A family of durations, by one label.
    fn durations<'t>(
        &mut self,
        (name, help, label): (&str, &str, &str),
        bounds: &[f64],
        series: impl Iterator<Item = (MemberId, &'t ToldDurations)>,
    ) {
        let mut series = series.filter(|(_, durations)| durations.count > 0).peekable();
        if series.peek().is_some() {
            self.head(name, "histogram", help);
        }
        for (member, durations) in series {
            let of = format!("{label}=\"{member}\"");
            let bucket = format!("{name}_bucket");
            for (bound, within) in bounds.iter().zip(&durations.within) {
                self.line(&bucket, &format!("{of},le=\"{bound}\""), &within.to_string());
            }
            self.line(&bucket, &format!("{of},le=\"+Inf\""), &durations.count.to_string());
            self.line(&format!("{name}_sum"), &of, &durations.seconds.to_string());
            self.line(&format!("{name}_count"), &of, &durations.count.to_string());
        }
    }
}

impl PeerMetrics<'_> {
    /// The text, behind that of the others.
    pub fn render(&self) -> String {
        let mut page = Page(String::new());
        self.connections(&mut page);
        self.bytes(&mut page);
        let snapshots = |of: fn(&PeerTraffic) -> &ToldSnapshots| self.traffic.iter().map(move |t| (t.member, of(t)));
        let sent = snapshots(|traffic| &traffic.sent_snapshots).collect();
        snapshots_one_way(&mut page, ("send", "sends", "To"), sent);
        let received = snapshots(|traffic| &traffic.received_snapshots).collect();
        snapshots_one_way(&mut page, ("receive", "receives", "From"), received);
        self.standing(&mut page);
        page.0
    }

    fn connections(&self, page: &mut Page) {
        let pair = |remote: MemberId| format!("Local=\"{}\",Remote=\"{remote}\"", self.local);
        let once_active = self.traffic.iter().filter(|traffic| traffic.active || traffic.disconnected > 0);
        page.family(
            "etcd_network_active_peers",
            "gauge",
            "The current number of active peer connections.",
            once_active.map(|traffic| (pair(traffic.member), traffic.active.into())),
        );
        page.family(
            "etcd_network_disconnected_peers_total",
            "counter",
            "The total number of disconnected peers.",
            self.counted(|traffic| traffic.disconnected).map(|(remote, count)| (pair(remote), count)),
        );
        page.family(
            "etcd_network_known_peers",
            "gauge",
            "The current number of known peers.",
            self.status.members.iter().map(|member| (pair(member.id), 1)),
        );
        page.durations(
            ("etcd_network_peer_round_trip_time_seconds", "Round-Trip-Time histogram between peers", "To"),
            &ROUND_TRIP_BOUNDS,
            self.traffic.iter().map(|traffic| (traffic.member, &traffic.round_trips)),
        );
    }

    /// The peers of which something was counted.
    fn counted(&self, count: impl Fn(&PeerTraffic) -> u64) -> impl Iterator<Item = (MemberId, u64)> {
        self.traffic.iter().map(move |traffic| (traffic.member, count(traffic))).filter(|(_, count)| *count > 0)
    }

    fn bytes(&self, page: &mut Page) {
        let to = |(member, count): (MemberId, u64)| (format!("To=\"{member}\""), count);
        let from = |(member, count): (MemberId, u64)| (format!("From=\"{member}\""), count);
        let (sent, received) = (self.counted(|traffic| traffic.sent_bytes), self.counted(|t| t.received_bytes));
        let (lost, unread) = (self.counted(|traffic| traffic.sent_failures), self.counted(|t| t.received_failures));
        let counter = "counter";
        let name = "etcd_network_peer_received_bytes_total";
        page.family(name, counter, "The total number of bytes received from peers.", received.map(from));
        let name = "etcd_network_peer_received_failures_total";
        page.family(name, counter, "The total number of receive failures from peers.", unread.map(from));
        let name = "etcd_network_peer_sent_bytes_total";
        page.family(name, counter, "The total number of bytes sent to peers.", sent.map(to));
        let name = "etcd_network_peer_sent_failures_total";
        page.family(name, counter, "The total number of send failures from peers.", lost.map(to));
    }

    fn standing(&self, page: &mut Page) {
        let alone = |value: u64| std::iter::once((String::new(), value));
        page.family(
            "etcd_server_heartbeat_send_failures_total",
            "counter",
            "The total number of leader heartbeat send failures (likely overloaded from slow disk).",
            alone(self.status.late_heartbeats),
        );
        page.family(
            "etcd_server_learner_promote_failures",
            "counter",
            "The total number of failed learner promotions (likely learner not ready) while this member is leader.",
            self.promotions.refused.iter().map(|(reason, count)| (format!("Reason=\"{reason}\""), *count)),
        );
        page.family(
            "etcd_server_learner_promote_successes",
            "counter",
            "The total number of successful learner promotions while this member is leader.",
            alone(self.promotions.done),
        );
        page.family(
            "quorate_peer_messages_turned_away_total",
            "counter",
            "Messages of peers that no sound peer sends.",
            alone(self.status.turned_away),
        );
        page.family(
            "quorate_peer_logs_lost_total",
            "counter",
            "Messages that showed that a peer lacks what it acknowledged.",
            alone(self.status.peers_log_lost),
        );
    }
}

fn snapshots_one_way(
    page: &mut Page,
    (way, ways, label): (&str, &str, &str),
    snapshots: Vec<(MemberId, &ToldSnapshots)>,
) {
    let of = |count: fn(&ToldSnapshots) -> u64, always: bool| {
        let some = snapshots.iter().filter(|(_, told)| told.under_way + told.succeeded + told.failed > 0);
        let labelled = some.map(move |(member, told)| (format!("{label}=\"{member}\""), count(told)));
        labelled.filter(move |(_, count)| always || *count > 0)
    };
    let help = format!("Total number of {{}} snapshot {ways}");
    let help = |what: &str| help.replace("{}", what);
    let name = |what: &str| format!("etcd_network_snapshot_{way}_{what}");
    page.family(
        &name("failures"),
        "counter",
        &format!("Total number of snapshot {way} failures"),
        of(|t| t.failed, false),
    );
    page.family(&name("inflights_total"), "gauge", &help("inflight"), of(|told| told.under_way, true));
    page.family(&name("success"), "counter", &help("successful"), of(|told| told.succeeded, false));
    page.durations(
        (&name("total_duration_seconds"), &format!("Total latency distributions of v3 snapshot {ways}"), label),
        &SNAPSHOT_BOUNDS,
        snapshots.iter().map(|(member, told)| (*member, &told.durations)),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(traffic: &[PeerTraffic], promotions: &Promotions) -> String {
        let status = NodeStatus { turned_away: 3, late_heartbeats: 2, ..NodeStatus::default() };
        PeerMetrics { local: MemberId(0xa), status: &status, traffic, promotions }.render()
    }

    #[test]
    fn what_goes_between_members_is_told_under_etcds_names() {
        let durations = ToldDurations { within: vec![1; 10], count: 2, seconds: 60.5 };
        let sent_snapshots = ToldSnapshots { under_way: 1, succeeded: 2, failed: 0, durations };
        let busy = PeerTraffic {
            member: MemberId(0xb),
            active: true,
            sent_bytes: 7,
            received_bytes: 9,
            disconnected: 4,
            sent_snapshots,
            ..PeerTraffic::default()
        };
        let promotions = Promotions { done: 1, refused: [("membership: ID not found".to_string(), 2)].into() };
        let text = text(&[busy, PeerTraffic { member: MemberId(0xc), ..PeerTraffic::default() }], &promotions);
        for line in [
            "# TYPE etcd_network_active_peers gauge",
            "etcd_network_active_peers{Local=\"a\",Remote=\"b\"} 1",
            "etcd_network_disconnected_peers_total{Local=\"a\",Remote=\"b\"} 4",
            "etcd_network_peer_sent_bytes_total{To=\"b\"} 7",
            "etcd_network_peer_received_bytes_total{From=\"b\"} 9",
            "etcd_network_snapshot_send_inflights_total{To=\"b\"} 1",
            "# HELP etcd_network_snapshot_send_success Total number of successful snapshot sends",
            "etcd_network_snapshot_send_success{To=\"b\"} 2",
            "etcd_network_snapshot_send_total_duration_seconds_bucket{To=\"b\",le=\"51.2\"} 1",
            "etcd_network_snapshot_send_total_duration_seconds_bucket{To=\"b\",le=\"+Inf\"} 2",
            "etcd_network_snapshot_send_total_duration_seconds_sum{To=\"b\"} 60.5",
            "etcd_server_heartbeat_send_failures_total 2",
            "etcd_server_learner_promote_failures{Reason=\"membership: ID not found\"} 2",
            "etcd_server_learner_promote_successes 1",
            "quorate_peer_messages_turned_away_total 3",
            "quorate_peer_logs_lost_total 0",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("Remote=\"c\""), "nothing went between them");
        assert!(!text.contains("sent_failures") && !text.contains("receive_success"), "nothing was counted");
    }
}
