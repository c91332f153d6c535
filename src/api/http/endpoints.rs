//! The plain HTTP endpoints of the client port: health, readiness, version, metrics.
//!
//! Invariants: bodies, codes and headers are etcd's, every answer to an origin that may read it says so, and nothing here
//! changes the store but by way of the JSON gateway. Does not know of sockets.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, Full};
use tonic::body::Body;

use crate::api::gateway::{self, websocket};
use crate::api::guest::Guest;
use crate::api::http::compressed;
use crate::api::http::manners::{
    elsewhere, host_named, nowhere, of_no_place, of_query, unescaped, unexpected, unreadable, without_host,
};
use crate::api::http::origins::may_speak;
use crate::api::metrics::peers::PeerMetrics;
use crate::api::metrics::registry::{API_VERSION, STORAGE_VERSION};
use crate::api::porch::Porch;
use crate::api::services::maintenance::is_learner;
use crate::api::transport::call::StdError;
use crate::api::transport::receive_room::ReceiveRoom;
use crate::api::transport::unwanted::read_off;
use crate::base::{Refusal, calendar_day};
use crate::env::Env;
use crate::machine::AlarmKind;
use crate::node::NodeStatus;
use crate::tls::{CameSealed, VerifiedClient};

type Answer = Response<Full<Bytes>>;

/// Who may come by plain HTTP, and what there is for them.
#[derive(Clone, Debug)]
pub struct Web {
    /// The origins of `--cors`, whose pages may read answers and speak by WebSockets; `*` is any.
    pub origins: Vec<String>,
    /// The hosts of `--host-whitelist`, by which this server may be called; `*` is any.
    pub hosts: Vec<String>,
    /// Whether the JSON gateway is open.
    pub gateway: bool,
}

impl Web {
    fn allow_origin(&self, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
        if self.origins.is_empty() || self.origins.iter().any(|have| have == "*") {
            return Some(HeaderValue::from_static("*"));
        }
        origin.filter(|origin| self.origins.iter().any(|have| have.as_bytes() == origin.as_bytes())).cloned()
    }

    /// Why a request is not answered that calls this server by a name it does not know: a page of that name would
    /// otherwise speak to it from inside a browser.
    fn refusal<B>(&self, request: &http::Request<B>) -> Option<String> {
        let named = host_named(request);
        let host = host_of(&named);
        // No page of another name comes by a certificate for this one.
        if request.extensions().get::<CameSealed>().is_some() {
            return None;
        }
        if self.hosts.is_empty() || self.hosts.iter().any(|have| have == "*" || have == host) {
            return None;
        }
        Some(format!(
            "\netcd received your request, but the Host header was unrecognized.\n\n\
             To fix this, choose one of the following options:\n\
             - Enable TLS, then any HTTPS request will be allowed.\n\
             - Add the hostname you want to use to the whitelist in settings.\n  \
             - e.g. etcd --host-whitelist {host:?}\n\n\
             This requirement has been added to help prevent \"DNS Rebinding\" attacks (CVE-2018-5702).\n\n"
        ))
    }
}

/// A host without its port, as Go's library takes them apart; all of it where there is no port.
fn host_of(named: &str) -> &str {
    match named.rsplit_once(':') {
        Some((host, _)) if host.starts_with('[') && host.ends_with(']') => &host[1..host.len() - 1],
        Some((host, _)) if !host.contains(':') => host,
        _ => named,
    }
}

/// Answers one HTTP request on the client port, of a guest who came by a connection with this room.
pub async fn respond<E, B>(
    porch: &Arc<Porch<E>>,
    web: &Web,
    request: http::Request<B>,
    from: (ReceiveRoom, Guest),
) -> Response<Body>
where
    E: Env,
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<StdError> + Send,
{
    if let Some(refusal) = unreadable(&request) {
        return boxed(refusal);
    }
    if let Some(refusal) = without_host(&request) {
        read_off(request.into_body()).await;
        return boxed(refusal);
    }
    if let Some(refusal) = unexpected(&request) {
        // Its body may wait to be asked for.
        return dated(boxed(refusal));
    }
    if of_no_place(&request) {
        read_off(request.into_body()).await;
        return dated(boxed(Response::new(Full::default())));
    }
    if let Some(why) = web.refusal(&request) {
        read_off(request.into_body()).await;
        return dated(boxed(error(StatusCode::MISDIRECTED_REQUEST, why)));
    }
    let origin = web.allow_origin(request.headers().get(header::ORIGIN));
    let answer = open(porch, web, request, from).await;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        // Whose pages may speak by a WebSocket no field says: it was asked before.
        return answer;
    }
    let mut answer = dated(answer);
    if let Some(origin) = origin {
        let headers = answer.headers_mut();
        let fields = HeaderValue::from_static("accept, content-type, authorization");
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, fields);
        let methods = HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE");
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    answer
}

