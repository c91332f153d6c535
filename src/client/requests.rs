//! The unary requests, one method each, with their rule of safety.

use prost::Message;
use tonic::Code;

use crate::base::Url;
use crate::wire::etcdserverpb as pb;
use crate::wire::services::auth_client::AuthClient;
use crate::wire::services::cluster_client::ClusterClient;
use crate::wire::services::kv_client::KvClient;
use crate::wire::services::lease_client::LeaseClient;
use crate::wire::services::maintenance_client::MaintenanceClient;

use super::connection::{Client, Safety, Wire};
use super::error::Error;
use super::parts::Parts;

/// One method: name, stub, request, response, safety.
macro_rules! request {
    ($(#[$doc:meta])* $name:ident, $stub:ident, $request:ident -> $response:ident, $safety:ident) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// The server's refusal, or that no answer came in time.
        pub async fn $name(&self, request: pb::$request) -> Result<pb::$response, Error> {
            self.fits(&request)?;
            self.call(Safety::$safety, |wire| {
                let request = request.clone();
                async move { self.$stub(wire).$name(request).await }
            })
            .await
        }
    };
}

impl Client {
    request!(/// Reads keys.
        range, kv, RangeRequest -> RangeResponse, Read);
    request!(/// Writes one key.
        put, kv, PutRequest -> PutResponse, Write);
    request!(/// Deletes keys.
        delete_range, kv, DeleteRangeRequest -> DeleteRangeResponse, Write);
    request!(/// Compares, then does one of two lists of requests, as one.
        txn, kv, TxnRequest -> TxnResponse, Write);
    request!(/// Forgets revisions below one.
        compact, kv, CompactionRequest -> CompactionResponse, Write);
    request!(/// Creates a lease.
        lease_grant, lease, LeaseGrantRequest -> LeaseGrantResponse, Write);
    request!(/// Ends a lease and deletes its keys.
        lease_revoke, lease, LeaseRevokeRequest -> LeaseRevokeResponse, Write);
    request!(/// Asks how long a lease has left.
        lease_time_to_live, lease, LeaseTimeToLiveRequest -> LeaseTimeToLiveResponse, Read);
    request!(/// Lists leases.
        lease_leases, lease, LeaseLeasesRequest -> LeaseLeasesResponse, Read);
    request!(/// Lists members.
        member_list, cluster, MemberListRequest -> MemberListResponse, Read);
    request!(/// Reads, raises or lowers alarms; sent once, because only reading is safe to repeat.
        alarm, maintenance, AlarmRequest -> AlarmResponse, Write);
    request!(/// Asks the member that answers how it is.
        status, maintenance, StatusRequest -> StatusResponse, Read);
    request!(/// Asks the member that answers for the digest of its keys.
        hash_kv, maintenance, HashKvRequest -> HashKvResponse, Read);
    request!(/// Asks the member that answers to give back free space.
        defragment, maintenance, DefragmentRequest -> DefragmentResponse, Write);

    request!(/// Removes a member.
        member_remove, cluster, MemberRemoveRequest -> MemberRemoveResponse, Write);
    request!(/// Makes a learner a voter.
        member_promote, cluster, MemberPromoteRequest -> MemberPromoteResponse, Write);
    request!(/// Asks the leader to hand over to another member; whoever answers must be the leader.
        move_leader, maintenance, MoveLeaderRequest -> MoveLeaderResponse, Write);

    request!(/// Validates, begins or cancels a downgrade of the cluster.
        downgrade, maintenance, DowngradeRequest -> DowngradeResponse, Write);

    request!(/// Turns authentication on; the user and the role `root` must be there.
        auth_enable, auth, AuthEnableRequest -> AuthEnableResponse, Write);
    request!(/// Turns authentication off.
        auth_disable, auth, AuthDisableRequest -> AuthDisableResponse, Write);
    request!(/// Asks whether authentication is on.
        auth_status, auth, AuthStatusRequest -> AuthStatusResponse, Read);
    request!(/// Adds a user.
        user_add, auth, AuthUserAddRequest -> AuthUserAddResponse, Write);
    request!(/// Deletes a user.
        user_delete, auth, AuthUserDeleteRequest -> AuthUserDeleteResponse, Write);
    request!(/// Asks for a user's roles.
        user_get, auth, AuthUserGetRequest -> AuthUserGetResponse, Read);
    request!(/// Lists users.
        user_list, auth, AuthUserListRequest -> AuthUserListResponse, Read);
    request!(/// Gives a user another password.
        user_change_password, auth, AuthUserChangePasswordRequest -> AuthUserChangePasswordResponse, Write);
    request!(/// Grants a role to a user.
        user_grant_role, auth, AuthUserGrantRoleRequest -> AuthUserGrantRoleResponse, Write);
    request!(/// Takes a role from a user.
        user_revoke_role, auth, AuthUserRevokeRoleRequest -> AuthUserRevokeRoleResponse, Write);
    request!(/// Adds a role.
        role_add, auth, AuthRoleAddRequest -> AuthRoleAddResponse, Write);
    request!(/// Deletes a role.
        role_delete, auth, AuthRoleDeleteRequest -> AuthRoleDeleteResponse, Write);
    request!(/// Asks what a role may do.
        role_get, auth, AuthRoleGetRequest -> AuthRoleGetResponse, Read);
    request!(/// Lists roles.
        role_list, auth, AuthRoleListRequest -> AuthRoleListResponse, Read);
    request!(/// Grants a role something to do on keys.
        role_grant_permission, auth, AuthRoleGrantPermissionRequest -> AuthRoleGrantPermissionResponse, Write);
    request!(/// Takes from a role what it may do on keys.
        role_revoke_permission, auth, AuthRoleRevokePermissionRequest -> AuthRoleRevokePermissionResponse, Write);

    /// Asks the member that answers for its whole state, as the bytes of a file. The request's timeout ends the wait
    /// for the first part alone; a stream that breaks is not taken up again.
    ///
    /// # Errors
    /// The server's refusal, or that no answer came in time.
    pub async fn snapshot(&self) -> Result<Parts<pb::SnapshotResponse>, Error> {
        let send = |wire| async move { self.maintenance(wire).snapshot(pb::SnapshotRequest {}).await };
        self.call_for_parts(Safety::Read, send).await
    }

    /// Adds a member.
    ///
    /// # Errors
    /// [`Error::BadUrl`] before anything is sent, the server's refusal, or that no answer came in time.
    pub async fn member_add(&self, request: pb::MemberAddRequest) -> Result<pb::MemberAddResponse, Error> {
        self.fits(&request)?;
        Url::read_all(&request.peer_ur_ls).map_err(Error::BadUrl)?;
        let send = |wire| {
            let request = request.clone();
            async move { self.cluster(wire).member_add(request).await }
        };
        self.call(Safety::Write, send).await
    }

    /// Changes a member's peer URLs.
    ///
    /// # Errors
    /// As [`Client::member_add`].
    pub async fn member_update(&self, request: pb::MemberUpdateRequest) -> Result<pb::MemberUpdateResponse, Error> {
        self.fits(&request)?;
        Url::read_all(&request.peer_ur_ls).map_err(Error::BadUrl)?;
        let send = |wire| {
            let request = request.clone();
            async move { self.cluster(wire).member_update(request).await }
        };
        self.call(Safety::Write, send).await
    }

    /// Reads keys through the streaming call and joins the chunks into one response.
    ///
    /// # Errors
    /// The server's refusal, or that no answer came in time (counted anew once the first
    /// chunk is here). A stream that breaks is not taken up again.
    pub async fn range_stream(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse, Error> {
        self.fits(&request)?;
        let mut chunks = self
            .call_for_parts(Safety::Read, |wire| {
                let request = request.clone();
                async move { self.kv(wire).range_stream(request).await }
            })
            .await?;
        self.rest(async {
            let mut whole = pb::RangeResponse::default();
            while let Some(chunk) = chunks.next().await {
                let Some(part) = chunk?.range_response else { continue };
                whole.kvs.extend(part.kvs);
                whole.header = part.header.or(whole.header);
                whole.more |= part.more;
                // The server counts once, on the chunk that has it.
                if part.count != 0 {
                    whole.count = part.count;
                }
            }
            Ok(whole)
        })
        .await
    }

    fn kv(&self, wire: Wire) -> KvClient<Wire> {
        let (sent, taken) = self.sizes();
        KvClient::new(wire).max_encoding_message_size(sent).max_decoding_message_size(taken)
    }

    pub(super) fn lease(&self, wire: Wire) -> LeaseClient<Wire> {
        let (sent, taken) = self.sizes();
        LeaseClient::new(wire).max_encoding_message_size(sent).max_decoding_message_size(taken)
    }

    fn cluster(&self, wire: Wire) -> ClusterClient<Wire> {
        let (sent, taken) = self.sizes();
        ClusterClient::new(wire).max_encoding_message_size(sent).max_decoding_message_size(taken)
    }

    fn maintenance(&self, wire: Wire) -> MaintenanceClient<Wire> {
        let (sent, taken) = self.sizes();
        MaintenanceClient::new(wire).max_encoding_message_size(sent).max_decoding_message_size(taken)
    }

    fn auth(&self, wire: Wire) -> AuthClient<Wire> {
        let (sent, taken) = self.sizes();
        AuthClient::new(wire).max_encoding_message_size(sent).max_decoding_message_size(taken)
    }

    /// Refuses a request larger than may be sent, in the words of etcd's client: the library below would only reset its stream.
    fn fits(&self, request: &impl Message) -> Result<(), Error> {
        let (len, most) = (request.encoded_len(), self.options().max_request_bytes);
        if len <= most {
            return Ok(());
        }
        let text = format!("trying to send message larger than max ({len} vs. {most})");
        Err(Error::Answered(Code::ResourceExhausted, text))
    }

    fn sizes(&self) -> (usize, usize) {
        (self.options().max_request_bytes, self.options().max_response_bytes)
    }
}
