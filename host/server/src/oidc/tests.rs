//! A foreign issuer on the loopback, over real TLS.

use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt as _;
use quadrille_kit::{Clock, ManualClock, Supervisor};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::identity;
use crate::jwt::SigningKey;

/// An issuer and the host that believes it.
struct World {
    url: String,
    keys: Arc<StdMutex<Vec<Value>>>,
    fetches: Arc<AtomicUsize>,
    clock: Arc<ManualClock>,
    oidc: Arc<Oidc>,
    _supervisor: Supervisor,
}

fn key() -> SigningKey {
    SigningKey::from_pkcs8(&SigningKey::generate().expect("randomness")).expect("our own")
}

impl World {
    async fn start(config: OidcConfig) -> Self {
        let clock = Arc::new(ManualClock::default());
        let authority = identity::make_authority(clock.now()).expect("an authority");
        let names = identity::loopback_names();
        let pair = identity::make_server_certificate(&authority, &names, clock.now());
        let tls = identity::tls_config(&pair.expect("a certificate"), None).expect("it is usable");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let port = listener.local_addr().expect("an address").port();
        let url = format!("https://localhost:{port}");
        let (keys, fetches) =
            (Arc::<StdMutex<Vec<Value>>>::default(), Arc::<AtomicUsize>::default());
        let supervisor = Supervisor::default();
        let issuer = serve(
            listener,
            TlsAcceptor::from(tls),
            url.clone(),
            Arc::clone(&keys),
            Arc::clone(&fetches),
        );
        supervisor.spawn_brief("issuer", issuer);
        let authorities = authority.certificate;
        let config =
            OidcConfig { issuer: url.clone(), client_id: "us".into(), authorities, ..config };
        let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let oidc = Arc::new(Oidc::build(config, shared).expect("it is usable"));
        Self { url, keys, fetches, clock, oidc, _supervisor: supervisor }
    }

    fn publish(&self, keys: &[&SigningKey]) {
        *self.keys.lock().expect("not poisoned") = keys.iter().map(|key| key.jwk()).collect();
    }

    fn token(&self, key: &SigningKey, change: impl Fn(&mut Value)) -> String {
        let now = self.clock.now().seconds();
        let mut claims = json!({
            "iss": self.url, "aud": "us", "sub": "zoe", "exp": now + 60, "groups": ["dev"],
            "email": "zoe@example.com", "email_verified": true,
        });
        change(&mut claims);
        key.sign(&claims).expect("signs")
    }

    async fn user(&self, token: &str) -> Option<Arc<User>> {
        match self.oidc.look(token) {
            Ok(found) => found,
            Err(LacksKey) if self.oidc.renew().await => self.oidc.look(token).ok().flatten(),
            Err(LacksKey) => None,
        }
    }

    async fn name(&self, token: &str) -> Option<String> {
        self.user(token).await.map(|user| user.name.as_ref().to_owned())
    }

    fn seen(&self, token: &str) -> Option<Arc<User>> {
        self.oidc.seen(&Sha256::digest(token).into())
    }
}

/// Answers the two documents of an issuer, one request a connection.
async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    url: String,
    keys: Arc<StdMutex<Vec<Value>>>,
    fetches: Arc<AtomicUsize>,
) {
    while let Ok((socket, _)) = listener.accept().await {
        let Ok(mut stream) = tls.accept(socket).await else { continue };
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => break,
            }
        }
        let body = if head.starts_with(b"GET /keys ") {
            fetches.fetch_add(1, Ordering::SeqCst);
            json!({"keys": *keys.lock().expect("not poisoned")}).to_string()
        } else {
            json!({"issuer": url, "jwks_uri": format!("{url}/keys")}).to_string()
        };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        let written = stream.write_all(format!("{head}{body}").as_bytes()).await;
        if written.is_ok() {
            let _closed: std::io::Result<()> = stream.shutdown().await;
        }
    }
}

#[tokio::test]
async fn a_token_names_user_and_groups_with_their_prefixes() {
    let config = OidcConfig {
        username_prefix: Some("oidc:".into()),
        groups_claim: "groups".into(),
        groups_prefix: "oidc:".into(),
        ..OidcConfig::default()
    };
    let world = World::start(config).await;
    let key = key();
    world.publish(&[&key]);
    let user = world.user(&world.token(&key, |_| {})).await.expect("a user");
    assert_eq!(*user, User::known("oidc:zoe", "", &["oidc:dev"]));
}

#[tokio::test]
async fn without_a_prefix_the_issuer_is_part_of_the_name() {
    let world = World::start(OidcConfig::default()).await;
    let key = key();
    world.publish(&[&key]);
    let name = world.name(&world.token(&key, |_| {})).await;
    assert_eq!(name, Some(format!("{}#zoe", world.url)));
    let by_mail = OidcConfig { username_claim: "email".into(), ..OidcConfig::default() };
    let world = World::start(by_mail).await;
    world.publish(&[&key]);
    assert_eq!(world.name(&world.token(&key, |_| {})).await.as_deref(), Some("zoe@example.com"));
    let unverified = world.token(&key, |claims| claims["email_verified"] = json!(false));
    assert_eq!(world.name(&unverified).await, None);
}

