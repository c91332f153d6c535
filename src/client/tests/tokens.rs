//! Tokens that end, and members that cannot give others at the time.

use tokio::time::{Instant, timeout};

use super::frames::{asked, greets};
use super::*;
use crate::client::refreshes::{OLD_REVISION, TOO_MANY};
use crate::wire::services::auth_server::{Auth, AuthServer};

/// A member that takes one token, the last it gave. Clones are the same member.
#[derive(Clone, Default)]
struct Guard {
    /// How many tokens it was asked for.
    asked: Arc<AtomicUsize>,
    /// How many times it will say yet that it can give none, and how.
    unable: Arc<AtomicUsize>,
    /// How many times it will say yet that users were changed, of whatever is asked with a token.
    changing: Arc<AtomicUsize>,
    /// How many requests will wait yet until the token that they came with has ended.
    late: Arc<AtomicUsize>,
    /// How many times it will say yet that too many renew.
    crowded: Arc<AtomicUsize>,
    given: Arc<AtomicUsize>,
    /// Which tokens are not good any more: those up to this number.
    ended: Arc<AtomicUsize>,
    takes: Arc<Mutex<Takes>>,
}

/// How long some answers take, and what they are.
#[derive(Clone, Copy, Default)]
struct Takes {
    token: Duration,
    refusal: Duration,
    refuses: bool,
    /// Of streams only those parts are refused that would come.
    refuses_inside: bool,
    inability: Inability,
    /// Whoever asks is let in, and waits so long.
    entry: Option<Duration>,
}

/// Why there is no token just now.
#[derive(Clone, Copy, Debug, Default)]
enum Inability {
    #[default]
    NoLeader,
    TooMany,
    UsersChange,
}

impl Inability {
    fn told(self) -> Status {
        match self {
            Inability::NoLeader => Status::unavailable("etcdserver: no leader"),
            Inability::TooMany => Status::unknown(TOO_MANY),
            Inability::UsersChange => Status::invalid_argument(OLD_REVISION),
        }
    }
}

