//! What clients ask who look after members: digests, how they stand, that they give space back; and reads that last.

use std::time::Duration;

use quorate::base::{Dice, Refusal, SeededDice};
use quorate_spec::history::Outcome;
use quorate_spec::request::{Answer, Range, Span};

use super::{Client, Settled};
use crate::env::true_sleep;
use crate::oracles::upkeep;
use crate::world::Lost;

/// Pages of one list at most.
const PAGES: u32 = 20;

impl Client {
    /// Whether answers of its member are held against the changes: not where its data may be damaged, or a state was falsified.
    fn is_sound(&self) -> bool {
        !self.world.is_rewound() && !self.world.ledger().may_anybody_differ()
    }

    fn noted(&self, what: &str, answer: &impl std::fmt::Debug) {
        self.world.trace.note("upkeep answer", format!("{what} {answer:?}").as_bytes());
    }

    /// Asks for the digest at a revision.
    pub async fn hash_kv(&mut self, revision: i64) -> Settled {
        let (began, patience) = (self.began(), self.patience());
        let (world, member) = (self.world.clone(), self.member);
        let asked = self.world.ask((self.number, member), patience, &mut self.dice, move |door| async move {
            let stood = world.ledger().place_of(door.status().applied);
            let view = door.inspect(false).await?;
            Ok((stood, view.hash_kv(revision).map(|digest| (digest, view.revision()))))
        });
        let answer = asked.await;
        self.owed(began, patience, &answer, &"a digest");
        let (stood, got, _) = self.looked((&("a digest at", revision), began.at), answer, |(digest, header)| {
            ((digest, header), Outcome::Done { answer: Answer::Done, revision: header })
        });
        let Some(got) = got else { return Settled::Not };
        self.noted("digest", &(revision, &got));
        if self.is_sound() {
            self.world.marks.hit(match (&got, revision) {
                (Err(_), _) => "a digest was refused",
                (Ok(_), 0) => "a digest of now was held against the changes",
                (Ok(_), _) => "a digest of the past was held against the changes",
            });
            let ledger = self.world.ledger();
            let verdict = upkeep::hash_kv(&ledger, ledger.window(began.entries, Some((member, stood))), revision, &got);
            drop(ledger);
            self.world.judge(verdict);
        }
        Settled::Yes
    }

    /// Asks for the digest of all there is.
    pub(super) async fn hash(&mut self) -> Settled {
        let (began, patience) = (self.began(), self.patience());
        let (world, member) = (self.world.clone(), self.member);
        let asked = self.world.ask((self.number, member), patience, &mut self.dice, move |door| async move {
            let stood = world.ledger().place_of(door.status().applied);
            let view = door.inspect(false).await?;
            Ok((stood, view.hash().map(|digest| (digest, view.revision()))))
        });
        let answer = asked.await;
        self.owed(began, patience, &answer, &"a digest of all");
        let (stood, got, _) = self.looked((&"a digest of all", began.at), answer, |told: (u32, i64)| {
            (told, Outcome::Done { answer: Answer::Done, revision: told.1 })
        });
        let Some(Ok(got)) = got else { return Settled::Not };
        self.noted("digest of all", &got);
        if self.is_sound() {
            self.world.marks.hit("a digest of all was held against the changes");
            let ledger = self.world.ledger();
            let verdict = upkeep::hash(&ledger, ledger.window(began.entries, Some((member, stood))), got);
            drop(ledger);
            self.world.judge(verdict);
        }
        Settled::Yes
    }

    /// Asks how its member stands. It is judged where it is said: behind it the member goes on.
    pub async fn status(&mut self) -> Settled {
        let (world, member, sound) = (self.world.clone(), self.member, self.is_sound());
        let patience = self.patience();
        let asked = self.world.ask((self.number, member), patience, &mut self.dice, move |door| async move {
            let (status, life) = (door.status(), world.members[member].lives());
            if sound {
                world.marks.hit("how a member stands was held against the log");
                world.marks.add("alarms were told with it", u64::from(!status.alarms.is_empty()));
                let verdict = world.standings().tells(&world.ledger(), (member, life), &status);
                world.judge(verdict);
            }
            (status.term, status.applied, status.revision)
        });
        match asked.await {
            Ok(told) => {
                self.noted("status", &told);
                Settled::Yes
            }
            Err(_) => Settled::Not,
        }
    }

    /// Has its member give space back, and looks whether everything is there as it was.
    pub async fn defragment(&mut self) -> Settled {
        let (member, patience) = (self.member, self.patience());
        let way = (self.number, member);
        let asked = self.world.ask(way, patience, &mut self.dice, |door| async move { door.give_space_back().await });
        let answer: Result<Result<(), Refusal>, Lost> = asked.await;
        self.noted("defragment", &answer);
        if !matches!(answer, Ok(Ok(()))) {
            return Settled::Not;
        }
        self.world.marks.hit("a member gave space back");
        self.turn_to(member);
        self.range(Range { span: Span::all(), ..Range::default() }, false, Duration::ZERO).await
    }

    /// Reads a list a page at a time, all at one revision, with rests between them, while it may be compacted.
    pub(super) async fn pages(&mut self, mut dice: SeededDice) -> Settled {
        let revision = (self.seen - dice.below(8) as i64).max(1);
        let (limit, linearizable) = (1 + dice.below(4) as i64, dice.one_in(2));
        let rest = Duration::from_millis([10, 100, 700][dice.below(3) as usize]);
        let mut span = Span::all();
        for page in 0..PAGES {
            let range = Range { span: span.clone(), revision, limit, ..Range::default() };
            let (settled, got) = self.read(range, linearizable, Duration::from_millis(dice.below(25))).await;
            let answer = match got {
                Some(Ok(answer)) => answer,
                Some(Err(_)) => {
                    self.world.marks.add("a list was compacted between its pages", u64::from(page > 0));
                    return settled;
                }
                None => return settled,
            };
            let Some(last) = answer.kvs.last().filter(|_| answer.more) else {
                self.world.marks.add("a list was read a page at a time", u64::from(page > 0));
                return settled;
            };
            let mut next = last.key.clone();
            next.push(0);
            span = Span::between(next, *b"\0");
            true_sleep(rest).await;
            if self.world.is_lost() {
                return settled;
            }
        }
        Settled::Yes
    }
}
