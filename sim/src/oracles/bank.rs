//! The bank: accounts whose money is moved by transactions and never made or lost, judged without the witness and without
//! the model.
//!
//! Invariants: at every revision from the opening on the accounts hold the same sum, none is negative, and before it there
//! are none; two looks at one revision see the same, whichever member answers; a linearizable look is not older than what
//! was acknowledged when it was asked. Each transfer leaves a receipt in its own transaction: an acknowledged one has its
//! receipt, one that surely was not done has none, and at the end the accounts are what the receipts add up to.

use std::collections::BTreeMap;

use quorate_spec::request::{Bytes, KeyValue, Span};

use super::{Verdict, require};

/// What each account holds when the bank opens.
pub const OPENING: i64 = 100;

/// Everything of the bank's.
pub const BANK: &str = "bank/";

const ACCOUNTS: &str = "bank/a/";
const RECEIPTS: &str = "bank/r/";

/// The keys of the accounts.
pub fn accounts() -> Span {
    under(ACCOUNTS)
}

/// The keys of the receipts.
pub fn receipts() -> Span {
    under(RECEIPTS)
}

fn under(prefix: &str) -> Span {
    let mut end = prefix.as_bytes().to_vec();
    // The last byte is a slash.
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    Span::between(prefix.as_bytes(), end)
}

/// The key of an account; in order of number.
pub fn account(number: u64) -> Bytes {
    format!("{ACCOUNTS}{number:02}").into_bytes()
}

/// The key of a receipt.
pub fn receipt(transfer: &str) -> Bytes {
    format!("{RECEIPTS}{transfer}").into_bytes()
}

/// What moves: by account, by how much.
pub type Moves = Vec<(u64, i64)>;

/// The value of a receipt.
pub fn written(moves: &Moves) -> Bytes {
    moves.iter().map(|(account, by)| format!("{account}:{by};")).collect::<String>().into_bytes()
}

/// The moves of a receipt, if it is one.
fn read_moves(value: &[u8]) -> Option<Moves> {
    let text = std::str::from_utf8(value).ok()?;
    let one = |part: &str| {
        let (account, by) = part.split_once(':')?;
        Some((account.parse().ok()?, by.parse().ok()?))
    };
    text.split_terminator(';').map(one).collect()
}

/// How a transfer ended, as its client heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// Nothing is known yet, or what is known leaves it open.
    Open,
    /// It was done.
    Done,
}

/// A transfer that was tried.
#[derive(Clone, Debug)]
struct Transfer {
    fate: Fate,
    /// Attempts whose outcome is open.
    open: u32,
    moves: Moves,
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct BankJudge {
    /// The accounts when it opened; 0 where there is no bank.
    accounts: u64,
    /// The revision at which it opened, once someone was told.
    opened: Option<i64>,
    /// The first revision at which it was seen open, and the last at which it was seen not to be.
    seen_open: Option<i64>,
    seen_shut: i64,
    /// The newest revision that a client was told of.
    acknowledged: i64,
    /// What was seen at each revision.
    seen: BTreeMap<i64, BTreeMap<Bytes, i64>>,
    transfers: BTreeMap<String, Transfer>,
}

impl BankJudge {
    /// A bank of so many accounts.
    pub fn new(accounts: u64) -> Self {
        Self { accounts, ..Self::default() }
    }

    /// The newest revision anyone was told of: what is asked from now on must not be older.
    pub fn acknowledged(&self) -> i64 {
        self.acknowledged
    }

    fn total(&self) -> i64 {
        OPENING * i64::try_from(self.accounts).expect("a plan has few accounts")
    }

    /// Someone was told that the bank opened at a revision.
    pub fn opened(&mut self, revision: i64) -> Verdict {
        let before = self.opened.replace(revision);
        self.acknowledged = self.acknowledged.max(revision);
        require(before.is_none(), "a bank opens once", || format!("at {before:?} and at {revision}"))
    }