/// Whether this is one of the times that were ordered.
pub fn is_due(times: &AtomicUsize) -> bool {
    times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

impl Guard {
    async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("bound").to_string();
        let server = Server::builder()
            .add_service(AuthServer::new(self.clone()))
            .add_service(WatchServer::new(self.clone()))
            .add_service(LeaseServer::new(Inside(self.clone())))
            .add_service(KvServer::new(Inside(self.clone())));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        address
    }

    fn takes(&self) -> Takes {
        *self.takes.lock().expect("no test panics while holding it")
    }

    fn set(&self, takes: Takes) {
        *self.takes.lock().expect("no test panics while holding it") = takes;
    }

    /// No token that was given is good any more.
    fn ends_tokens(&self) {
        self.ended.store(self.given.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Where one who asks for a stream is told so.
    fn refuses<T: Send + 'static>(&self, why: Status) -> Result<Response<Answers<T>>, Status> {
        match self.takes().refuses_inside {
            true => Ok(Response::new(Box::pin(stream::iter([Err(why)])))),
            false => Err(why),
        }
    }

    /// Whether who asks may.
    async fn lets_in<T>(&self, request: &Request<T>) -> Result<(), Status> {
        if let Some(entry) = self.takes().entry {
            tokio::time::sleep(entry).await;
            return Ok(());
        }
        if is_due(&self.changing) {
            return Err(Inability::UsersChange.told());
        }
        if is_due(&self.late) {
            tokio::time::sleep(Duration::from_millis(1_100)).await;
            self.ends_tokens();
        }
        let token = request.metadata().get("token").and_then(|token| token.to_str().ok()?.strip_prefix("secret-"));
        let number: usize = token.and_then(|number| number.parse().ok()).unwrap_or(0);
        if number > self.ended.load(Ordering::SeqCst) {
            return Ok(());
        }
        tokio::time::sleep(self.takes().refusal).await;
        Err(Status::unauthenticated("etcdserver: invalid auth token"))
    }
}

macro_rules! guard_that_knows_no {
    ($($name:ident $request:ident $response:ident,)*) => {
        #[tonic::async_trait]
        impl Auth for Guard {
            async fn authenticate(
                &self,
                _: Request<pb::AuthenticateRequest>,
            ) -> Result<Response<pb::AuthenticateResponse>, Status> {
                self.asked.fetch_add(1, Ordering::SeqCst);
                if self.takes().refuses {
                    return Err(Status::invalid_argument(WRONG));
                }
                tokio::time::sleep(self.takes().token).await;
                if is_due(&self.unable) {
                    return Err(self.takes().inability.told());
                }
                let number = self.given.fetch_add(1, Ordering::SeqCst) + 1;
                Ok(Response::new(pb::AuthenticateResponse { header: None, token: format!("secret-{number}") }))
            }
            $(
                async fn $name(&self, _: Request<pb::$request>) -> Result<Response<pb::$response>, Status> {
                    Err(Status::unimplemented(stringify!($name)))
                }
            )*
        }
    };
}

guard_that_knows_no! {
    auth_enable AuthEnableRequest AuthEnableResponse,
    auth_disable AuthDisableRequest AuthDisableResponse,
    auth_status AuthStatusRequest AuthStatusResponse,
    user_add AuthUserAddRequest AuthUserAddResponse,
    user_get AuthUserGetRequest AuthUserGetResponse,
    user_list AuthUserListRequest AuthUserListResponse,
    user_delete AuthUserDeleteRequest AuthUserDeleteResponse,
    user_change_password AuthUserChangePasswordRequest AuthUserChangePasswordResponse,
    user_grant_role AuthUserGrantRoleRequest AuthUserGrantRoleResponse,
    user_revoke_role AuthUserRevokeRoleRequest AuthUserRevokeRoleResponse,
    role_add AuthRoleAddRequest AuthRoleAddResponse,
    role_get AuthRoleGetRequest AuthRoleGetResponse,
    role_list AuthRoleListRequest AuthRoleListResponse,
    role_delete AuthRoleDeleteRequest AuthRoleDeleteResponse,
    role_grant_permission AuthRoleGrantPermissionRequest AuthRoleGrantPermissionResponse,
    role_revoke_permission AuthRoleRevokePermissionRequest AuthRoleRevokePermissionResponse,
}

const WRONG: &str = "etcdserver: authentication failed, invalid user ID or password";

#[tonic::async_trait]
impl Watch for Guard {
    type WatchStream = Answers<pb::WatchResponse>;
    async fn watch(
        &self,
        requests: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let header = Some(pb::ResponseHeader { revision: 10, ..Default::default() });
        let created = pb::WatchResponse { header, created: true, ..Default::default() };
        if let Err(refusal) = self.lets_in(&requests).await {
            let cancel_reason = refusal.message().to_owned();
            let canceled = pb::WatchResponse { canceled: true, cancel_reason, ..created };
            return Ok(Response::new(Box::pin(stream::iter([Ok(canceled)]))));
        }
        // The first ends with its token.
        let then = match self.given.load(Ordering::SeqCst) {
            1 => Err(Status::unavailable("etcdserver: server stopped")),
            _ => events(&[11]),
        };
        self.ended.fetch_max(1, Ordering::SeqCst);
        Ok(Response::new(Box::pin(stream::iter([Ok(created), then]).chain(stream::pending()))))
    }
}

/// A member behind a guard.
#[derive(Clone)]
struct Inside(Guard);

#[tonic::async_trait]
impl Lease for Inside {
    type LeaseKeepAliveStream = Answers<pb::LeaseKeepAliveResponse>;
    async fn lease_keep_alive(
        &self,
        requests: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        if let Err(refusal) = self.0.lets_in(&requests).await {
            return self.0.refuses(refusal);
        }
        if is_due(&self.0.crowded) {
            return Err(Inability::TooMany.told());
        }
        Mute { ttls: vec![6], ..Mute::default() }.lease_keep_alive(requests).await
    }
    async fn lease_grant(&self, _: Request<pb::LeaseGrantRequest>) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        Err(Status::unimplemented("grant"))
    }
    async fn lease_revoke(
        &self,
        _: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        Err(Status::unimplemented("revoke"))
    }
    async fn lease_time_to_live(
        &self,
        _: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        Err(Status::unimplemented("time to live"))
    }
    async fn lease_leases(
        &self,
        _: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        Err(Status::unimplemented("leases"))
    }
}

