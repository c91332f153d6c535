//! Which method a request names, and who answers it.
//!
//! Invariant: a method of the table is answered or named as not built; any other is refused in the words of etcd's gRPC
//! library. Does not know what the methods do, nor how messages travel.

use std::future::ready;
use std::sync::Arc;

use bytes::Bytes;
use http_body::Body as HttpBody;
use tonic::Status;

use crate::api::gate::malformed;
use crate::api::guest::Guest;
use crate::api::methods::{Rpc, unknown_method_text};
use crate::api::porch::Porch;
use crate::api::services::election::Observed;
use crate::api::services::health::{self, HealthWatch};
use crate::api::services::lease::KeepAlives;
use crate::api::services::range_chunks::RangeChunks;
use crate::api::services::range_pieces::RangePieces;
use crate::api::services::snapshot::SnapshotBlobs;
use crate::api::services::txn_pieces::Carried;
use crate::api::services::watch::WatchAnswers;
use crate::api::transport::call::{Call, HttpResponse, StdError};
use crate::api::transport::pieces::Whole;
use crate::api::transport::unwanted::read_off;
use crate::env::Env;
use crate::wire::etcdserverpb as pb;

/// A method of a session that answers in one message.
macro_rules! asked {
    ($call:ident, $request:ident, $method:ident) => {
        $call.unary($request, |session, q| async move { session.$method(q).await.map(Whole::from) }).await
    };
}

/// Answers one gRPC request of a guest.
pub async fn serve<E, B>(porch: Arc<Porch<E>>, request: http::Request<B>, guest: Guest) -> HttpResponse
where
    E: Env,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError> + Send,
{
    let rpc = match named(&request) {
        Ok(rpc) => rpc,
        Err(refused) => {
            Box::pin(read_off(request.into_body())).await;
            return *refused;
        }
    };
    let call = Call::new(porch, rpc, guest, request.headers());
    /// A method of the porch that answers in one message.
    macro_rules! ask {
        ($method:ident) => {
            asked!(call, request, $method)
        };
    }
    match rpc {
        Rpc::Range => {
            call.unary(request, |session, q| async move { session.placed_range(q).await.map(RangePieces::from) }).await
        }
        Rpc::Put => ask!(put),
        Rpc::DeleteRange => {
            call.unary(request, |session, q| async move { session.placed_delete_range(q).await.map(Carried::from) })
                .await
        }
        Rpc::Txn => {
            call.unary(request, |session, q| async move { session.placed_txn(q).await.map(Carried::from) }).await
        }
        // What is seldom asked, or lasts, stands elsewhere: it would make room for itself in each request.
        other => Box::pin(serve_others(call, other, request)).await,
    }
}

/// The methods that are not the data's.
async fn serve_others<E, B>(call: Call<E>, rpc: Rpc, request: http::Request<B>) -> HttpResponse
where
    E: Env,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError> + Send,
{
    macro_rules! ask {
        ($method:ident) => {
            asked!(call, request, $method)
        };
    }
    match rpc {
        Rpc::Compact => ask!(compact),
        Rpc::LeaseGrant => ask!(lease_grant),
        Rpc::LeaseRevoke => ask!(lease_revoke),
        Rpc::LeaseTimeToLive => {
            call.unary(request, |session, q| async move { session.lease_time_to_live(q).await }).await
        }
        Rpc::LeaseLeases => ask!(lease_leases),
        Rpc::MemberAdd => ask!(member_add),
        Rpc::MemberUpdate => ask!(member_update),
        Rpc::MemberRemove => ask!(member_remove),
        Rpc::MemberPromote => ask!(member_promote),
        Rpc::MoveLeader => ask!(move_leader),
        Rpc::Downgrade => ask!(downgrade),
        Rpc::MemberList => ask!(member_list),
        Rpc::Status => ask!(status),
        Rpc::Alarm => ask!(alarm),
        Rpc::Defragment => ask!(defragment),
        Rpc::Hash => ask!(hash),
        Rpc::HashKv => ask!(hash_kv),
        Rpc::HealthCheck => call.plain(request, |q| health::check(&q).map(Whole::from)).await,
        Rpc::HealthList => call.plain(request, |_: health::HealthListRequest| Ok(Whole::from(health::list()))).await,
        Rpc::RangeStream => call.server_stream(request, |session, q| ready(RangeChunks::open(session, q))).await,
        Rpc::Snapshot => {
            call.server_stream(request, |session, _: pb::SnapshotRequest| SnapshotBlobs::open(session)).await
        }
        Rpc::HealthWatch => {
            call.server_stream(request, |_, q| ready(Ok(HealthWatch { answer: Some(health::watch(&q)) }))).await
        }
        Rpc::Watch => call.bidi_stream(request, WatchAnswers::open).await,
        Rpc::LeaseKeepAlive => {
            call.bidi_stream(request, |session, inbound| ready(Ok(KeepAlives { session, inbound }))).await
        }
        Rpc::Lock => ask!(lock),
        Rpc::Unlock => ask!(unlock),
        Rpc::Campaign => ask!(campaign),
        Rpc::Proclaim => ask!(proclaim),
        Rpc::Leader => ask!(leader),
        Rpc::Resign => ask!(resign),
        Rpc::Observe => call.server_stream(request, |session, q| ready(Ok(Observed::open(session, &q)))).await,
        other => Box::pin(serve_users(call, other, request)).await,
    }
}