/// Answers one HTTP request on a port that is there for health and metrics alone.
pub async fn respond_metrics<E: Env, B: HttpBody>(porch: &Porch<E>, request: http::Request<B>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let request = http::Request::from_parts(head, ());
    if let Some(refusal) = unreadable(&request) {
        return boxed(refusal);
    }
    if let Some(refusal) = unexpected(&request) {
        return dated(boxed(refusal));
    }
    read_off(body).await;
    if let Some(refusal) = without_host(&request) {
        return boxed(refusal);
    }
    if of_no_place(&request) {
        return dated(boxed(Response::new(Full::default())));
    }
    if let Some(refusal) = nowhere(&request).or_else(|| elsewhere(request.method(), request.uri(), false)) {
        return dated(boxed(refusal));
    }
    let path = request.uri().path();
    if path == "/version" || path == "/debug/vars" {
        return dated(boxed(not_found()));
    }
    dated(boxed(route(porch, &request.into_parts().0).await))
}

/// Why one whose certificate names a user is not answered where users are asked for: the gateway does not take the name.
const NAMELESS: &str =
    "CommonName of client sending a request against gateway will be ignored and not used as expected\n";

async fn open<E, B>(
    porch: &Arc<Porch<E>>,
    web: &Web,
    mut request: http::Request<B>,
    from: (ReceiveRoom, Guest),
) -> Response<Body>
where
    E: Env,
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<StdError> + Send,
{
    if request.method() == Method::OPTIONS {
        read_off(request.into_body()).await;
        return boxed(Response::new(Full::default()));
    }
    if let Some(refusal) = nowhere(&request) {
        read_off(request.into_body()).await;
        return boxed(refusal);
    }
    if let Some(uri) = unescaped(request.uri()) {
        *request.uri_mut() = uri;
    }
    // What older clients say.
    if let Some(rest) = request.uri().path().strip_prefix("/v3beta/").map(str::to_owned)
        && let Ok(uri) = http::Uri::try_from(format!("/v3/{rest}"))
    {
        *request.uri_mut() = uri;
    }
    let place = elsewhere(request.method(), request.uri(), web.gateway);
    if web.gateway && place.is_none() && request.uri().path().starts_with("/v3/") {
        let is_nameless = porch.handle.asks_who()
            && request.extensions().get::<VerifiedClient>().is_some_and(|client| !client.common_name.is_empty());
        if !is_nameless && websocket::is_wanted(&request) {
            if !may_speak(&web.origins, &request) {
                return websocket::refused(StatusCode::FORBIDDEN);
            }
            return websocket::promise(porch, &request, from);
        }
        if !is_nameless {
            return gateway::serve(porch.clone(), request, from).await;
        }
        read_off(request.into_body()).await;
        return boxed(error(StatusCode::BAD_REQUEST, NAMELESS));
    }
    let (head, body) = request.into_parts();
    read_off(body).await;
    match place {
        Some(answer) => boxed(answer),
        None => boxed(route(porch, &head).await),
    }
}

fn boxed(answer: Answer) -> Response<Body> {
    answer.map(|body| Body::new(body.map_err(|never| match never {})))
}

fn dated(mut answer: Response<Body>) -> Response<Body> {
    if let Some(date) = http_date(SystemTime::now()) {
        answer.headers_mut().insert(header::DATE, date);
    }
    answer
}