#[tonic::async_trait]
impl Kv for Inside {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        self.0.lets_in(&request).await?;
        Ok(Response::new(Default::default()))
    }
    type RangeStreamStream = Answers<pb::RangeStreamResponse>;
    async fn range_stream(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        match self.0.lets_in(&request).await {
            Ok(()) => Ok(Response::new(Box::pin(stream::iter([Ok(Default::default())])))),
            Err(refusal) => self.0.refuses(refusal),
        }
    }
    async fn put(&self, _: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        Err(Status::unimplemented("put"))
    }
    async fn delete_range(
        &self,
        _: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        Err(Status::unimplemented("delete"))
    }
    async fn txn(&self, _: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        Err(Status::unimplemented("txn"))
    }
    async fn compact(&self, _: Request<pb::CompactionRequest>) -> Result<Response<pb::CompactionResponse>, Status> {
        Err(Status::unimplemented("compact"))
    }
}

fn user() -> Options {
    let credentials = Some(Credentials::Password { name: "root".into(), password: "hunter2".into() });
    Options { credentials, ..patient() }
}

/// A client of this member that has its first token.
async fn known(guard: &Guard) -> Client {
    Client::connect(&[guard.serve().await], user()).await.expect("good")
}

/// What a request may take is nothing to a watch or a lease.
fn of_short_requests(client: &Client) -> Client {
    client.within(Some(Duration::from_millis(100)))
}

fn watch(client: &Client) -> Watcher {
    client.watch(WatchRange { key: "k".into(), ..WatchRange::default() })
}

#[test]
fn a_watch_and_a_lease_outlive_a_token_that_nobody_can_give_for_a_while() {
    in_runtime(async {
        let guard = Guard::default();
        let client = known(&guard).await;
        // More than there is time for in a request, with the pauses between them.
        guard.unable.store(6, Ordering::SeqCst);
        let told = watch(&of_short_requests(&client)).next().await.expect("not over").expect("no refusal");
        assert_eq!((told.events.len(), guard.asked()), (1, 1 + 6 + 1));

        guard.ends_tokens();
        guard.unable.store(6, Ordering::SeqCst);
        let asked = Instant::now() + Duration::from_secs(600);
        let mut kept = of_short_requests(&client).keep_alive_granted(1, Duration::from_secs(60), asked);
        assert_eq!(kept.next().await.expect("not over").expect("no refusal").ttl, 6);
        assert_eq!(guard.asked(), 8 + 6 + 1);
    });
}

/// A lease of this client, which its holder takes to have a long time left.
fn lease(client: &Client, seconds: u64) -> KeepAlive {
    let asked = Instant::now() + Duration::from_secs(600);
    client.keep_alive_granted(1, Duration::from_secs(seconds), asked)
}

async fn is_renewed(kept: &mut KeepAlive) {
    assert_eq!(kept.next().await.expect("not over").expect("no refusal").ttl, 6);
}

/// The line of those who show a password is full, or users are changed all the time: it passes.
#[test]
fn a_refusal_of_a_token_that_passes_ends_nothing() {
    in_runtime(async {
        for inability in [Inability::TooMany, Inability::UsersChange] {
            let guard = Guard::default();
            guard.set(Takes { inability, ..Takes::default() });
            guard.unable.store(3, Ordering::SeqCst);
            let client = known(&guard).await;
            guard.unable.store(3, Ordering::SeqCst);
            watch(&client).next().await.expect("not over").expect("no refusal");
            assert_eq!(guard.asked(), 8, "{inability:?}");
            for times in [12, 16] {
                guard.ends_tokens();
                guard.unable.store(3, Ordering::SeqCst);
                match times {
                    12 => is_renewed(&mut lease(&client, 60)).await,
                    _ => drop(client.range(pb::RangeRequest::default()).await.expect("asked for again")),
                }
                assert_eq!(guard.asked(), times, "{inability:?}");
            }
        }
    });
}

#[test]
fn users_that_are_changed_again_and_again_end_neither_a_watch_nor_a_renewal() {
    in_runtime(async {
        let guard = Guard::default();
        let client = known(&guard).await;
        guard.changing.store(4, Ordering::SeqCst);
        let mut watcher = watch(&client);
        watcher.next().await.expect("not over").expect("no refusal");
        guard.changing.store(4, Ordering::SeqCst);
        is_renewed(&mut lease(&client, 60)).await;
        assert_eq!(guard.changing.load(Ordering::SeqCst), 0);

        // It ends where they never stop.
        guard.changing.store(usize::MAX, Ordering::SeqCst);
        let refused = watch(&client).next().await.expect("not over yet").expect("a cancellation");
        assert_eq!(refused.cancel_reason, OLD_REVISION);
        let refused = lease(&client, 60).next().await.expect("not over yet").expect_err("changed again");
        assert_eq!(refused.text(), OLD_REVISION);
    });
}

