//! One of the two servers, and how a step is put to it.
//!
//! Invariant: [`Side::ask`] leaves no request in flight when it returns. Does not compare.

use quorate::client::TlsOptions;
use quorate::wire::etcdserverpb as pb;
use quorate::wire::services::auth_client::AuthClient;
use quorate::wire::services::cluster_client::ClusterClient;
use quorate::wire::services::kv_client::KvClient;
use quorate::wire::services::lease_client::LeaseClient;
use quorate::wire::services::maintenance_client::MaintenanceClient;
use quorate::wire::services::watch_client::WatchClient;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::reply::{self, Reply};
use super::step::{AuthStep, Refused, Step};
use crate::badge::{Badge, Wire};
use crate::process::{ANSWER_LIMIT, Trouble, connect_by};

/// What one side said to one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// The answers, in order.
    pub replies: Vec<Reply>,
    /// The highest header revision among them.
    pub revision: i64,
}

/// Clients of one server, all on one connection.
#[derive(Clone, Debug)]
pub struct Side {
    channel: Channel,
    kv: KvClient<Wire>,
    lease: LeaseClient<Wire>,
    /// Also for callers who need an answer as it came.
    pub maintenance: MaintenanceClient<Wire>,
    cluster: ClusterClient<Wire>,
    auth: AuthClient<Wire>,
    /// For the streams, which live longer than a step.
    pub watch: WatchClient<Wire>,
}

/// Turns an answer into a reply: `$plain` makes it comparable and gives its revision.
macro_rules! heard {
    ($call:expr, $plain:expr, $wrap:expr) => {{
        match $call.await.map(Response::into_inner) {
            Ok(mut message) => {
                let revision = $plain(&mut message);
                Heard { replies: vec![$wrap(message)], revision }
            }
            Err(status) => Heard::refused(&status),
        }
    }};
}

/// The same for answers that are compared as text.
macro_rules! heard_other {
    ($call:expr) => {
        heard!($call, |m: &mut _| header_of(m), |m| Reply::Other(format!("{m:?}")))
    };
}

/// Everything whose header can be made plain.
trait Headed {
    fn header(&mut self) -> &mut Option<pb::ResponseHeader>;
}

macro_rules! headed {
    ($($name:ident),* $(,)?) => { $(impl Headed for pb::$name {
        fn header(&mut self) -> &mut Option<pb::ResponseHeader> { &mut self.header }
    })* };
}

headed!(
    CompactionResponse,
    HashKvResponse,
    LeaseGrantResponse,
    LeaseRevokeResponse,
    LeaseTimeToLiveResponse,
    LeaseLeasesResponse,
    AlarmResponse,
    MemberListResponse,
    DefragmentResponse,
    MoveLeaderResponse,
    DowngradeResponse,
    MemberRemoveResponse,
    MemberUpdateResponse,
    MemberPromoteResponse,
    MemberAddResponse,
    AuthenticateResponse,
    AuthEnableResponse,
    AuthDisableResponse,
    AuthUserListResponse,
    AuthRoleListResponse,
    AuthUserChangePasswordResponse,
    AuthUserRevokeRoleResponse,
    AuthRoleRevokePermissionResponse,
    AuthStatusResponse,
    AuthUserGetResponse,
    AuthRoleGetResponse,
    AuthUserDeleteResponse,
    AuthRoleDeleteResponse,
    AuthRoleAddResponse,
    AuthUserAddResponse,
    AuthRoleGrantPermissionResponse,
    AuthUserGrantRoleResponse,
    LeaseKeepAliveResponse,
    PutResponse,
    DeleteRangeResponse,
);

fn header_of(message: &mut impl Headed) -> i64 {
    reply::plain_header(message.header())
}

impl Heard {
    fn refused(status: &Status) -> Self {
        Self { replies: vec![Reply::refused(status)], revision: 0 }
    }

    fn and(&mut self, other: Self) {
        self.replies.extend(other.replies);
        self.revision = self.revision.max(other.revision);
    }

    /// True when the first answer is not a refusal.
    pub fn is_ok(&self) -> bool {
        self.replies.first().is_some_and(Reply::is_ok)
    }

    /// True when a method was asked for that is not there yet.
    pub fn is_unbuilt(&self) -> bool {
        self.replies.iter().any(Reply::is_unbuilt)
    }
}