    /// Someone looked at all accounts as of a revision; what was asked linearizably must not be older than `least`.
    pub fn looked(&mut self, (revision, least): (i64, i64), kvs: &[KeyValue]) -> Verdict {
        require(revision >= least, "what was acknowledged is seen by who asks afterwards", || {
            format!("the accounts as of {revision}, asked when {least} had been acknowledged")
        })?;
        let parsed = |kv: &KeyValue| Some((kv.key.clone(), std::str::from_utf8(&kv.value).ok()?.parse::<i64>().ok()?));
        let held: Option<BTreeMap<Bytes, i64>> = kvs.iter().map(parsed).collect();
        let known = held.as_ref().is_some_and(|held| held.len() == kvs.len() && held.len() as u64 <= self.accounts);
        let (Some(held), true) = (held, known) else {
            return require(false, "the accounts are what was put there", || format!("as of {revision}: {kvs:?}"));
        };
        let (sum, least) = (held.values().sum::<i64>(), held.values().min().copied().unwrap_or(0));
        let shut = held.is_empty();
        if shut {
            self.seen_shut = self.seen_shut.max(revision);
        } else {
            self.seen_open = Some(self.seen_open.map_or(revision, |open| open.min(revision)));
        }
        let open = [self.opened, self.seen_open].into_iter().flatten().min();
        let in_order = open.is_none_or(|open| self.seen_shut < open) && (shut || self.opened <= Some(revision));
        require(in_order, "a bank that has opened stays open", || {
            format!(
                "as of {revision}: {held:?}; opened at {:?}, seen open {open:?}, shut {}",
                self.opened, self.seen_shut
            )
        })?;
        require(shut || (sum == self.total() && least >= 0), "money is neither made nor lost", || {
            format!("as of {revision} the accounts hold {sum}, where {} was put in: {held:?}", self.total())
        })?;
        let before = self.seen.entry(revision).or_insert_with(|| held.clone());
        require(*before == held, "two looks at one revision see the same", || {
            format!("as of {revision}\nfirst {before:?}\nnow   {held:?}")
        })
    }

    /// A transfer is tried.
    pub fn tries(&mut self, transfer: &str, moves: &Moves) {
        let fresh = || Transfer { fate: Fate::Open, open: 0, moves: moves.clone() };
        self.transfers.entry(transfer.to_string()).or_insert_with(fresh).open += 1;
    }

    /// An attempt surely did not happen, or was too late.
    pub fn not_done(&mut self, transfer: &str) {
        if let Some(known) = self.transfers.get_mut(transfer) {
            known.open -= 1;
        }
    }

    /// An attempt was done at a revision.
    pub fn done(&mut self, transfer: &str, revision: i64) -> Verdict {
        self.acknowledged = self.acknowledged.max(revision);
        let Some(known) = self.transfers.get_mut(transfer) else { return Ok(()) };
        let before = std::mem::replace(&mut known.fate, Fate::Done);
        known.open -= 1;
        require(before == Fate::Open, "a transfer is done once", || format!("{transfer}: {known:?}"))
    }