/// The method that a request names; else what is answered.
fn named<B>(request: &http::Request<B>) -> Result<Rpc, Box<HttpResponse>> {
    if let Some((status, code, text)) = malformed(request.method(), request.headers()) {
        let mut response = Status::new(code, text).into_http();
        *response.status_mut() = status;
        return Err(Box::new(response));
    }
    // A query is part of the name, as etcd's library reads it: there is no such method.
    let path = request.uri().path_and_query().map_or("", |path| path.as_str());
    Rpc::from_path(path).ok_or_else(|| Box::new(Status::unimplemented(unknown_method_text(path)).into_http()))
}

/// The methods that know of users.
async fn serve_users<E, B>(call: Call<E>, rpc: Rpc, request: http::Request<B>) -> HttpResponse
where
    E: Env,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError> + Send,
{
    macro_rules! ask {
        ($method:ident) => {
            asked!(call, request, $method)
        };
    }
    match rpc {
        Rpc::AuthEnable => ask!(auth_enable),
        Rpc::AuthDisable => ask!(auth_disable),
        Rpc::AuthStatus => ask!(auth_status),
        Rpc::Authenticate => ask!(authenticate),
        Rpc::UserAdd => ask!(user_add),
        Rpc::UserGet => ask!(user_get),
        Rpc::UserList => ask!(user_list),
        Rpc::UserDelete => ask!(user_delete),
        Rpc::UserChangePassword => ask!(user_change_password),
        Rpc::UserGrantRole => ask!(user_grant_role),
        Rpc::UserRevokeRole => ask!(user_revoke_role),
        Rpc::RoleAdd => ask!(role_add),
        Rpc::RoleGet => ask!(role_get),
        Rpc::RoleList => ask!(role_list),
        Rpc::RoleDelete => ask!(role_delete),
        Rpc::RoleGrantPermission => ask!(role_grant_permission),
        Rpc::RoleRevokePermission => ask!(role_revoke_permission),
        unbuilt => call.refuse(request, &unbuilt.unbuilt()).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posted(path: &str, kind: &str) -> Result<Rpc, Box<HttpResponse>> {
        named(&http::Request::post(path).header("content-type", kind).body(()).expect("a request"))
    }

    /// A client that looks at the status alone is not to take the refusal for an answer.
    #[test]
    fn what_is_no_grpc_by_its_content_type_is_refused_by_its_status() {
        for kind in ["application/json", "application/x-www-form-urlencoded", "application/grpc-web"] {
            let refused = posted("/v3/kv/put", kind).expect_err("no gRPC");
            assert_eq!(refused.status(), http::StatusCode::UNSUPPORTED_MEDIA_TYPE);
            assert_eq!(refused.headers()["grpc-status"], "3");
            assert!(posted("/etcdserverpb.KV/Put", kind).is_err(), "whatever it names");
        }
    }

    #[test]
    fn a_query_is_part_of_a_methods_name() {
        let named = |path: &str| posted(path, "application/grpc");
        assert!(matches!(named("/etcdserverpb.KV/Range"), Ok(Rpc::Range)));
        let refused = named("/etcdserverpb.KV/Range?a=b").expect_err("there is no such method");
        assert_eq!(
            (&refused.headers()["grpc-status"], refused.status()),
            (&"12".parse().expect("a value"), http::StatusCode::OK)
        );
        let told = refused.headers()["grpc-message"].to_str().expect("text");
        assert!(told.contains("Range%3Fa=b%20for%20service"), "{told}");
    }
}