impl Side {
    /// Connects to a server, encrypted where these options are given.
    pub async fn connect(url: &str, tls: Option<&TlsOptions>) -> Result<Self, Trouble> {
        Ok(Self::on(connect_by(url, tls).await?, Badge::default()))
    }

    /// The same server, asked by whom this badge names.
    pub fn showing(&self, badge: Badge) -> Self {
        Self::on(self.channel.clone(), badge)
    }

    fn on(channel: Channel, badge: Badge) -> Self {
        let wire = || InterceptedService::new(channel.clone(), badge.clone());
        Self {
            kv: KvClient::new(wire()).max_decoding_message_size(ANSWER_LIMIT),
            lease: LeaseClient::new(wire()),
            maintenance: MaintenanceClient::new(wire()).max_decoding_message_size(ANSWER_LIMIT),
            cluster: ClusterClient::new(wire()),
            auth: AuthClient::new(wire()),
            watch: WatchClient::new(wire()).max_decoding_message_size(ANSWER_LIMIT),
            channel,
        }
    }

    /// Puts a step to this side and waits for every answer. Watch steps are not for here.
    pub async fn ask(&self, step: &Step) -> Heard {
        match step {
            Step::Range(_)
            | Step::RangeStream(_)
            | Step::Put(_)
            | Step::Delete(_)
            | Step::Txn(_)
            | Step::Compact(_) => self.ask_kv(step).await,
            Step::Grant(_)
            | Step::BriefLease { .. }
            | Step::Revoke(_)
            | Step::TimeToLive(_)
            | Step::Leases
            | Step::KeepAlive(_) => self.ask_lease(step).await,
            Step::Refused(refused) => self.ask_refused(refused).await,
            Step::Auth(step) => self.ask_auth(step).await,
            Step::Barred => self.barred().await,
            Step::HashKv(_) | Step::Alarm(_) | Step::Status | Step::MemberList(_) | Step::Defragment => {
                self.ask_maintenance(step).await
            }
            Step::Watch(..) | Step::Open(_) | Step::Cancel(..) | Step::Progress(_) => {
                Heard { replies: Vec::new(), revision: 0 }
            }
        }
    }

    async fn ask_kv(&self, step: &Step) -> Heard {
        let mut kv = self.kv.clone();
        match step {
            Step::Range(request) => {
                let plain = |m: &mut pb::RangeResponse| {
                    reply::plain_range(request, m);
                    reply::plain_header(&mut m.header)
                };
                heard!(kv.range(request.clone()), plain, Reply::Range)
            }
            Step::RangeStream(request) => self.range_stream(request).await,
            Step::Put(request) => heard!(kv.put(request.clone()), header_of, Reply::Put),
            Step::Delete(request) => heard!(kv.delete_range(request.clone()), header_of, Reply::Delete),
            Step::Txn(request) => {
                heard!(kv.txn(request.clone()), |m: &mut _| reply::plain_txn(request, m), Reply::Txn)
            }
            Step::Compact(request) => heard_other!(kv.compact(*request)),
            _ => unreachable!("ask() sends only KV steps here"),
        }
    }

    /// Where the chunks are cut is the server's choice (they follow the sizes it has seen): they are put together again.
    async fn range_stream(&self, request: &pb::RangeRequest) -> Heard {
        let mut stream = match self.kv.clone().range_stream(request.clone()).await {
            Ok(stream) => stream.into_inner(),
            Err(status) => return Heard::refused(&status),
        };
        let mut whole = pb::RangeResponse::default();
        loop {
            match stream.message().await {
                Ok(Some(chunk)) => {
                    let Some(part) = chunk.range_response else { continue };
                    whole.kvs.extend(part.kvs);
                    whole.header = part.header.or(whole.header);
                    whole.more |= part.more;
                    whole.count += part.count;
                }
                Ok(None) => break,
                Err(status) => return Heard::refused(&status),
            }
        }
        let revision = reply::plain_header(&mut whole.header);
        Heard { replies: vec![Reply::Range(whole)], revision }
    }

