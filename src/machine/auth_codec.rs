//! Users and roles as the raft log carries them: etcd's requests, the passwords only hashed.
//!
//! Each function `*_from_wire` is the porch's, too. Does not know what the commands do.

use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD as BASE64};
use base64::engine::{DecodePaddingMode, Engine};
use bytes::Bytes;
use prost::Message;

use crate::auth::{Auth, AuthCommand, PasswordHash, Permission, PermissionKind, Role, User};
use crate::base::{KeyRange, Refusal};
use crate::wire::authpb;
use crate::wire::etcdserverpb as pb;

/// Puts a command into the request that carries it.
pub(super) fn write(request: &mut pb::InternalRaftRequest, command: &AuthCommand) {
    let hashed = |password: &PasswordHash| BASE64.encode(&password.0);
    match command.clone() {
        AuthCommand::Enable => request.auth_enable = Some(pb::AuthEnableRequest {}),
        AuthCommand::Disable => request.auth_disable = Some(pb::AuthDisableRequest {}),
        AuthCommand::Authenticate { user, token } => {
            let password = String::new();
            request.authenticate = Some(pb::InternalAuthenticateRequest { name: user, password, simple_token: token });
        }
        AuthCommand::UserAdd { name, password, no_password } => {
            request.auth_user_add = Some(pb::AuthUserAddRequest {
                name,
                password: String::new(),
                options: Some(authpb::UserAddOptions { no_password }),
                hashed_password: hashed(&password),
            });
        }
        AuthCommand::UserDelete { name } => request.auth_user_delete = Some(pb::AuthUserDeleteRequest { name }),
        AuthCommand::UserChangePassword { name, password } => {
            request.auth_user_change_password = Some(pb::AuthUserChangePasswordRequest {
                name,
                password: String::new(),
                hashed_password: password.map_or_else(|| NO_HASH.to_string(), |password| hashed(&password)),
            });
        }
        AuthCommand::UserGrantRole { user, role } => {
            request.auth_user_grant_role = Some(pb::AuthUserGrantRoleRequest { user, role });
        }
        AuthCommand::UserRevokeRole { user, role } => {
            request.auth_user_revoke_role = Some(pb::AuthUserRevokeRoleRequest { name: user, role });
        }
        AuthCommand::RoleAdd { name } => request.auth_role_add = Some(pb::AuthRoleAddRequest { name }),
        AuthCommand::RoleDelete { name } => request.auth_role_delete = Some(pb::AuthRoleDeleteRequest { role: name }),
        AuthCommand::RoleGrantPermission { role, permission } => {
            let perm = permission.as_ref().map(permission_to_wire);
            request.auth_role_grant_permission = Some(pb::AuthRoleGrantPermissionRequest { name: role, perm });
        }
        AuthCommand::RoleRevokePermission { role, range } => {
            let range_end = range.wire_end();
            let request_of = pb::AuthRoleRevokePermissionRequest { role, key: range.start, range_end };
            request.auth_role_revoke_permission = Some(request_of);
        }
    }
}

/// The command a request carries, if it is of users or roles and changes something.
pub(super) fn read(request: &mut pb::InternalRaftRequest) -> Option<Result<AuthCommand, Refusal>> {
    let command = if request.auth_enable.is_some() {
        AuthCommand::Enable
    } else if request.auth_disable.is_some() {
        AuthCommand::Disable
    } else if let Some(it) = request.authenticate.take() {
        AuthCommand::Authenticate { user: it.name, token: it.simple_token }
    } else if let Some(it) = request.auth_user_add.take() {
        let no_password = it.options.is_some_and(|options| options.no_password);
        let Some(password) = hash_of(no_password, &it.password, &it.hashed_password) else {
            return Some(Err(Refusal::NoPasswordUser));
        };
        AuthCommand::UserAdd { name: it.name, password, no_password }
    } else if let Some(it) = request.auth_user_change_password.take() {
        let password = hash_of(false, &it.password, &it.hashed_password);
        AuthCommand::UserChangePassword { name: it.name, password }
    } else {
        return read_plain(request).map(Ok);
    };
    Some(Ok(command))
}

/// Those without a password in them.
fn read_plain(request: &mut pb::InternalRaftRequest) -> Option<AuthCommand> {
    Some(if let Some(it) = request.auth_user_delete.take() {
        AuthCommand::UserDelete { name: it.name }
    } else if let Some(it) = request.auth_user_grant_role.take() {
        AuthCommand::UserGrantRole { user: it.user, role: it.role }
    } else if let Some(it) = request.auth_user_revoke_role.take() {
        AuthCommand::UserRevokeRole { user: it.name, role: it.role }
    } else if let Some(it) = request.auth_role_add.take() {
        AuthCommand::RoleAdd { name: it.name }
    } else if let Some(it) = request.auth_role_delete.take() {
        AuthCommand::RoleDelete { name: it.role }
    } else if let Some(it) = request.auth_role_grant_permission.take() {
        grant_from_wire(it)
    } else if let Some(it) = request.auth_role_revoke_permission.take() {
        revoke_from_wire(it)
    } else {
        return None;
    })
}