async fn route<E: Env>(porch: &Porch<E>, head: &http::request::Parts) -> Answer {
    let query = Query(head.uri.query().unwrap_or(""));
    let path = head.uri.path();
    match path {
        "/version" | "/health" | "/metrics" | "/debug/vars" | "/livez" | "/readyz" => {}
        _ if chosen(path, &query).is_some() => {}
        _ => return not_found(),
    }
    // Metrics are shown whatever the method, as by etcd's library.
    if head.method != Method::GET && path != "/metrics" {
        let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        return answer;
    }
    match path {
        "/health" => health(porch, &query).await,
        "/version" => version(&porch.handle.status()),
        "/metrics" => metrics(porch, &head.headers).await,
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

fn not_found() -> Answer {
    error(StatusCode::NOT_FOUND, "404 page not found\n")
}

fn version(status: &NodeStatus) -> Answer {
    let cluster = status.cluster_version.as_deref().unwrap_or("not_decided");
    let storage = status.cluster_version.as_deref().unwrap_or(STORAGE_VERSION);
    let body = serde_json::json!({"etcdserver": API_VERSION, "etcdcluster": cluster, "storage": storage});
    // Written by hand to keep etcd's order of fields.
    let field = |name: &str| format!("\"{name}\":{}", body[name]);
    let text = format!("{{{},{},{}}}", field("etcdserver"), field("etcdcluster"), field("storage"));
    answer(StatusCode::OK, "application/json", text)
}

fn page_of_metrics<E: Env>(porch: &Porch<E>) -> Bytes {
    let status = porch.handle.status();
    let mut text = porch.metrics.render(&status, &porch.handle.facts().tallies);
    let (traffic, promotions) = (porch.handle.peer_traffic(), porch.handle.promotions());
    let local = porch.handle.identity().member;
    let peers = PeerMetrics { local, status: &status, traffic: &traffic, promotions: &promotions };
    text.extend_from_slice(peers.render().as_bytes());
    text.into()
}

async fn metrics<E: Env>(porch: &Porch<E>, fields: &HeaderMap) -> Answer {
    let (page, is_gzip) = compressed::for_who_takes_it(fields, page_of_metrics(porch)).await;
    let mut answer = answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores", page);
    if is_gzip {
        answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}

/// The parameters of a request.
struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// As Go's library reads them: a pair that is written wrongly is none.
    fn values(&self, name: &str) -> impl Iterator<Item = Cow<'a, str>> {
        self.0.split('&').filter(|pair| !pair.contains(';')).filter_map(move |pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (of_query(key)? == name).then(|| of_query(value)).flatten()
        })
    }

    fn has(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }
}

async fn health<E: Env>(porch: &Porch<E>, query: &Query<'_>) -> Answer {
    let serializable = query.values("serializable").next().is_some_and(|value| value == "true");
    let reason = unhealthy(porch, query, serializable).await;
    let counter = if reason.is_some() { &porch.metrics.health_failures } else { &porch.metrics.health_success };
    counter.inc();
    match reason {
        None => answer(StatusCode::OK, "text/plain; charset=utf-8", "{\"health\":\"true\",\"reason\":\"\"}"),
        Some(reason) => {
            let reason = serde_json::Value::from(reason);
            let text = format!("{{\"health\":\"false\",\"reason\":{reason}}}\n");
            error(StatusCode::SERVICE_UNAVAILABLE, text)
        }
    }
}

async fn unhealthy<E: Env>(porch: &Porch<E>, query: &Query<'_>, serializable: bool) -> Option<String> {
    if let Some(reason) = known_reason(&porch.handle.status(), query, serializable) {
        return Some(reason);
    }
    let refusal = read(porch, !serializable).await.err()?;
    Some(format!("RANGE ERROR:{refusal}"))
}

/// Reads as a client would, which etcd counts. That a member may not read because its data are wrong is told by the alarm, and no
/// start of it would help: whoever asks whether it lives, or asks not to hear of the alarm, is not told so again.
async fn read<E: Env>(porch: &Porch<E>, linearizable: bool) -> Result<(), Refusal> {
    porch.handle.facts().tallies.range();
    let begun = Instant::now();
    let outcome = match porch.handle.view(linearizable).await {
        Ok(_) | Err(Refusal::Corrupt) => Ok(()),
        Err(refusal) => Err(refusal),
    };
    porch.metrics.requested("Range", outcome.is_ok(), begun.elapsed());
    outcome
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
        match self {
            Self::DataCorruption if status.alarms.iter().any(|(_, kind)| *kind == AlarmKind::Corrupt) => {
                Err("alarm activated: CORRUPT".to_string())
            }
            Self::NonLearner if is_learner(&status, porch.handle.identity().member) => {
                Err("not supported for learner".to_string())
            }
            Self::DataCorruption | Self::NonLearner => Ok(()),
            Self::SerializableRead => read(porch, false).await.map_err(|refusal| refusal.to_string()),
            Self::LinearizableRead => read(porch, true).await.map_err(|refusal| refusal.to_string()),
        }
    }
}

