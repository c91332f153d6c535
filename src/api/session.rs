//! One asker's way into the services: what is asked is asked in someone's name, or in nobody's.
//!
//! Invariant: every method that a client can name is a method of a session, so that none can be served without the
//! question who asks. Costs one load of an atomic where nobody is asked who he is.
//! Does not know the methods.

use std::ops::Deref;
use std::sync::Arc;

use crate::api::gate::Credentials;
use crate::api::guest::{Guest, Patron};
use crate::api::methods::{Right, Rpc};
use crate::api::porch::{Porch, is_lost};
use crate::api::traces::{Draft, Operation, RequestTrace};
use crate::auth::{Asker, Auth};
use crate::base::Refusal;
use crate::env::Env;
use crate::machine::Command;
use crate::mvcc::View;
use crate::node::Proposed;
use crate::passport::TokenKind;
use crate::wire::etcdserverpb as pb;

/// The services, as one asker has them.
pub struct Session<E: Env> {
    porch: Arc<Porch<E>>,
    credentials: Credentials,
    guest: Guest,
    /// The spans of the request, where there are.
    trace: Option<Arc<RequestTrace>>,
}

impl<E: Env> Clone for Session<E> {
    fn clone(&self) -> Self {
        let (credentials, guest) = (self.credentials.clone(), self.guest.clone());
        Self { porch: self.porch.clone(), credentials, guest, trace: self.trace.clone() }
    }
}

impl<E: Env> Deref for Session<E> {
    type Target = Porch<E>;

    fn deref(&self) -> &Porch<E> {
        &self.porch
    }
}

impl<E: Env> Session<E> {
    /// A session of who shows these, and came by this connection, for a request that is told of or not.
    pub fn new(porch: Arc<Porch<E>>, credentials: Credentials, guest: Guest, trace: Option<Arc<RequestTrace>>) -> Self {
        Self { porch, credentials, guest, trace }
    }

    /// What is to be told of an operation of the request.
    pub fn draft(&self, operation: &impl Operation) -> Draft {
        Draft::of(self.trace.as_ref(), operation)
    }

    /// The spans of the request, where there are.
    pub fn trace(&self) -> Option<&Arc<RequestTrace>> {
        self.trace.as_ref()
    }

    fn event(&self, name: &str) {
        if let Some(trace) = &self.trace {
            trace.event(name);
        }
    }

    /// Over which connection.
    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    /// Who pays for what is asked before it is known who asks.
    pub fn patron(&self) -> Arc<Patron> {
        self.guest.latest(self.handle.asks_who())
    }

    /// A view, of which nobody has looked yet whether the asker may read it.
    pub async fn view(&self, linearizable: bool) -> Result<View<E::Disk>, Refusal> {
        self.view_of(&self.patron().account, linearizable).await
    }

    /// Who asks; nobody where nobody is asked, or where nothing is shown.
    ///
    /// A token wins over a certificate, as in etcd.
    pub async fn asker(&self) -> Result<Option<Asker>, Refusal> {
        if !self.handle.asks_who() {
            return Ok(None);
        }
        let Some(token) = self.credentials.token() else {
            let revision = self.handle.facts().auth.revision();
            let certified = self.credentials.certified.as_ref();
            return Ok(certified.map(|client| Asker { user: client.common_name.clone(), revision }));
        };
        match &self.passports.tokens {
            TokenKind::Simple => self.handle.named_by(token).await.map(Some),
            TokenKind::Jwt(jwt) => jwt.take(token, self.handle.wall_ms()).map(Some).ok_or(Refusal::InvalidAuthToken),
            TokenKind::Nothing => Err(Refusal::InvalidAuthToken),
        }
    }

    /// Refuses one for whom the method is not, as far as it does not depend on what is asked for.
    pub async fn admit(&self, rpc: Rpc) -> Result<(), Refusal> {
        if !self.handle.asks_who() {
            return Ok(());
        }
        match rpc.right() {
            Right::Anyone | Right::ByRequest => Ok(()),
            Right::Named => self.require_named().await.map(drop),
            Right::Root => self.require_root().await.map(drop),
        }
    }

    /// Refuses one who has not said who he is, where that is asked.
    pub async fn require_named(&self) -> Result<Option<Asker>, Refusal> {
        let asker = self.asker().await?;
        self.handle.auth().check_named(asker.as_ref())?;
        Ok(asker)
    }

    /// Refuses one who has not the role `root`, where that is asked.
    pub async fn require_root(&self) -> Result<Option<Asker>, Refusal> {
        if !self.handle.asks_who() {
            return Ok(None);
        }
        let asker = self.asker().await?;
        self.handle.auth().check_root(asker.as_ref())?;
        Ok(asker)
    }

    /// Proposes a command in the asker's name and gives the answer with its header.
    pub async fn propose(&self, command: Command) -> Result<(pb::ResponseHeader, Proposed), Refusal> {
        self.propose_charged(command).await.map(|(_, header, proposed)| (header, proposed))
    }

    /// As [`Self::propose`], and who was charged for it.
    pub async fn propose_charged(
        &self,
        command: Command,
    ) -> Result<(Arc<Patron>, pb::ResponseHeader, Proposed), Refusal> {
        let asker = self.asker().await?;
        let patron = self.guest.patron(asker.as_ref());
        self.event("Send raft proposal");
        let outcome = self.propose_for(&patron.account, asker.as_ref(), command).await;
        if outcome.as_ref().err().is_none_or(|refusal| !is_lost(refusal)) {
            self.event("Receive raft result");
        }
        outcome.map(|(header, proposed)| (patron, header, proposed))
    }

    /// A view of which the asker may read what `check` looks at.
    pub async fn view_for(
        &self,
        linearizable: bool,
        check: impl Fn(&Auth, Option<&Asker>) -> Result<(), Refusal>,
    ) -> Result<View<E::Disk>, Refusal> {
        let asker = || async {
            let asker = self.asker().await?;
            // From now on he pays.
            self.guest.patron(asker.as_ref());
            Ok(asker)
        };
        self.handle.view_for(|| self.view(linearizable), asker, check).await
    }
}
