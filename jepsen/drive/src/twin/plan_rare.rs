//! Requests of the rarer services that a fresh single member refuses or answers without changing anything.
//!
//! Does not know the answers; see [`super::plan`].

use bytes::Bytes;
use quorate::base::Dice;
use quorate::wire::{authpb, etcdserverpb as pb};

use super::plan::Plan;
use super::step::{AuthStep, Refused, Step};

/// One of them.
pub fn rare(plan: &mut Plan) -> Step {
    let nobody = || "nobody".to_owned();
    let id = [0, 1, 0xdead_beef, u64::MAX][plan.dice.below(4) as usize];
    let urls = match plan.dice.below(5) {
        0 => Vec::new(),
        1 => vec!["not a url".to_owned()],
        2 => vec!["ftp://10.0.0.1:2380".to_owned()],
        3 => vec!["http://10.0.0.1".to_owned()],
        _ => vec!["http://10.0.0.1:2380/path".to_owned()],
    };
    let refused = match plan.dice.below(17) {
        0 => Refused::MoveLeader(id),
        1..4 => {
            let versions = ["", "3", "3.6.x", "3.8", "3.7.1", "3.5.0", "3.7", "0.0.0", "9.9", "\u{0}", "3.6.0.0"];
            let version = versions[plan.dice.below(versions.len() as u64) as usize].to_owned();
            // VALIDATE of the right version and CANCEL change nothing; ENABLE only with a version that is refused.
            let action = plan.choice(3);
            Refused::Downgrade(pb::DowngradeRequest { action, version })
        }
        4 => Refused::MemberRemove(id),
        5 => Refused::MemberUpdate(pb::MemberUpdateRequest { id, peer_ur_ls: urls }),
        6 => Refused::MemberPromote(id),
        7 => Refused::MemberAdd(pb::MemberAddRequest {
            peer_ur_ls: urls[..urls.len().min(1)].to_vec(),
            is_learner: false,
        }),
        8 => {
            let request = pb::AuthenticateRequest { name: nobody(), password: "x".to_owned() };
            return Step::Auth(AuthStep::Authenticate(request));
        }
        9 => return Step::Auth(AuthStep::Enable),
        10 => return Step::Auth(AuthStep::Status),
        11 => return Step::Auth(AuthStep::UserGet(pb::AuthUserGetRequest { name: nobody() })),
        12 => {
            let role = if plan.dice.one_in(2) { nobody() } else { "root".to_owned() };
            return Step::Auth(AuthStep::RoleGet(pb::AuthRoleGetRequest { role }));
        }
        13 => return Step::Auth(AuthStep::UserDelete(pb::AuthUserDeleteRequest { name: nobody() })),
        14 => return Step::Auth(AuthStep::RoleDelete(pb::AuthRoleDeleteRequest { role: nobody() })),
        15 => {
            return Step::Auth(match plan.dice.below(3) {
                0 => AuthStep::RoleAdd(pb::AuthRoleAddRequest::default()),
                1 => AuthStep::UserAdd(pb::AuthUserAddRequest::default()),
                _ => AuthStep::UserGrantRole(pb::AuthUserGrantRoleRequest { user: nobody(), role: nobody() }),
            });
        }
        _ => return Step::Auth(AuthStep::RoleGrant(grant(plan))),
    };
    Step::Refused(refused)
}

fn grant(plan: &mut Plan) -> pb::AuthRoleGrantPermissionRequest {
    let (key, range_end): (Bytes, Bytes) = plan.span();
    let perm = authpb::Permission { perm_type: plan.choice(3), key, range_end };
    pb::AuthRoleGrantPermissionRequest { name: "nobody".to_owned(), perm: (!plan.dice.one_in(4)).then_some(perm) }
}