/// Whether the request is one of those that etcd logs although they only read.
pub(super) fn only_reads(request: &pb::InternalRaftRequest) -> bool {
    request.auth_status.is_some()
        || request.auth_user_get.is_some()
        || request.auth_user_list.is_some()
        || request.auth_role_get.is_some()
        || request.auth_role_list.is_some()
}

/// The hash in a logged request. A password that is not hashed is from an etcd before 3.5, where each member hashed it
/// for itself: it is not taken, because members would differ.
fn hash_of(no_password: bool, password: &str, hashed: &str) -> Option<PasswordHash> {
    if no_password {
        return Some(PasswordHash::default());
    }
    if !password.is_empty() && hashed.is_empty() {
        return None;
    }
    password_hash(hashed)
}

/// What the log has in place of a hash where none was given that could be read.
const NO_HASH: &str = "!";

/// A hash as requests have it, if it is one: in base64 as Go's library reads it, which passes over ends of lines and does not
/// look at the bits that are too many.
pub fn password_hash(text: &str) -> Option<PasswordHash> {
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
            .with_decode_allow_trailing_bits(true),
    );
    let hash = ENGINE.decode(text.replace(['\r', '\n'], "")).ok()?;
    Some(PasswordHash(hash.into()))
}

/// A request to grant a permission.
pub fn grant_from_wire(request: pb::AuthRoleGrantPermissionRequest) -> AuthCommand {
    AuthCommand::RoleGrantPermission { role: request.name, permission: request.perm.map(permission_from_wire) }
}

/// A request to revoke one.
pub fn revoke_from_wire(request: pb::AuthRoleRevokePermissionRequest) -> AuthCommand {
    let range = KeyRange::from_wire(request.key, request.range_end);
    AuthCommand::RoleRevokePermission { role: request.role, range }
}

/// A permission as it travels.
pub fn permission_to_wire(permission: &Permission) -> authpb::Permission {
    authpb::Permission {
        perm_type: permission.kind.number(),
        key: permission.range.start.clone(),
        range_end: permission.range.wire_end(),
    }
}

fn permission_from_wire(permission: authpb::Permission) -> Permission {
    // Copies: what is kept must not keep the whole request.
    let copy = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
    Permission {
        kind: PermissionKind::of_number(permission.perm_type),
        range: KeyRange::from_wire(copy(&permission.key), copy(&permission.range_end)),
    }
}

/// A user as an image holds it, in etcd's own form.
pub(super) fn user_to_wire(name: &str, user: &User) -> authpb::User {
    authpb::User {
        name: Bytes::copy_from_slice(name.as_bytes()),
        password: user.password.0.clone(),
        roles: user.roles.clone(),
        options: Some(authpb::UserAddOptions { no_password: user.no_password }),
    }
}

/// A user of an image. Any bytes may be given; the text says what does not hold.
pub(super) fn user_from_wire(user: authpb::User) -> Result<(String, User), String> {
    let mut roles = user.roles;
    roles.sort_unstable();
    let kept = User {
        password: PasswordHash(Bytes::copy_from_slice(&user.password)),
        no_password: user.options.is_some_and(|options| options.no_password),
        roles,
    };
    Ok((name_of(&user.name)?, kept))
}

/// A role as an image holds it, in etcd's own form.
pub(super) fn role_to_wire(name: &str, role: &[Permission]) -> authpb::Role {
    authpb::Role {
        name: Bytes::copy_from_slice(name.as_bytes()),
        key_permission: role.iter().map(permission_to_wire).collect(),
    }
}

/// A role of an image.
pub(super) fn role_from_wire(role: authpb::Role) -> Result<(String, Vec<Permission>), String> {
    Ok((name_of(&role.name)?, role.key_permission.into_iter().map(permission_from_wire).collect()))
}

/// A record of etcd's own store: a name, and a message under it.
pub type AuthRecord = (Vec<u8>, Vec<u8>);

/// Users and roles as etcd's own store keeps them.
pub fn auth_records(auth: &Auth) -> (Vec<AuthRecord>, Vec<AuthRecord>) {
    let of_user = |(name, user): (&str, &User)| (name.into(), user_to_wire(name, user).encode_to_vec());
    let of_role = |(name, role): (&str, &Role)| (name.into(), role_to_wire(name, role).encode_to_vec());
    (auth.users().map(of_user).collect(), auth.roles().map(of_role).collect())
}

/// The table that such records make. Any bytes may be given; the text says what does not hold.
pub fn auth_of_records(
    is_enabled: bool,
    revision: u64,
    users: &[AuthRecord],
    roles: &[AuthRecord],
) -> Result<Auth, String> {
    let names = |key: &[u8], name: &[u8]| if key == name { Ok(()) } else { Err("a name stands under another") };
    let mut read_users = Vec::new();
    for (key, value) in users {
        let user = authpb::User::decode(&value[..]).map_err(|error| error.to_string())?;
        names(key, &user.name)?;
        read_users.push(user_from_wire(user)?);
    }
    let mut read_roles = Vec::new();
    for (key, value) in roles {
        let role = authpb::Role::decode(&value[..]).map_err(|error| error.to_string())?;
        names(key, &role.name)?;
        read_roles.push(role_from_wire(role)?);
    }
    Ok(Auth::restore(is_enabled, revision, read_users, read_roles))
}

fn name_of(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "a name is not UTF-8".to_string())
}