#[test]
fn a_renewal_outlives_a_member_that_has_too_much_to_do() {
    in_runtime(async {
        let guard = Guard::default();
        let client = known(&guard).await;
        guard.crowded.store(2, Ordering::SeqCst);
        is_renewed(&mut lease(&client, 60)).await;
        assert_eq!(guard.crowded.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_renewal_that_is_asked_for_elsewhere_is_not_lost_with_a_password() {
    in_runtime(async {
        let (guard, slow) = (Guard::default(), Guard::default());
        slow.set(Takes { entry: Some(Duration::from_secs(2)), ..Takes::default() });
        let client = Client::connect(&[guard.serve().await, slow.serve().await], user()).await.expect("the first");
        client.endpoints().dial_ahead(1).await;
        guard.ends_tokens();
        guard.set(Takes { refuses: true, ..Takes::default() });
        // Asked of the slow one first, and half a second later of the other.
        is_renewed(&mut lease(&client, 3)).await;
        assert!((2..=6).contains(&guard.asked()), "a new one was refused meanwhile: {}", guard.asked());

        // Nor where the other one never answers, and the password is the right one again.
        slow.set(Takes { entry: Some(Duration::from_secs(600)), ..Takes::default() });
        let member = guard.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(800)).await;
            member.set(Takes::default());
        });
        let mut kept = client.keep_alive_granted(1, Duration::from_secs(6), Instant::now());
        is_renewed(&mut kept).await;
    });
}

#[test]
fn a_watch_that_is_given_up_again_and_again_has_its_token_all_the_same() {
    in_runtime(async {
        let guard = Guard::default();
        let client = known(&guard).await;
        guard.set(Takes { token: Duration::from_millis(300), ..Takes::default() });
        let mut watcher = watch(&client);
        let told = loop {
            if let Ok(told) = timeout(Duration::from_millis(20), watcher.next()).await {
                break told;
            }
        };
        assert_eq!(told.expect("not over").expect("no refusal").events.len(), 1);
        assert_eq!(guard.asked(), 2);
    });
}

#[test]
fn a_password_that_is_refused_ends_a_watch_and_is_tried_again_for_a_renewal() {
    in_runtime(async {
        let guard = Guard::default();
        let client = known(&guard).await;
        guard.set(Takes { refuses: true, ..Takes::default() });
        let mut watcher = watch(&client);
        let refused = watcher.next().await.expect("not over yet").expect_err("no token");
        assert_eq!(refused.text(), WRONG);
        assert!(watcher.next().await.is_none());

        // The user has his password again before the lease is over, as etcd's client would have it.
        let (member, asked) = (guard.clone(), guard.asked());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(800)).await;
            member.set(Takes::default());
        });
        is_renewed(&mut lease(&client, 6)).await;
        assert!((asked + 2..=asked + 4).contains(&guard.asked()), "not again and again: each costs a hash");

        // Where it stays wrong it ends with the lease, and not before.
        guard.ends_tokens();
        guard.set(Takes { refuses: true, ..Takes::default() });
        let began = Instant::now();
        let mut kept = client.keep_alive_granted(1, Duration::from_secs(2), began);
        assert!(kept.next().await.is_none() && kept.ran_out());
        assert!(began.elapsed() >= Duration::from_millis(1_900), "{:?}", began.elapsed());
    });
}

#[test]
fn a_request_has_its_own_time_also_where_its_token_ended() {
    in_runtime(async {
        let guard = Guard::default();
        let client = known(&guard).await;
        guard.ends_tokens();
        guard.set(Takes { refusal: Duration::from_millis(1_800), token: Duration::from_secs(600), ..Takes::default() });
        let began = Instant::now();
        let soon = client.within(Some(Duration::from_secs(2)));
        assert!(matches!(soon.range(pb::RangeRequest::default()).await, Err(Error::Deadline)));
        assert!(began.elapsed() < Duration::from_millis(3_500), "{:?}", began.elapsed());
        assert_eq!(client.unreached().len(), 1, "who was asked for a token gave none");

        // One without an end is not bounded by the time of a connection.
        let guard = Guard::default();
        let options = Options { connect_timeout: Duration::from_millis(200), ..user() };
        let client = Client::connect(&[guard.serve().await], options).await.expect("good");
        guard.ends_tokens();
        guard.set(Takes { token: Duration::from_millis(600), ..Takes::default() });
        client.within(None).range(pb::RangeRequest::default()).await.expect("however long it takes");
    });
}

