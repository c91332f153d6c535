//! Service Auth: users, roles, and proving who one is.
//!
//! Invariants: a password leaves this file only hashed; a token is given only where the password was compared at the
//! revision of the table at which the token's entry was applied. What only reads needs no log entry: a linearizable view
//! says that the table here is as new as any answer given before.

use std::sync::Arc;
use std::time::Instant;

use crate::api::session::Session;
use crate::auth::{Asker, Auth, AuthCommand, PasswordHash, Permission, PermissionKind, ROOT};
use crate::base::{KeyRange, Refusal, limits};
use crate::env::Env;
use crate::machine::{self, Answer, Command};
use crate::passport::{Claimant, TokenKind};
use crate::wire::etcdserverpb as pb;

/// The answers that hold nothing but a header.
macro_rules! changes {
    ($($(#[$doc:meta])* $method:ident($request:ident: $takes:ty) -> $gives:ident { $command:expr })*) => {
        impl<E: Env> Session<E> {
            $(
                $(#[$doc])*
                pub async fn $method(&self, $request: $takes) -> Result<pb::$gives, Refusal> {
                    let (header, _) = self.propose(Command::Auth($command)).await?;
                    Ok(pb::$gives { header: Some(header) })
                }
            )*
        }
    };
}

changes! {
    /// From now on everybody is asked who he is.
    auth_enable(_request: pb::AuthEnableRequest) -> AuthEnableResponse { AuthCommand::Enable }
    /// Nobody is asked any more.
    auth_disable(_request: pb::AuthDisableRequest) -> AuthDisableResponse { AuthCommand::Disable }
    /// Removes a user, and what he holds.
    user_delete(request: pb::AuthUserDeleteRequest) -> AuthUserDeleteResponse {
        AuthCommand::UserDelete { name: request.name }
    }
    /// Gives a user a role.
    user_grant_role(request: pb::AuthUserGrantRoleRequest) -> AuthUserGrantRoleResponse {
        AuthCommand::UserGrantRole { user: request.user, role: request.role }
    }
    /// Takes a role from a user.
    user_revoke_role(request: pb::AuthUserRevokeRoleRequest) -> AuthUserRevokeRoleResponse {
        AuthCommand::UserRevokeRole { user: request.name, role: request.role }
    }
    /// Makes a role, which allows nothing yet.
    role_add(request: pb::AuthRoleAddRequest) -> AuthRoleAddResponse { AuthCommand::RoleAdd { name: request.name } }
    /// Removes a role, from all who have it.
    role_delete(request: pb::AuthRoleDeleteRequest) -> AuthRoleDeleteResponse {
        AuthCommand::RoleDelete { name: request.role }
    }
    /// Lets a role access a range of keys.
    role_grant_permission(request: pb::AuthRoleGrantPermissionRequest) -> AuthRoleGrantPermissionResponse {
        machine::grant_from_wire(request)
    }
    /// Lets a role access a range no more.
    role_revoke_permission(request: pb::AuthRoleRevokePermissionRequest) -> AuthRoleRevokePermissionResponse {
        machine::revoke_from_wire(request)
    }
}

impl<E: Env> Session<E> {
    /// Whether callers are asked who they are.
    pub async fn auth_status(&self, _: pb::AuthStatusRequest) -> Result<pb::AuthStatusResponse, Refusal> {
        let (header, table, _) = self.table("AuthStatus").await?;
        Ok(pb::AuthStatusResponse { header, enabled: table.is_enabled(), auth_revision: table.revision() })
    }

    /// Gives a token to who knows a user's password.
    pub async fn authenticate(&self, request: pb::AuthenticateRequest) -> Result<pb::AuthenticateResponse, Refusal> {
        self.view(true).await?;
        for _ in 0..limits::READS_WHILE_USERS_CHANGE {
            let table = self.handle.auth();
            self.prove(&table, &request).await.inspect_err(|refusal| {
                if *refusal != Refusal::AuthNotEnabled {
                    tracing::warn!(user = request.name, error = %refusal, "invalid authentication was requested");
                }
            })?;
            let tokens = &self.passports.tokens;
            if let TokenKind::Nothing = tokens {
                return Err(Refusal::AuthFailed);
            }
            let drawn = tokens.draw().ok_or(Refusal::Stopped)?;
            let command = AuthCommand::Authenticate { user: request.name.clone(), token: drawn.clone() };
            let (header, proposed) = self.propose_for(&self.patron().account, None, Command::Auth(command)).await?;
            let Answer::Authenticated { auth_revision } = proposed.answer else {
                unreachable!("the machine answers who authenticates with a revision")
            };
            // Where users changed meanwhile, the password may have, too.
            if auth_revision == table.revision() {
                let token = match tokens {
                    TokenKind::Jwt(jwt) => jwt.give(&request.name, auth_revision, self.handle.wall_ms()),
                    _ => Some(format!("{drawn}.{}", proposed.index)),
                };
                return match token {
                    Some(token) => Ok(pb::AuthenticateResponse { header: Some(header), token }),
                    None => Err(Refusal::VerifyOnly),
                };
            }
        }
        Err(Refusal::AuthOldRevision)
    }

    /// Refuses who does not know the password.
    async fn prove(&self, table: &Auth, request: &pb::AuthenticateRequest) -> Result<(), Refusal> {
        if !table.is_enabled() {
            return Err(Refusal::AuthNotEnabled);
        }
        let user = table.user(&request.name).ok_or(Refusal::AuthFailed)?;
        if user.no_password {
            return Err(Refusal::NoPasswordUser);
        }
        let who = Claimant::who_says(&request.name, self.guest().from().map(|from| from.ip()));
        let is_right = self.passports.hasher.verify(who, request.password.clone(), user.password.clone()).await?;
        if is_right { Ok(()) } else { Err(Refusal::AuthFailed) }
    }

    /// Who wants a password hashed, once he was admitted.
    fn claimant(&self, asker: Option<Asker>) -> Claimant {
        let name = asker.as_ref().map_or("", |asker| &asker.user);
        Claimant::who_is(name, self.guest().from().map(|from| from.ip()))
    }

    /// Adds a user.
    pub async fn user_add(&self, request: pb::AuthUserAddRequest) -> Result<pb::AuthUserAddResponse, Refusal> {
        // Before the work: who may not do this does not set others to work, either.
        let who = self.claimant(self.require_root().await?);
        let no_password = request.options.is_some_and(|options| options.no_password);
        let password = if no_password {
            PasswordHash::default()
        } else {
            self.passports.hasher.hash(who, request.password).await?
        };
        let command = AuthCommand::UserAdd { name: request.name, password, no_password };
        let (header, _) = self.propose(Command::Auth(command)).await?;
        Ok(pb::AuthUserAddResponse { header: Some(header) })
    }

    /// Gives a user another password. As in etcd a hash may be given in its place.
    pub async fn user_change_password(
        &self,
        request: pb::AuthUserChangePasswordRequest,
    ) -> Result<pb::AuthUserChangePasswordResponse, Refusal> {
        let who = self.claimant(self.require_root().await?);
        let password = if request.password.is_empty() {
            machine::password_hash(&request.hashed_password)
        } else {
            Some(self.passports.hasher.hash(who, request.password).await?)
        };
        let command = AuthCommand::UserChangePassword { name: request.name, password };
        let (header, _) = self.propose(Command::Auth(command)).await?;
        Ok(pb::AuthUserChangePasswordResponse { header: Some(header) })
    }

    /// Tells a user's roles: to `root`, and to the user.
    pub async fn user_get(&self, request: pb::AuthUserGetRequest) -> Result<pb::AuthUserGetResponse, Refusal> {
        let (header, table, asker) = self.table("AuthUserGet").await?;
        table.check_root(asker.as_ref()).or_else(|refusal| {
            let is_own = asker.as_ref().map_or("", |asker| &asker.user) == request.name;
            if is_own { Ok(()) } else { Err(refusal) }
        })?;
        let user = table.user(&request.name).ok_or(Refusal::UserNotFound)?;
        Ok(pb::AuthUserGetResponse { header, roles: user.roles.clone() })
    }

    /// Lists the users.
    pub async fn user_list(&self, _: pb::AuthUserListRequest) -> Result<pb::AuthUserListResponse, Refusal> {
        let (header, table, asker) = self.table("AuthUserList").await?;
        table.check_root(asker.as_ref())?;
        Ok(pb::AuthUserListResponse { header, users: table.users().map(|(name, _)| name.to_string()).collect() })
    }

    /// Tells what a role allows: to `root`, and to who has the role.
    pub async fn role_get(&self, request: pb::AuthRoleGetRequest) -> Result<pb::AuthRoleGetResponse, Refusal> {
        let (header, table, asker) = self.table("AuthRoleGet").await?;
        table.check_root(asker.as_ref()).or_else(|refusal| {
            let user = asker.as_ref().and_then(|asker| table.user(&asker.user));
            if user.is_some_and(|user| user.has_role(&request.role)) { Ok(()) } else { Err(refusal) }
        })?;
        let role = table.role(&request.role).ok_or(Refusal::RoleNotFound)?;
        let everything = [Permission { kind: PermissionKind::ReadWrite, range: KeyRange::all() }];
        let told = if request.role == ROOT { &everything[..] } else { role };
        Ok(pb::AuthRoleGetResponse { header, perm: told.iter().map(machine::permission_to_wire).collect() })
    }

    /// Lists the roles.
    pub async fn role_list(&self, _: pb::AuthRoleListRequest) -> Result<pb::AuthRoleListResponse, Refusal> {
        let (header, table, asker) = self.table("AuthRoleList").await?;
        table.check_root(asker.as_ref())?;
        Ok(pb::AuthRoleListResponse { header, roles: table.roles().map(|(name, _)| name.to_string()).collect() })
    }

    /// Users and roles as new as any answer before, and who asks. Counted by its kind, as what etcd proposes.
    async fn table(&self, kind: &str) -> Result<(Option<pb::ResponseHeader>, Arc<Auth>, Option<Asker>), Refusal> {
        let begun = Instant::now();
        let view = self.view(true).await;
        self.metrics.requested(kind, view.is_ok(), begun.elapsed());
        let view = view?;
        let asker = self.asker().await?;
        Ok((Some(self.header(view.revision())), self.handle.auth(), asker))
    }
}
