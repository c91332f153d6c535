//! Who works on the cluster while it is in trouble, each as a program would use the library; all is noted in the ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quorate::client::{Candidate, Client, Error, Isolation, Lock, Session, WatchRange};
use quorate::wire::etcdserverpb as pb;
use tokio::time::{sleep, timeout};

use crate::cluster::LIMIT;
use crate::ledger::{Change, END, Heard, Ledger, Outcome, Told, text};

/// Time to live of the sessions, in seconds.
const SESSION: i64 = 10;

/// Between one piece of work and the next, so that the members have time left for their troubles.
const REST: Duration = Duration::from_millis(25);

/// One worker's place.
#[derive(Clone)]
pub struct Site {
    pub name: &'static str,
    pub client: Client,
    pub ledger: Arc<Ledger>,
    /// No more is begun.
    pub over: Arc<AtomicBool>,
    /// Pieces of work done.
    pub done: Arc<AtomicU64>,
    /// The last revision that was told here.
    pub told: Arc<AtomicI64>,
}

impl Site {
    fn works(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    async fn rest(&self, done: bool) {
        self.done.fetch_add(u64::from(done), Ordering::SeqCst);
        sleep(REST).await;
    }

    /// A session, asked for until there is one.
    async fn session(&self) -> Session {
        loop {
            match self.client.session(SESSION).await {
                Ok(session) => return session,
                Err(error) => drop(Outcome::of_error(&error)),
            }
            sleep(REST).await;
        }
    }
}

fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest { key: Bytes::copy_from_slice(key.as_bytes()), value: value.to_owned().into(), ..Default::default() }
}

/// Puts one value after the other.
pub async fn puts(site: Site) {
    let key = format!("p/{}", site.name);
    for n in 0.. {
        if !site.works() {
            return;
        }
        let value = format!("{n}");
        let answer = site.client.put(put(&key, &value)).await;
        let outcome = match &answer {
            Ok(answer) => Outcome::At(answer.header.unwrap().revision),
            Err(error) => Outcome::of_error(error),
        };
        site.ledger.wrote(&key, value, outcome);
        site.rest(answer.is_ok()).await;
    }
}

/// Takes the lock, writes twice what it guards, and gives it back.
pub async fn locks(site: Site) {
    let mut session = site.session().await;
    for n in 0.. {
        if !site.works() {
            break;
        }
        if !session.is_alive() {
            session = site.session().await;
        }
        match session.lock("lock").await {
            Ok(lock) => {
                for part in 0..2 {
                    let value = format!("{} {} {n} {part}", lock.revision(), site.name);
                    let outcome = guarded(&site.client, &lock, &value).await;
                    site.ledger.wrote("held", value, outcome);
                }
                let _ = lock.release().await.map_err(|error| Outcome::of_error(&error));
                site.rest(true).await;
            }
            Err(error) => {
                Outcome::of_error(&error);
                site.rest(false).await;
            }
        }
    }
    // Where nobody says that it is closed it ends by itself.
    let _ = session.close().await.map_err(|error| Outcome::of_error(&error));
}

async fn guarded(client: &Client, lock: &Lock, value: &str) -> Outcome {
    let request = Some(pb::request_op::Request::RequestPut(put("held", value)));
    let success = vec![pb::RequestOp { request }];
    match client.txn(pb::TxnRequest { compare: vec![lock.held()], success, failure: vec![] }).await {
        Ok(answer) if answer.succeeded => Outcome::At(answer.header.unwrap().revision),
        Ok(_) => Outcome::Refused,
        Err(error) => Outcome::of_error(&error),
    }
}

/// Stands for election, says two more words when it leads, and resigns.
pub async fn campaigns(site: Site) {
    let mut session = site.session().await;
    for n in 0.. {
        if !site.works() {
            break;
        }
        if !session.is_alive() {
            session = site.session().await;
        }
        let key = format!("chair/{:x}", session.lease());
        let word = |part: u32| format!("{} {n} {part}", site.name);
        let candidate = session.stand("chair", word(0)).await;
        let outcome = candidate.as_ref().map_or_else(Outcome::of_error, |_| Outcome::Done);
        site.ledger.wrote(&key, word(0), outcome);
        let Ok(mut candidate) = candidate else {
            site.rest(false).await;
            continue;
        };
        let led = leads(&site, &mut candidate, &key, [word(1), word(2)]).await;
        let _ = candidate.resign().await.map_err(|error| Outcome::of_error(&error));
        site.rest(led).await;
    }
    let _ = session.close().await.map_err(|error| Outcome::of_error(&error));
}

async fn leads(site: &Site, candidate: &mut Candidate, key: &str, words: [String; 2]) -> bool {
    if let Err(error) = candidate.elected().await {
        Outcome::of_error(&error);
        return false;
    }
    for word in words {
        let answer = candidate.proclaim(word.clone()).await;
        let outcome = answer.as_ref().map_or_else(Outcome::of_error, |()| Outcome::Done);
        site.ledger.wrote(key, word, outcome);
    }
    true
}

