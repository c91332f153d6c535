//! Service Maintenance: whether a cluster may go down by a minor version, and that it does.
//!
//! Invariants: order of checks and texts are etcd's; a version told is the one that was agreed on when the request was
//! judged. Does not know what members do with it.

use crate::api::session::Session;
use crate::base::Refusal;
use crate::env::Env;
use crate::machine::{Command, downgrade};
use crate::wire::etcdserverpb as pb;
use pb::downgrade_request::DowngradeAction;

impl<E: Env> Session<E> {
    /// Judges, begins or ends a downgrade.
    pub async fn downgrade(&self, request: pb::DowngradeRequest) -> Result<pb::DowngradeResponse, Refusal> {
        let version = match DowngradeAction::try_from(request.action) {
            Ok(DowngradeAction::Validate) => self.judge_downgrade(&request.version).await?.0,
            Ok(DowngradeAction::Enable) => self.begin_downgrade(&request.version).await.inspect_err(|refusal| {
                tracing::warn!(error = refusal.text(), "reject downgrade request");
            })?,
            Ok(DowngradeAction::Cancel) => self.end_downgrade().await?,
            Err(_) => return Err(Refusal::Told("etcdserver: unknown method".to_string())),
        };
        Ok(pb::DowngradeResponse {
            header: Some(self.header(self.handle.facts().revision())),
            version: short(&version),
        })
    }

    /// The version of the cluster and the one it may go down to, where that is the one that is asked for.
    async fn judge_downgrade(&self, asked: &str) -> Result<(String, String), Refusal> {
        let target = downgrade::target_of(asked).ok_or(Refusal::WrongDowngradeVersion)?;
        if self.handle.status().cluster_version.is_none() {
            return Err(version_unknown());
        }
        // Whatever was agreed on before counts.
        self.handle.inspect(true).await?;
        let status = self.handle.status();
        let version = status.cluster_version.ok_or_else(version_unknown)?;
        // That it goes there already is told as at etcd, where the version of the cluster is lowered some seconds later.
        if status.downgrade.as_ref() == Some(&target) {
            return Err(Refusal::DowngradeInProgress);
        }
        if downgrade::allowed_target(&version).is_none_or(|allowed| allowed != target) {
            return Err(Refusal::InvalidDowngradeTarget);
        }
        if status.downgrade.is_some() {
            return Err(Refusal::DowngradeInProgress);
        }
        Ok((version, target))
    }

    async fn begin_downgrade(&self, asked: &str) -> Result<String, Refusal> {
        let (version, target) = self.judge_downgrade(asked).await?;
        self.propose(Command::SetDowngrade(Some(target))).await?;
        Ok(version)
    }

    /// That there is none to end, or that it did not end, is only told in the log, as in etcd.
    async fn end_downgrade(&self) -> Result<String, Refusal> {
        if let Err(text) = self.try_to_end_downgrade().await {
            tracing::warn!(error = text, "failed to cancel downgrade");
        }
        self.handle.status().cluster_version.ok_or_else(version_unknown)
    }

    async fn try_to_end_downgrade(&self) -> Result<(), String> {
        let told = |refusal: Refusal| refusal.text().to_string();
        self.handle.inspect(true).await.map_err(told)?;
        if self.handle.status().downgrade.is_none() {
            return Err("etcdserver: no inflight downgrade job".to_string());
        }
        self.propose(Command::SetDowngrade(None)).await.map(drop).map_err(told)
    }
}

/// Never said by a member that serves: it waits for the version first.
fn version_unknown() -> Refusal {
    Refusal::Told("etcdserver: cluster version not found during downgrade".to_string())
}

/// Major and minor of a version.
fn short(version: &str) -> String {
    version.rsplit_once('.').map_or(version, |(short, _)| short).to_string()
}