    async fn ask_lease(&self, step: &Step) -> Heard {
        let mut lease = self.lease.clone();
        match step {
            Step::Grant(request) => heard_other!(lease.lease_grant(*request)),
            Step::BriefLease { grant, key } => self.brief_lease(*grant, key).await,
            Step::Revoke(id) => heard_other!(lease.lease_revoke(pb::LeaseRevokeRequest { id: *id })),
            Step::TimeToLive(request) => {
                let plain = |m: &mut pb::LeaseTimeToLiveResponse| {
                    reply::plain_time_to_live(m);
                    header_of(m)
                };
                heard!(lease.lease_time_to_live(*request), plain, |m| Reply::Other(format!("{m:?}")))
            }
            Step::Leases => {
                let plain = |m: &mut pb::LeaseLeasesResponse| {
                    // Listed by remaining time, which runs; leases with equal ends come in any order.
                    m.leases.sort_by_key(|lease| lease.id);
                    header_of(m)
                };
                heard!(lease.lease_leases(pb::LeaseLeasesRequest {}), plain, |m| Reply::Other(format!("{m:?}")))
            }
            Step::KeepAlive(ids) => self.keep_alive(ids).await,
            _ => unreachable!("ask() sends only lease steps here"),
        }
    }

    async fn brief_lease(&self, grant: pb::LeaseGrantRequest, key: &[u8]) -> Heard {
        let mut lease = self.lease.clone();
        let mut id = 0;
        let mut plain = |m: &mut pb::LeaseGrantResponse| {
            id = m.id;
            if grant.id == 0 {
                // Chosen by the server from its clock and member id.
                m.id = i64::from(m.id > 0);
            }
            header_of(m)
        };
        let mut heard = heard!(lease.lease_grant(grant), plain, |m| Reply::Other(format!("{m:?}")));
        if id == 0 {
            return heard;
        }
        // A server's own id may not reach a key: it would differ in events and in every later HashKV.
        if grant.id != 0 {
            let key = key.to_vec().into();
            let put = pb::PutRequest { key, value: "brief".into(), lease: id, ..Default::default() };
            heard.and(heard!(self.kv.clone().put(put), header_of, Reply::Put));
        }
        let ask = pb::LeaseTimeToLiveRequest { id, keys: true };
        let plain = |m: &mut pb::LeaseTimeToLiveResponse| {
            m.id = i64::from(m.id == id);
            reply::plain_time_to_live(m);
            header_of(m)
        };
        heard.and(heard!(lease.lease_time_to_live(ask), plain, |m| Reply::Other(format!("{m:?}"))));
        heard.and(heard_other!(lease.lease_revoke(pb::LeaseRevokeRequest { id })));
        heard
    }

    async fn keep_alive(&self, ids: &[i64]) -> Heard {
        let requests: Vec<_> = ids.iter().map(|id| pb::LeaseKeepAliveRequest { id: *id }).collect();
        let mut heard = Heard { replies: Vec::new(), revision: 0 };
        let mut stream = match self.lease.clone().lease_keep_alive(tokio_stream::iter(requests)).await {
            Ok(stream) => stream.into_inner(),
            Err(status) => return Heard::refused(&status),
        };
        loop {
            match stream.message().await {
                Ok(Some(mut message)) => {
                    heard.revision = heard.revision.max(header_of(&mut message));
                    heard.replies.push(Reply::Other(format!("{message:?}")));
                }
                Ok(None) => return heard,
                Err(status) => {
                    heard.replies.push(Reply::refused(&status));
                    return heard;
                }
            }
        }
    }

    async fn ask_maintenance(&self, step: &Step) -> Heard {
        let mut maintenance = self.maintenance.clone();
        match step {
            Step::HashKv(revision) => heard_other!(maintenance.hash_kv(pb::HashKvRequest { revision: *revision })),
            Step::Alarm(request) => {
                let plain = |m: &mut pb::AlarmResponse| {
                    m.alarms.sort_by_key(|alarm| (alarm.member_id, alarm.alarm));
                    header_of(m)
                };
                heard!(maintenance.alarm(*request), plain, |m| Reply::Other(format!("{m:?}")))
            }
            Step::Status => match maintenance.status(pb::StatusRequest {}).await {
                Ok(message) => {
                    let mut message = message.into_inner();
                    let revision = reply::plain_header(&mut message.header);
                    let text = format!("{:?}, {}", message.header, reply::plain_status(&message));
                    Heard { replies: vec![Reply::Other(text)], revision }
                }
                Err(status) => Heard::refused(&status),
            },
            Step::MemberList(linearizable) => {
                let plain = |m: &mut pb::MemberListResponse| {
                    for member in &mut m.members {
                        // Ids and addresses hold the ports.
                        member.id = u64::from(member.id != 0);
                        member.peer_ur_ls = vec![format!("{} of them", member.peer_ur_ls.len())];
                        member.client_ur_ls = vec![format!("{} of them", member.client_ur_ls.len())];
                    }
                    header_of(m)
                };
                let request = pb::MemberListRequest { linearizable: *linearizable };
                heard!(self.cluster.clone().member_list(request), plain, |m| Reply::Other(format!("{m:?}")))
            }
            Step::Defragment => heard_other!(maintenance.defragment(pb::DefragmentRequest {})),
            _ => unreachable!("ask() sends only maintenance steps here"),
        }
    }