/// What is asked by a path of `/livez` or `/readyz`, and which checks that is; none where there is no such path.
fn chosen<'p>(path: &'p str, query: &Query<'_>) -> Option<(&'p str, Vec<Check>)> {
    let path = path.strip_prefix('/')?;
    let (kind, one) = path.split_once('/').map_or((path, None), |(kind, one)| (kind, Some(one)));
    let all = match kind {
        "livez" => LIVE,
        "readyz" => READY,
        _ => return None,
    };
    let chosen: Vec<Check> = match one {
        None => all.iter().copied().filter(|check| !query.values("exclude").any(|e| e == check.name())).collect(),
        Some(name) => all.iter().copied().filter(|check| check.name() == name).collect(),
    };
    (one.is_none() || !chosen.is_empty()).then_some((kind, chosen))
}

async fn checks<E: Env>(porch: &Porch<E>, path: &str, query: &Query<'_>) -> Answer {
    let Some((kind, chosen)) = chosen(path, query) else { return not_found() };
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
        // The line end more is etcd's.
        return error(StatusCode::SERVICE_UNAVAILABLE, lines + "\n");
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
        let escaped = Query("exclude=%4EO+S%26&excl%75de=b&exclude=%zz&exclude=%4&c;exclude=d");
        assert_eq!(escaped.values("exclude").collect::<Vec<_>>(), ["NO S&", "b"]);
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
    fn checks_are_found_by_their_path_whatever_the_method() {
        let found = |path| chosen(path, &Query("exclude=linearizable_read")).map(|(kind, checks)| (kind, checks.len()));
        assert_eq!(found("/livez"), Some(("livez", 1)));
        assert_eq!(found("/readyz"), Some(("readyz", 3)));
        assert_eq!(found("/readyz/linearizable_read"), Some(("readyz", 1)));
        for path in ["/livez/", "/livez/x", "/livez/data_corruption", "/readyz/serializable_read/", "/health", ""] {
            assert_eq!(found(path), None, "{path}");
        }
    }

    fn web(origin: &str, host: &str) -> Web {
        Web { origins: vec![origin.into()], hosts: vec![host.into()], gateway: true }
    }

    #[test]
    fn origins_are_any_or_named() {
        assert_eq!(web("*", "*").allow_origin(None), Some(HeaderValue::from_static("*")));
        let one = web("https://a.example", "*");
        let origin = HeaderValue::from_static("https://a.example");
        assert_eq!(one.allow_origin(Some(&origin)), Some(origin));
        assert_eq!(one.allow_origin(Some(&HeaderValue::from_static("https://b.example"))), None);
        assert_eq!(one.allow_origin(None), None);
    }

    #[test]
    fn hosts_are_any_or_named() {
        let named = |host: &str| http::Request::builder().header("host", host).body(()).expect("a request");
        assert_eq!(web("*", "*").refusal(&named("evil.example")), None);
        let one = web("*", "a.example");
        for host in ["a.example", "a.example:2379"] {
            assert_eq!(one.refusal(&named(host)), None, "{host}");
        }
        let why = one.refusal(&named("evil.example:80")).expect("refused");
        assert!(why.contains("etcd --host-whitelist \"evil.example\"\n"), "{why}");
        assert_eq!(["[::1]:2379", "::1", "h:1", "h"].map(host_of), ["::1", "::1", "h", "h"]);
        let mut sealed = named("evil.example");
        sealed.extensions_mut().insert(CameSealed);
        assert_eq!(one.refusal(&sealed), None, "TLS has looked at the name");
        let http2 = http::Request::builder()
            .version(http::Version::HTTP_2)
            .uri("http://a.example:1/")
            .body(())
            .expect("a request");
        assert_eq!(one.refusal(&http2), None);
        let by_line = |line: &str, host: &str| {
            let request = http::Request::builder().uri(format!("http://{line}/health")).header("host", host);
            one.refusal(&request.body(()).expect("a request")).is_some()
        };
        assert!(by_line("evil.example", "a.example") && !by_line("a.example", "evil.example"));
    }
}
