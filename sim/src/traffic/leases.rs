//! What a client asks of leases beside making and ending them.

use quorate::base::Refusal;
use quorate::node::LeaseAccess;

use super::{Client, Settled};
use crate::env::true_now;
use crate::oracles::lease_order;
use crate::oracles::users::Table;
use crate::oracles::witness;
use crate::world::Lost;

impl Client {
    /// What became of a question about leases, for the trace and the client.
    fn heard<T>(&self, what: &impl std::fmt::Debug, answer: &Result<Result<T, Refusal>, Lost>) -> Settled
    where
        T: std::fmt::Debug,
    {
        self.world.trace.note("lease answer", format!("{what:?} {answer:?}").as_bytes());
        if matches!(answer, Ok(Ok(_))) { Settled::Yes } else { Settled::Not }
    }

    /// Asks to renew a lease.
    pub async fn keep_alive(&mut self, id: i64) -> Settled {
        self.prove().await;
        let (began, patience) = (self.began(), self.patience());
        let (way, shown, stands) = ((self.number, self.member), self.credentials.shown(&self.world), self.stood());
        let (world, member) = (self.world.clone(), self.member);
        self.world.remainders().asked(id, true_now());
        let under_way = self.world.under_way_at_leader();
        let asked = self.world.ask(way, patience, &mut self.dice, move |door| async move {
            shown.check_leases(&door, LeaseAccess::Renew(id)).await?;
            world.meets(member, "in slices: a lease was renewed");
            door.keep_alive(id).await
        });
        let answer = asked.await;
        if under_way.is_some() && under_way == self.world.under_way_at_leader() && matches!(answer, Ok(Ok(Some(_)))) {
            self.world.marks.hit("in slices: a renewal did not wait for the end");
        }
        self.owed(began, patience, &answer, &id);
        self.looks_denied(stands, &answer, &id, Table::may_all);
        let settled = self.heard(&id, &answer);
        if let Ok(Ok(got)) = answer {
            if got.is_none() {
                self.world.marks.hit("keep-alive of a lease that is gone");
            }
            let ledger = self.world.ledger();
            let mut times = self.world.lease_times.lock().expect("no judge panics");
            let verdict = times.kept_alive(&ledger, began, id, got);
            drop(times);
            drop(ledger);
            self.world.judge(verdict);
        }
        settled
    }

    pub(super) async fn time_to_live(&mut self, id: i64, keys: bool) -> Settled {
        self.prove().await;
        let (began, patience) = (self.began(), self.patience());
        let (way, shown, stands) = ((self.number, self.member), self.credentials.shown(&self.world), self.stood());
        let who = shown.user().map(str::to_string);
        let (world, member) = (self.world.clone(), self.member);
        let asked = self.world.ask(way, patience, &mut self.dice, move |door| async move {
            if keys {
                world.meets(member, "in slices: the keys of a lease were asked for");
            }
            shown.time_to_live(&door, id, keys).await
        });
        let answer = asked.await;
        self.owed(began, patience, &answer, &id);
        self.looks_denied(stands, &answer, &id, Table::may_all);
        let settled = self.heard(&id, &answer);
        if let Ok(Ok(got)) = answer {
            let told: Vec<Vec<u8>> = got.iter().flat_map(|got| got.keys.iter()).map(|key| key.to_vec()).collect();
            let ledger = self.world.ledger();
            let verdict = witness::told_keys(&ledger, ledger.window(began.entries, None), who.as_deref(), &told);
            drop(ledger);
            self.world.judge(verdict);
            let got = got.map(|standing| {
                let held = standing.keys.iter().map(|key| key.to_vec()).collect();
                (standing.granted_ttl, standing.ttl, keys.then_some(held))
            });
            let ledger = self.world.ledger();
            let times = self.world.lease_times.lock().expect("no judge panics");
            let verdict = times.standing(&ledger, began, id, got);
            drop(times);
            drop(ledger);
            self.world.judge(verdict);
        }
        settled
    }

    /// Asks for all leases.
    pub async fn leases(&mut self) -> Settled {
        self.prove().await;
        let (began, patience) = (self.began(), self.patience());
        let (way, shown, stands) = ((self.number, self.member), self.credentials.shown(&self.world), self.stood());
        let asked = self.world.ask(way, patience, &mut self.dice, |door| async move {
            shown.check_leases(&door, LeaseAccess::List).await?;
            door.leases().await
        });
        let answer = asked.await;
        self.owed(began, patience, &answer, &"all leases");
        self.looks_denied(stands, &answer, &"all leases", Table::may_all);
        let settled = self.heard(&"all", &answer);
        if let Ok(Ok(got)) = answer {
            let counts_since = self.world.counts_leases_since();
            let ledger = self.world.ledger();
            let times = self.world.lease_times.lock().expect("no judge panics");
            let mut verdict = times.listed(&ledger, began, &got);
            let led_since = self.world.raft().led_since();
            // Others know no times. Nobody has begun to lead meanwhile, so it is the one who was asked.
            let led = self.world.leader() == Some(self.member) && began.at >= led_since;
            if let Some(calm) = self.world.calm_since().filter(|calm| led && began.at >= *calm) {
                let calm = calm.max(counts_since);
                verdict = verdict.and_then(|()| lease_order::listed(&times, &ledger, began, &got, calm));
            }
            drop(times);
            drop(ledger);
            self.world.judge(verdict);
        }
        settled
    }
}