    async fn ask_refused(&self, refused: &Refused) -> Heard {
        let (mut maintenance, mut cluster) = (self.maintenance.clone(), self.cluster.clone());
        match refused {
            Refused::MoveLeader(id) => {
                heard_other!(maintenance.move_leader(pb::MoveLeaderRequest { target_id: *id }))
            }
            Refused::Downgrade(request) => heard_other!(maintenance.downgrade(request.clone())),
            Refused::MemberRemove(id) => heard_other!(cluster.member_remove(pb::MemberRemoveRequest { id: *id })),
            Refused::MemberUpdate(request) => heard_other!(cluster.member_update(request.clone())),
            Refused::MemberPromote(id) => heard_other!(cluster.member_promote(pb::MemberPromoteRequest { id: *id })),
            Refused::MemberAdd(request) => heard_other!(cluster.member_add(request.clone())),
        }
    }

    /// Every token differs from every other: that one was given is compared. What it is, is for [`Side::log_in`].
    async fn ask_auth(&self, step: &AuthStep) -> Heard {
        let mut auth = self.auth.clone();
        match step {
            AuthStep::Enable => heard_other!(auth.auth_enable(pb::AuthEnableRequest {})),
            AuthStep::Disable => heard_other!(auth.auth_disable(pb::AuthDisableRequest {})),
            AuthStep::Status => heard_other!(auth.auth_status(pb::AuthStatusRequest {})),
            AuthStep::Authenticate(request) => self.log_in(request).await.0,
            AuthStep::UserAdd(request) => heard_other!(auth.user_add(request.clone())),
            AuthStep::UserGet(request) => heard_other!(auth.user_get(request.clone())),
            AuthStep::UserList => heard_other!(auth.user_list(pb::AuthUserListRequest {})),
            AuthStep::UserDelete(request) => heard_other!(auth.user_delete(request.clone())),
            AuthStep::UserChangePassword(request) => heard_other!(auth.user_change_password(request.clone())),
            AuthStep::UserGrantRole(request) => heard_other!(auth.user_grant_role(request.clone())),
            AuthStep::UserRevokeRole(request) => heard_other!(auth.user_revoke_role(request.clone())),
            AuthStep::RoleAdd(request) => heard_other!(auth.role_add(request.clone())),
            AuthStep::RoleGet(request) => heard_other!(auth.role_get(request.clone())),
            AuthStep::RoleList => heard_other!(auth.role_list(pb::AuthRoleListRequest {})),
            AuthStep::RoleDelete(request) => heard_other!(auth.role_delete(request.clone())),
            AuthStep::RoleGrant(request) => heard_other!(auth.role_grant_permission(request.clone())),
            AuthStep::RoleRevoke(request) => heard_other!(auth.role_revoke_permission(request.clone())),
        }
    }

    /// Auth/Authenticate: what is comparable of the answer, and the token.
    pub async fn log_in(&self, request: &pb::AuthenticateRequest) -> (Heard, String) {
        let mut token = String::new();
        let mut plain = |m: &mut pb::AuthenticateResponse| {
            token = std::mem::take(&mut m.token);
            m.token = if token.is_empty() { "none" } else { "given" }.to_owned();
            header_of(m)
        };
        let heard = heard!(self.auth.clone().authenticate(request.clone()), plain, |m| Reply::Other(format!("{m:?}")));
        (heard, token)
    }

    async fn barred(&self) -> Heard {
        let mut maintenance = self.maintenance.clone();
        let refusal = match maintenance.snapshot(pb::SnapshotRequest {}).await {
            Ok(stream) => stream.into_inner().message().await.err(),
            Err(status) => Some(status),
        };
        let given = || Heard { replies: vec![Reply::Other("given".to_owned())], revision: 0 };
        let mut heard = refusal.map_or_else(given, |status| Heard::refused(&status));
        heard.and(match maintenance.hash(pb::HashRequest {}).await {
            Ok(_) => given(),
            Err(status) => Heard::refused(&status),
        });
        heard
    }
}