/// Hears who leads, until the last word of all.
pub async fn observes(site: Site) {
    loop {
        let mut observer = site.client.observe("chair");
        site.ledger.observes_anew();
        loop {
            let word = match observer.next().await {
                Ok(answer) => answer.kvs.into_iter().next().unwrap(),
                Err(error) => {
                    Outcome::of_error(&error);
                    break;
                }
            };
            let (created, revision) = (word.create_revision, word.mod_revision);
            let word = Heard { key: text(&word.key), value: text(&word.value), created, revision };
            let last = word.value == END;
            site.ledger.heard(word);
            site.done.fetch_add(1, Ordering::SeqCst);
            if last {
                return;
            }
        }
        sleep(REST).await;
    }
}

/// Says the last word of all.
pub async fn says_the_last_word(site: &Site) {
    loop {
        let session = site.session().await;
        let key = format!("chair/{:x}", session.lease());
        let candidate = timeout(LIMIT, session.campaign("chair", END)).await.expect("in time");
        site.ledger.wrote(key, END, candidate.as_ref().map_or_else(Outcome::of_error, |_| Outcome::Done));
        if candidate.is_ok() {
            let _ = session.close().await.map_err(|error| Outcome::of_error(&error));
            return;
        }
    }
}

/// Puts the last key of all, once, however often it is asked for.
pub async fn puts_the_last_key(client: &Client) {
    let compare = pb::Compare {
        key: END.into(),
        target: pb::compare::CompareTarget::Create as i32,
        target_union: Some(pb::compare::TargetUnion::CreateRevision(0)),
        ..Default::default()
    };
    let request = Some(pb::request_op::Request::RequestPut(put(END, "")));
    let success = vec![pb::RequestOp { request }];
    let once = pb::TxnRequest { compare: vec![compare], success, failure: vec![] };
    let work = async {
        while let Err(error) = client.txn(once.clone()).await {
            Outcome::of_error(&error);
            sleep(REST).await;
        }
    };
    timeout(LIMIT, work).await.expect("in time");
}

/// Adds one to a number that others add to, and notes by a key of its own that it did.
pub async fn adds(site: Site) {
    for n in 0.. {
        if !site.works() {
            return;
        }
        let key = format!("by/{} {n}", site.name);
        let sum = site.client.transact(Isolation::SerializableSnapshot, |mut run| {
            let key = key.clone();
            async move {
                let before = run.get("sum").await?;
                let sum = before.map_or(0, |value| text(&value).parse::<u64>().unwrap()) + 1;
                run.put("sum", sum.to_string());
                run.put(key, sum.to_string());
                Ok::<_, Error>(sum)
            }
        });
        let sum = sum.await.map_err(|error| Outcome::of_error(&error));
        let done = sum.is_ok();
        site.ledger.added(key, sum);
        site.rest(done).await;
    }
}

/// Has a key that is there as long as its session is.
pub async fn is_present(site: Site) {
    while site.works() {
        let session = site.session().await;
        let key = format!("here/{:x}", session.lease());
        let request = pb::PutRequest { lease: session.lease(), ..put(&key, "") };
        if let Err(error) = site.client.put(request).await {
            // Whether it is there is not known, so nothing can be said of it.
            Outcome::of_error(&error);
            continue;
        }
        while site.works() && session.is_alive() {
            site.rest(true).await;
        }
        // What is believed here is asked; where the lease is gone the session must come to know.
        let renewed = timeout(LIMIT, renewed(&site, &session)).await.expect("in time");
        if !renewed {
            timeout(LIMIT, session.ended()).await.expect("a session whose lease is gone ends");
            until_gone(&site, &key).await;
        }
        site.ledger.session(key, !renewed);
        // Its key is to outlive the run.
        std::mem::forget(session);
    }
}

/// Whether the session lives, here and there.
async fn renewed(site: &Site, session: &Session) -> bool {
    while session.is_alive() {
        match site.client.keep_alive_once(session.lease()).await {
            Ok(_) => return true,
            Err(error) if error.text().contains("lease not found") => return false,
            Err(error) => drop(Outcome::of_error(&error)),
        }
        sleep(REST).await;
    }
    false
}

/// Waits until the server too has ended the session.
async fn until_gone(site: &Site, key: &str) {
    let request = pb::RangeRequest { key: key.to_owned().into(), ..Default::default() };
    let work = async {
        while site.client.range(request.clone()).await.map_or(true, |answer| answer.count > 0) {
            sleep(REST).await;
        }
    };
    timeout(LIMIT, work).await.expect("a lease that nobody renews ends");
}

/// Watches everything from the first revision on, until the last key of the run.
pub async fn watches(site: Site) -> Vec<Told> {
    let all = WatchRange {
        key: "\0".into(),
        range_end: "\0".into(),
        start_revision: 1,
        progress_notify: true,
        ..WatchRange::default()
    };
    let mut watcher = site.client.watch(all);
    let mut told = Vec::new();
    for n in 1.. {
        let response = watcher.next().await.expect("a watch goes on").expect("nothing refuses it");
        assert!(!response.canceled, "{response:?}");
        let revision = response.header.unwrap().revision;
        if response.events.is_empty() {
            told.push(Told::Progress(revision));
            site.told.fetch_max(revision, Ordering::SeqCst);
        }
        for change in response.events.into_iter().map(Change::read) {
            site.told.fetch_max(change.revision, Ordering::SeqCst);
            let last = change.key == END;
            told.push(Told::Change(change));
            if last {
                return told;
            }
        }
        if n % 16 == 0 {
            watcher.request_progress();
        }
    }
    told
}