    /// At the end: the accounts and the receipts of one revision.
    pub fn settled(&mut self, revision: i64, accounts: &[KeyValue], receipts: &[KeyValue]) -> Verdict {
        self.looked((revision, self.acknowledged), accounts)?;
        let mut sums: BTreeMap<Bytes, i64> = BTreeMap::new();
        if !accounts.is_empty() {
            sums.extend((0..self.accounts).map(|number| (account(number), OPENING)));
        }
        let mut paid = BTreeMap::new();
        for kv in receipts {
            let name = String::from_utf8_lossy(&kv.key[RECEIPTS.len()..]).into_owned();
            let moves = read_moves(&kv.value);
            let known = self.transfers.get(&name);
            let is_known = known.is_some_and(|known| Some(&known.moves) == moves.as_ref());
            require(
                is_known && kv.version == 1,
                "a receipt is of a transfer that was tried, and written once",
                || format!("{name} tried as {known:?}: {kv:?}"),
            )?;
            for (number, by) in moves.into_iter().flatten() {
                *sums.entry(account(number)).or_default() += by;
            }
            paid.insert(name, kv.mod_revision);
        }
        for (name, known) in &self.transfers {
            let (is_paid, must, may) = (paid.contains_key(name), known.fate == Fate::Done, known.open > 0);
            require(is_paid || !must, "an acknowledged transfer is done", || format!("{name}: {known:?}"))?;
            require(!is_paid || must || may, "a transfer that was surely not done is not done", || {
                format!("{name}: {known:?}, its receipt is of {:?}", paid.get(name))
            })?;
        }
        let held = self.seen.get(&revision).cloned().unwrap_or_default();
        let differ = sums.iter().find(|(key, sum)| held.get(*key).copied().unwrap_or(0) != **sum);
        require(differ.is_none(), "accounts hold what their receipts add up to", || {
            format!("{differ:?}; as of {revision} {held:?}, by {} receipts {sums:?}", paid.len())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(amounts: &[(u64, i64)]) -> Vec<KeyValue> {
        let kv = |(number, amount): &(u64, i64)| KeyValue {
            key: account(*number),
            value: amount.to_string().into_bytes(),
            ..KeyValue::default()
        };
        amounts.iter().map(kv).collect()
    }

    fn paid(transfer: &str, moves: &Moves) -> KeyValue {
        KeyValue { key: receipt(transfer), value: written(moves), version: 1, ..KeyValue::default() }
    }

    fn open() -> BankJudge {
        let mut judge = BankJudge::new(2);
        judge.opened(5).unwrap();
        judge
    }

    #[test]
    fn money_made_lost_or_owed_is_noticed_and_an_old_or_different_look() {
        let mut judge = open();
        judge.looked((4, 0), &[]).unwrap();
        judge.looked((5, 5), &held(&[(0, 100), (1, 100)])).unwrap();
        judge.looked((7, 5), &held(&[(1, 200)])).unwrap();
        assert!(judge.looked((8, 5), &held(&[(0, 100), (1, 101)])).is_err(), "made");
        assert!(judge.looked((9, 5), &held(&[(0, -1), (1, 201)])).is_err(), "owed");
        assert!(judge.looked((6, 7), &held(&[(0, 100), (1, 100)])).is_err(), "older than asked for");
        assert!(judge.looked((7, 5), &held(&[(0, 100), (1, 100)])).is_err(), "another at one revision");
        assert!(judge.looked((10, 5), &[]).is_err(), "all gone");
        assert!(open().looked((4, 0), &held(&[(0, 100), (1, 100)])).is_err(), "before it opened");
    }

    #[test]
    fn a_bank_seen_open_was_not_shut_later() {
        let mut judge = BankJudge::new(2);
        judge.looked((6, 0), &held(&[(0, 100), (1, 100)])).unwrap();
        judge.looked((4, 0), &[]).unwrap();
        assert!(judge.looked((6, 0), &[]).is_err());
    }

    #[test]
    fn receipts_tell_what_was_done_and_the_accounts_follow_from_them() {
        let moves = vec![(0, -30), (1, 30)];
        let settled = |fate: fn(&mut BankJudge), accounts: &[(u64, i64)], receipts: &[KeyValue]| {
            let mut judge = open();
            judge.tries("1.1", &vec![(0, -30), (1, 30)]);
            fate(&mut judge);
            judge.settled(9, &held(accounts), receipts)
        };
        let receipt = [paid("1.1", &moves)];
        let (before, after) = (&[(0, 100), (1, 100)], &[(0, 70), (1, 130)]);
        assert!(settled(|judge| judge.done("1.1", 6).unwrap(), after, &receipt).is_ok());
        assert!(settled(|judge| judge.done("1.1", 6).unwrap(), before, &[]).is_err(), "acknowledged and lost");
        assert!(settled(|judge| judge.not_done("1.1"), before, &[]).is_ok());
        assert!(settled(|judge| judge.not_done("1.1"), after, &receipt).is_err(), "refused, yet done");
        assert!(settled(|_| (), after, &receipt).is_ok(), "open, and done");
        assert!(settled(|_| (), before, &[]).is_ok(), "open, and not done");
        assert!(settled(|_| (), before, &receipt).is_err(), "a receipt and nothing moved");
        assert!(settled(|_| (), after, &[]).is_err(), "moved without a receipt");
        assert!(settled(|_| (), after, &[paid("1.2", &moves)]).is_err(), "nobody tried it");
    }

    #[test]
    fn a_transfer_is_done_once() {
        let mut judge = open();
        judge.tries("1.1", &vec![(0, -30), (1, 30)]);
        judge.tries("1.1", &vec![(0, -30), (1, 30)]);
        judge.done("1.1", 6).unwrap();
        assert!(judge.done("1.1", 7).is_err());
    }
}