#[tokio::test]
async fn tokens_of_others_for_others_or_of_another_time_are_refused() {
    let required_claims = [("tenant".to_owned(), "shop".to_owned())].into();
    let world = World::start(OidcConfig { required_claims, ..OidcConfig::default() }).await;
    let key = key();
    world.publish(&[&key]);
    let now = world.clock.now().seconds();
    let tenant = |claims: &mut Value| claims["tenant"] = json!("shop");
    assert!(world.name(&world.token(&key, tenant)).await.is_some());
    for (claim, value) in [
        ("iss", json!("https://evil.example.com")),
        ("aud", json!(["them"])),
        ("exp", json!(now)),
        ("exp", Value::Null),
        ("nbf", json!(now + 3600)),
        ("sub", json!("")),
        ("tenant", json!("bank")),
    ] {
        let token = world.token(&key, |claims| {
            tenant(claims);
            claims[claim] = value.clone();
        });
        assert_eq!(world.name(&token).await, None, "{claim} {value}");
    }
    world.clock.advance(Duration::from_secs(61));
    assert!(world.name(&world.token(&key, tenant)).await.is_some());
}

#[tokio::test]
async fn new_keys_are_fetched_when_they_are_needed_and_not_more_often() {
    let world = World::start(OidcConfig::default()).await;
    let (old, new) = (key(), key());
    world.publish(&[&old]);
    let fetches = || world.fetches.load(Ordering::SeqCst);
    assert!(world.name(&world.token(&old, |_| {})).await.is_some());
    world.publish(&[&old, &new]);
    let token = world.token(&new, |_| {});
    for _ in 0..20 {
        assert_eq!(world.name(&token).await, None, "the keys were fetched just now");
    }
    assert_eq!(fetches(), 1);
    world.clock.advance(REFRESH_PAUSE);
    assert!(world.name(&world.token(&new, |_| {})).await.is_some());
    assert_eq!(fetches(), 2);
    let stranger = world.token(&key(), |_| {});
    world.clock.advance(REFRESH_PAUSE);
    for _ in 0..20 {
        assert_eq!(world.name(&stranger).await, None);
    }
    assert_eq!(fetches(), 3);
    assert!(world.name(&world.token(&old, |_| {})).await.is_some(), "the known keys stay");
}

#[tokio::test]
async fn whoever_asks_first_and_leaves_keeps_nobody_from_the_keys() {
    let world = World::start(OidcConfig::default()).await;
    let key = key();
    world.publish(&[&key]);
    let token = world.token(&key, |_| {});
    let mut first = Box::pin(world.oidc.renew());
    assert!((&mut first).now_or_never().is_none(), "the issuer has to be asked");
    drop(first);
    // Time goes on meanwhile, but not as much as lies between two fetches.
    world.clock.advance(REFRESH_PAUSE / 10);
    assert!(world.name(&token).await.is_some());
    assert_eq!(world.fetches.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_verified_token_is_known_at_once_until_its_time_or_its_key_is_over() {
    let world = World::start(OidcConfig::default()).await;
    let (old, new) = (key(), key());
    world.publish(&[&old]);
    let (token, other) = (world.token(&old, |_| {}), world.token(&old, |c| c["sub"] = json!("al")));
    assert_eq!(world.seen(&token), None);
    let user = world.user(&token).await.expect("a user");
    assert_eq!((world.seen(&token), world.seen(&other)), (Some(user), None));
    assert!(world.name(&other).await.is_some() && world.seen(&other).is_some());
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(world.seen(&token), None, "its time is over");
    let token = world.token(&old, |_| {});
    assert!(world.name(&token).await.is_some() && world.seen(&token).is_some());
    world.publish(&[&new]);
    assert!(world.name(&world.token(&new, |_| {})).await.is_some());
    assert_eq!(world.seen(&token), None, "its key is gone");
    let forged = world.token(&key(), |_| {});
    assert!(world.name(&forged).await.is_none() && world.seen(&forged).is_none());
}

#[tokio::test]
async fn tokens_that_are_remembered_are_bounded() {
    let world = World::start(OidcConfig::default()).await;
    let key = key();
    world.publish(&[&key]);
    for number in 0..=REMEMBERED_MAX {
        let token = world.token(&key, |claims| claims["sub"] = json!(number.to_string()));
        assert!(world.name(&token).await.is_some());
    }
    let keys = world.oidc.keys.load();
    let remembered = keys.remembered.lock().expect("not poisoned").len();
    assert!((1..=REMEMBERED_MAX).contains(&remembered), "{remembered}");
}
