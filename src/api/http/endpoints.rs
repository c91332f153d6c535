//! The plain HTTP endpoints of the client port: health, readiness, version, metrics.
//!
//! Invariants: bodies, codes and headers are etcd's, every answer carries the CORS headers, and nothing here
//! changes the store. Does not know of sockets; the JSON gateway will stand beside it.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::Full;

use crate::api::metrics::peers::PeerMetrics;
use crate::api::metrics::registry::{API_VERSION, STORAGE_VERSION};
use crate::api::porch::Porch;
use crate::api::services::maintenance::is_learner;
use crate::base::{Refusal, calendar_day};
use crate::env::Env;
use crate::machine::AlarmKind;
use crate::node::NodeStatus;

type Answer = Response<Full<Bytes>>;

/// Which web origins may read answers.
#[derive(Clone, Debug)]
pub struct Cors {
    /// The origins of `--cors`; `*` is any.
    pub origins: Vec<String>,
}

impl Cors {
    fn allow_origin(&self, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
        if self.origins.iter().any(|have| have == "*") {
            return Some(HeaderValue::from_static("*"));
        }
        origin.filter(|origin| self.origins.iter().any(|have| have.as_bytes() == origin.as_bytes())).cloned()
    }
}

/// Answers one HTTP request; its body is not looked at.
pub async fn respond<E: Env, B>(porch: &Porch<E>, cors: &Cors, request: &http::Request<B>) -> Answer {
    let mut answer = route(porch, request.method(), request.uri()).await;
    let headers = answer.headers_mut();
    headers
        .insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("accept, content-type, authorization"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE"));
    if let Some(date) = http_date(SystemTime::now()) {
        headers.insert(header::DATE, date);
    }
    if let Some(origin) = cors.allow_origin(request.headers().get(header::ORIGIN)) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    answer
}

async fn route<E: Env>(porch: &Porch<E>, method: &Method, uri: &http::Uri) -> Answer {
    if method == Method::OPTIONS {
        return Response::new(Full::default());
    }
    let query = Query(uri.query().unwrap_or(""));
    let path = uri.path();
    match path {
        "/version" | "/health" | "/metrics" | "/debug/vars" | "/livez" | "/readyz" => {}
        _ if path.starts_with("/livez/") || path.starts_with("/readyz/") => {}
        _ => return error(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
    // Metrics are shown whatever the method, as by etcd's library.
    if method != Method::GET && path != "/metrics" {
        let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        return answer;
    }
    match path {
        "/health" => health(porch, &query).await,
        "/version" => version(&porch.handle.status()),
        "/metrics" => metrics(porch),
        "/debug/vars" => variables(porch),
        _ => checks(porch, path, &query).await,
    }
}

/// A moment as HTTP writes it. A clock that shows a time before 1970, or one that no header can hold, dates nothing.
fn http_date(now: SystemTime) -> Option<HeaderValue> {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
    let days = seconds / 86_400;
    let (year, month, day) = calendar_day(days);
    let (weekday, month) = (WEEKDAYS[(days % 7) as usize], MONTHS[(month - 1) as usize]);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let text = format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT");
    HeaderValue::try_from(text).ok().filter(|_| year <= 9_999)
}

/// What etcd publishes of itself by Go's `expvar`, as far as there is something to say; never the command line, which
/// may hold secrets.
fn variables<E: Env>(porch: &Porch<E>) -> Answer {
    let status = porch.handle.status();
    let state = match (status.is_leader, status.leader) {
        (true, _) => "StateLeader",
        (false, Some(_)) => "StateFollower",
        (false, None) => "StateCandidate",
    };
    let body = serde_json::json!({
        "file_descriptor_limit": porch.metrics.descriptor_limit(),
        "raft.status": {
            "id": porch.handle.identity().member.to_string(),
            "term": status.term,
            "commit": status.committed,
            "applied": status.applied,
            "lead": status.leader.map_or_else(|| "0".to_string(), |leader| leader.to_string()),
            "raftState": state,
        },
    });
    answer(StatusCode::OK, "application/json; charset=utf-8", format!("{body}\n"))
}

fn answer(code: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = code;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

fn error(code: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut answer = answer(code, "text/plain; charset=utf-8", text);
    answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

fn version(status: &NodeStatus) -> Answer {
    let cluster = status.cluster_version.as_deref().unwrap_or("not_decided");
    let body = serde_json::json!({"etcdserver": API_VERSION, "etcdcluster": cluster, "storage": STORAGE_VERSION});
    // Written by hand to keep etcd's order of fields.
    let field = |name: &str| format!("\"{name}\":{}", body[name]);
    let text = format!("{{{},{},{}}}", field("etcdserver"), field("etcdcluster"), field("storage"));
    answer(StatusCode::OK, "application/json", text)
}

fn metrics<E: Env>(porch: &Porch<E>) -> Answer {
    let status = porch.handle.status();
    let mut text = porch.metrics.render(&status, &porch.handle.facts().tallies);
    let (traffic, promotions) = (porch.handle.peer_traffic(), porch.handle.promotions());
    let local = porch.handle.identity().member;
    let peers = PeerMetrics { local, status: &status, traffic: &traffic, promotions: &promotions };
    text.extend_from_slice(peers.render().as_bytes());
    answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores", text)
}

/// The parameters of a request. Values are plain words; nothing here needs percent-decoding.
struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.split('&').filter_map(move |pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then_some(value)
        })
    }

    fn has(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }
}

async fn health<E: Env>(porch: &Porch<E>, query: &Query<'_>) -> Answer {
    let serializable = query.values("serializable").next() == Some("true");
    let reason = unhealthy(porch, query, serializable).await;
    let counter = if reason.is_some() { &porch.metrics.health_failures } else { &porch.metrics.health_success };
    counter.inc();
    let code = if reason.is_some() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let health = if reason.is_some() { "false" } else { "true" };
    let reason = serde_json::Value::from(reason.unwrap_or_default());
    answer(code, "text/plain; charset=utf-8", format!("{{\"health\":\"{health}\",\"reason\":{reason}}}"))
}

async fn unhealthy<E: Env>(porch: &Porch<E>, query: &Query<'_>, serializable: bool) -> Option<String> {
    if let Some(reason) = known_reason(&porch.handle.status(), query, serializable) {
        return Some(reason);
    }
    let refusal = porch.handle.view(!serializable).await.err()?;
    Some(format!("RANGE ERROR:{refusal}"))
}

/// Why a member is unhealthy, as far as it is known without asking the cluster: what needs a leader is not even tried
/// without one, because it would wait for it.
fn known_reason(status: &NodeStatus, query: &Query<'_>, serializable: bool) -> Option<String> {
    if let Some(alarm) = standing_alarm(status, query) {
        return Some(format!("ALARM {alarm}"));
    }
    (!serializable && status.leader.is_none()).then(|| "RAFT NO LEADER".to_string())
}

fn standing_alarm(status: &NodeStatus, query: &Query<'_>) -> Option<&'static str> {
    let names = status.alarms.iter().map(|(_, kind)| match kind {
        AlarmKind::NoSpace => "NOSPACE",
        AlarmKind::Corrupt => "CORRUPT",
    });
    names.into_iter().find(|name| !query.values("exclude").any(|excluded| excluded == *name))
}

/// One thing that `/livez` or `/readyz` looks at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

const LIVE: &[Check] = &[Check::SerializableRead];
const READY: &[Check] = &[Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead, Check::NonLearner];

impl Check {
    fn name(self) -> &'static str {
        match self {
            Self::DataCorruption => "data_corruption",
            Self::SerializableRead => "serializable_read",
            Self::LinearizableRead => "linearizable_read",
            Self::NonLearner => "non_learner",
        }
    }

    async fn look<E: Env>(self, porch: &Porch<E>) -> Result<(), String> {
        let status = porch.handle.status();
        let read = |refusal: Refusal| refusal.to_string();
        match self {
            Self::DataCorruption if status.alarms.iter().any(|(_, kind)| *kind == AlarmKind::Corrupt) => {
                Err("alarm activated: CORRUPT".to_string())
            }
            Self::NonLearner if is_learner(&status, porch.handle.identity().member) => {
                Err("not supported for learner".to_string())
            }
            Self::DataCorruption | Self::NonLearner => Ok(()),
            Self::SerializableRead => porch.handle.view(false).await.map(drop).map_err(read),
            Self::LinearizableRead => porch.handle.view(true).await.map(drop).map_err(read),
        }
    }
}

async fn checks<E: Env>(porch: &Porch<E>, path: &str, query: &Query<'_>) -> Answer {
    let (kind, one) = path[1..].split_once('/').map_or((&path[1..], None), |(kind, one)| (kind, Some(one)));
    let all = if kind == "livez" { LIVE } else { READY };
    let chosen: Vec<Check> = match one {
        None => all.iter().copied().filter(|check| !query.values("exclude").any(|e| e == check.name())).collect(),
        Some(name) => all.iter().copied().filter(|check| check.name() == name).collect(),
    };
    if one.is_some() && chosen.is_empty() {
        return error(StatusCode::NOT_FOUND, "404 page not found\n");
    }
    let mut lines = String::new();
    let mut healthy = true;
    for check in chosen {
        let outcome = check.look(porch).await;
        porch.metrics.health_check(kind, check.name(), outcome.is_ok());
        match outcome {
            Ok(()) => lines.push_str(&format!("[+]{} ok\n", check.name())),
            Err(text) => {
                healthy = false;
                lines.push_str(&format!("[-]{} failed: {text}\n", check.name()));
            }
        }
    }
    if !healthy {
        return error(StatusCode::SERVICE_UNAVAILABLE, lines);
    }
    let shown = if query.has("verbose") { lines } else { String::new() };
    error(StatusCode::OK, format!("{shown}ok\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::MemberId;
    use std::time::Duration;

    #[test]
    fn parameters_are_words() {
        let query = Query("verbose&exclude=a&exclude=b&serializable=true");
        assert!(query.has("verbose") && !query.has("verb"));
        assert_eq!(query.values("exclude").collect::<Vec<_>>(), ["a", "b"]);
        assert!(!Query("").has("verbose"));
    }

    #[test]
    fn dates_are_https_and_an_early_clock_has_none() {
        let at = |seconds| http_date(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(784_111_777), Some(HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT")));
        assert_eq!(at(0), Some(HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT")));
        assert_eq!(at(300_000_000_000), None, "beyond the year 9999");
        assert_eq!(http_date(UNIX_EPOCH - Duration::from_secs(1)), None);
    }

    #[test]
    fn excluded_alarms_are_not_seen() {
        let status = NodeStatus { alarms: vec![(MemberId(1), AlarmKind::NoSpace)], ..Default::default() };
        assert_eq!(standing_alarm(&status, &Query("")), Some("NOSPACE"));
        assert_eq!(standing_alarm(&status, &Query("exclude=NOSPACE")), None);
        assert_eq!(standing_alarm(&status, &Query("exclude=CORRUPT")), Some("NOSPACE"));
    }

    #[test]
    fn without_a_leader_a_member_is_unhealthy_but_for_what_needs_none() {
        let mut status = NodeStatus::default();
        let no_leader = Some("RAFT NO LEADER".to_string());
        assert_eq!(known_reason(&status, &Query(""), false), no_leader);
        assert_eq!(known_reason(&status, &Query(""), true), None);
        status.leader = Some(MemberId(1));
        assert_eq!(known_reason(&status, &Query(""), false), None);
        status.alarms.push((MemberId(1), AlarmKind::Corrupt));
        assert_eq!(known_reason(&status, &Query(""), true), Some("ALARM CORRUPT".to_string()));
    }

    #[test]
    fn origins_are_any_or_named() {
        let any = Cors { origins: vec!["*".into()] };
        assert_eq!(any.allow_origin(None), Some(HeaderValue::from_static("*")));
        let one = Cors { origins: vec!["https://a.example".into()] };
        let origin = HeaderValue::from_static("https://a.example");
        assert_eq!(one.allow_origin(Some(&origin)), Some(origin));
        assert_eq!(one.allow_origin(Some(&HeaderValue::from_static("https://b.example"))), None);
    }
}