#[test]
fn what_waits_longer_than_a_token_lives_is_asked_with_another() {
    in_runtime(async {
        let guard = Guard::default();
        let client = known(&guard).await;
        guard.late.store(3, Ordering::SeqCst);
        client.range(pb::RangeRequest::default()).await.expect("the fourth time nobody waits");
        assert_eq!(guard.asked(), 4);

        // Who takes none that he gives means it.
        guard.ended.store(usize::MAX, Ordering::SeqCst);
        let refused = client.range(pb::RangeRequest::default()).await.expect_err("no token is good");
        assert_eq!((refused.text(), guard.asked()), ("etcdserver: invalid auth token", 5));
    });
}

#[test]
fn who_is_refused_where_the_first_part_would_stand_is_asked_again_with_another_token() {
    in_runtime(async {
        for refuses_inside in [false, true] {
            let guard = Guard::default();
            let client = known(&guard).await;
            guard.set(Takes { refuses_inside, ..Takes::default() });
            guard.ends_tokens();
            client.keep_alive_once(1).await.expect("with the second token");
            guard.ends_tokens();
            client.range_stream(pb::RangeRequest::default()).await.expect("with the third");
            assert_eq!(guard.asked(), 3);
            guard.ends_tokens();
            is_renewed(&mut lease(&client, 6)).await;
            assert_eq!(guard.asked(), 4);
        }
    });
}

#[test]
fn who_has_less_time_than_a_token_takes_has_one_all_the_same() {
    in_runtime(async {
        let guard = Guard::default();
        let client = known(&guard).await;
        guard.ends_tokens();
        guard.set(Takes { token: Duration::from_millis(1_500), ..Takes::default() });
        let soon = client.within(Some(Duration::from_millis(200)));
        let began = Instant::now();
        while soon.range(pb::RangeRequest::default()).await.is_err() {
            assert!(began.elapsed() < Duration::from_secs(120), "it never has one");
        }
        assert_eq!(guard.asked(), 2, "one is asked for, whoever gives up");
    });
}

#[test]
fn a_token_is_asked_of_one_however_long_the_line_of_passwords_is() {
    in_runtime(async {
        let guard = Guard::default();
        guard.set(Takes { token: Duration::from_millis(2_500), ..Takes::default() });
        Client::connect(&[guard.serve().await, guard.serve().await], user()).await.expect("good");
        assert_eq!(guard.asked(), 1);
    });
}

/// A token is fetched where the client is at home, which may stand still.
#[test]
fn a_request_has_its_own_time_also_where_nothing_goes_on_at_home() {
    let home = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let open = |endpoint: &str| Client::open(&[endpoint.to_owned()], user()).expect("an address");
    in_runtime(async {
        let (endpoint, _listener) = silent().await;
        let client = {
            let _inside = home.enter();
            open(&endpoint)
        };
        let client = client.within(Some(Duration::from_millis(100)));
        let ended = timeout(Duration::from_secs(60), client.log_in()).await;
        assert!(matches!(ended.expect("by its timeout"), Err(Error::Deadline)));
    });
}

#[test]
fn a_token_is_asked_for_elsewhere_where_a_connection_breaks() {
    in_runtime(async {
        let breaks = port(|mut line| {
            greets(&mut line);
            asked(&mut line);
        });
        let guard = Guard::default();
        let client = Client::connect(&[breaks.await, guard.serve().await], user()).await.expect("the other");
        client.range(pb::RangeRequest::default()).await.expect("known");
        assert_eq!(guard.asked(), 1);
    });
}

#[test]
fn what_proves_who_asks_is_not_shown() {
    in_runtime(async {
        let guard = Guard::default();
        let client = known(&guard).await;
        let held = Options { credentials: Some(Credentials::Token("hunter2".to_owned())), ..Options::default() };
        let shown = format!("{client:?} {:?} {held:?} {:?}", client.options(), watch(&client));
        assert!(shown.contains("root"), "{shown}");
        assert!(!shown.contains("hunter2") && !shown.contains("secret"), "{shown}");
    });
}
