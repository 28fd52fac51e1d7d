//! Users of a foreign issuer, known by its ID tokens.
//!
//! The issuer's keys are fetched when a token needs one that is not known, at most once in [`REFRESH_PAUSE`] however
//! many such tokens come: nobody can make the host hammer its issuer. A fetch belongs to nobody who waits for it: it goes
//! on though all of them leave. Whoever waits for it waits for a bounded time. Keys stay until a fetch brings others, so that an issuer that is away harms only those with newer keys.
//!
//! A verified token is remembered by its hash, until its time is over or the keys are others, so that its signature is
//! checked once and its user is known at once.

mod fetch;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use quadrille_kit::Clock;
use quadrille_registry::access::User;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::jwt::{Parsed, PublicKey};
pub use fetch::FetchError;
use fetch::Fetcher;

/// How long to wait from one fetch of keys to the next.
const REFRESH_PAUSE: Duration = Duration::from_secs(10);
/// Clocks may differ by this much, in seconds.
const SKEW_SECONDS: i64 = 10;
/// How many keys of an issuer are looked at.
const KEYS_MAX: usize = 100;
/// How many groups of a token are taken.
const GROUPS_MAX: usize = 1000;

/// How many verified tokens are remembered; beyond it all are forgotten.
const REMEMBERED_MAX: usize = 1024;

/// What is believed of which issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OidcConfig {
    /// The issuer's URL, `https` and as its tokens have it.
    pub issuer: String,
    /// Whom its tokens must be meant for.
    pub client_id: String,
    /// The claim with the user's name; `sub` where it is empty.
    pub username_claim: String,
    /// What is put before names; the issuer and `#` where it is `None` (nothing for the claim `email`).
    pub username_prefix: Option<String>,
    /// The claim with the groups; none where it is empty.
    pub groups_claim: String,
    /// What is put before groups.
    pub groups_prefix: String,
    /// Claims that must be there with a value.
    pub required_claims: BTreeMap<String, String>,
    /// The authorities that the issuer's certificate may be from, as PEM.
    pub authorities: String,
}

/// Believes the tokens of one issuer.
#[derive(Debug)]
pub struct Oidc {
    config: OidcConfig,
    clock: Arc<dyn Clock>,
    fetcher: Fetcher,
    keys: ArcSwap<Keys>,
    /// When the last fetch of keys ended; held during a fetch.
    fetched: Arc<Mutex<Option<Duration>>>,
}

/// The issuer's keys, and the tokens that they were found to have signed.
#[derive(Debug, Default)]
struct Keys {
    /// By id.
    keys: Vec<(String, PublicKey)>,
    /// By the SHA-256 of the token.
    remembered: std::sync::Mutex<HashMap<[u8; 32], Remembered>>,
}

#[derive(Clone, Debug)]
struct Remembered {
    user: Arc<User>,
    /// In seconds.
    expires: i64,
}

/// A token may be good, but is signed with a key that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LacksKey;

impl Keys {
    fn have_signed(&self, token: &Parsed<'_>) -> bool {
        let fits = |id: &str| token.key_id.is_empty() || token.key_id == id;
        self.keys.iter().any(|(id, key)| fits(id) && token.is_signed_by(key))
    }

    fn remember(&self, token: &str, what: Remembered) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(Sha256::digest(token).into(), what);
    }
}

impl Oidc {
    /// Checks the configuration; fetches nothing yet.
    ///
    /// # Errors
    /// When the issuer is no `https` URL, or the authorities cannot be read.
    pub fn build(config: OidcConfig, clock: Arc<dyn Clock>) -> Result<Self, FetchError> {
        let fetcher = Fetcher::build(&config.authorities, Arc::clone(&clock))?;
        fetch::check_url(&config.issuer)?;
        let (keys, fetched) = (ArcSwap::default(), Arc::default());
        Ok(Self { config, clock, fetcher, keys, fetched })
    }

    /// Whose a token is, as far as the known keys tell; `None` when it is not of this issuer, or does not hold.
    ///
    /// # Errors
    /// When it takes keys that are not known; [`Oidc::renew`] may bring them.
    pub(crate) fn look(&self, token: &str) -> Result<Option<Arc<User>>, LacksKey> {
        let Some(parsed) = Parsed::parse(token) else { return Ok(None) };
        if !self.is_meant_for_us(&parsed) {
            return Ok(None);
        }
        let keys = self.keys.load();
        if !keys.have_signed(&parsed) {
            // A wrong signature by a known key is no reason to ask for others.
            let known = keys.keys.iter().any(|(id, _)| *id == parsed.key_id);
            return if known && !parsed.key_id.is_empty() { Ok(None) } else { Err(LacksKey) };
        }
        let Some(user) = self.claimed(&parsed).map(Arc::new) else { return Ok(None) };
        if let Some(expires) = parsed.seconds("exp") {
            keys.remember(token, Remembered { user: Arc::clone(&user), expires });
        }
        Ok(Some(user))
    }

    /// The user of a token that was seen before, by its SHA-256; costs no signature check.
    pub(crate) fn seen(&self, digest: &[u8; 32]) -> Option<Arc<User>> {
        let keys = self.keys.load();
        let mut remembered = keys.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let found = remembered.get(digest)?;
        if self.clock.now().seconds() < found.expires {
            return Some(Arc::clone(&found.user));
        }
        remembered.remove(digest);
        None
    }

    fn is_meant_for_us(&self, token: &Parsed<'_>) -> bool {
        let now = self.clock.now().seconds();
        let required = self.config.required_claims.iter();
        token.text("iss") == Some(&self.config.issuer)
            && token.texts("aud").contains(&self.config.client_id)
            && token.seconds("exp").is_some_and(|expires| now < expires)
            && token.seconds("nbf").is_none_or(|from| from <= now.saturating_add(SKEW_SECONDS))
            && required.into_iter().all(|(claim, value)| token.text(claim) == Some(value))
    }

    /// Fetches the keys unless somebody has just done so; true when there may be new ones.
    #[expect(
        clippy::disallowed_methods,
        reason = "one at a time, and a fetch ends by itself after a bounded time"
    )]
    pub(crate) async fn renew(self: &Arc<Self>) -> bool {
        let asked = self.clock.monotonic();
        let fetched = Arc::clone(&self.fetched).lock_owned().await;
        match *fetched {
            // A fetch ended while this one waited.
            Some(at) if at >= asked => return true,
            Some(at) if self.clock.monotonic().saturating_sub(at) < REFRESH_PAUSE => return false,
            Some(_) | None => {}
        }
        // In a task of its own: were it to end with the one who asks, all the others would go without keys.
        let fetching = tokio::spawn(Arc::clone(self).fetch(fetched));
        fetching.await.unwrap_or_default()
    }

    /// Fetches the keys; true when it has brought some.
    async fn fetch(self: Arc<Self>, mut fetched: OwnedMutexGuard<Option<Duration>>) -> bool {
        let brought = self.fetch_keys().await;
        *fetched = Some(self.clock.monotonic());
        match brought {
            Ok(keys) => {
                self.keys.store(Arc::new(keys));
                true
            }
            Err(error) => {
                let issuer = &self.config.issuer;
                tracing::warn!(issuer, error = %error, "cannot fetch the keys of the token issuer");
                false
            }
        }
    }

    async fn fetch_keys(&self) -> Result<Keys, FetchError> {
        let issuer = &self.config.issuer;
        let base = issuer.trim_end_matches('/');
        let about = self.fetcher.json(&format!("{base}/.well-known/openid-configuration")).await?;
        let text = |field: &str| about.get(field).and_then(Value::as_str);
        if text("issuer") != Some(issuer) {
            return Err(FetchError::Senseless("the issuer calls itself by another name".into()));
        }
        let Some(keys) = text("jwks_uri") else {
            return Err(FetchError::Senseless("the issuer does not say where its keys are".into()));
        };
        let keys = self.fetcher.json(keys).await?;
        let keys = keys.get("keys").and_then(Value::as_array);
        let keys = keys.into_iter().flatten().take(KEYS_MAX).filter_map(|jwk| {
            let id = jwk.get("kid").and_then(Value::as_str).unwrap_or_default();
            Some((id.to_owned(), PublicKey::from_jwk(jwk)?))
        });
        Ok(Keys { keys: keys.collect(), ..Keys::default() })
    }

    /// The user that a token's claims are about; `None` when they name none.
    fn claimed(&self, token: &Parsed<'_>) -> Option<User> {
        let config = &self.config;
        let claim = match config.username_claim.as_str() {
            "" => "sub",
            claim => claim,
        };
        let name = token.text(claim).filter(|name| !name.is_empty())?;
        if claim == "email" && token.claims.get("email_verified").is_some_and(|v| *v != true) {
            return None;
        }
        let prefix = match &config.username_prefix {
            Some(prefix) => prefix.clone(),
            None if claim == "email" => String::new(),
            None => format!("{}#", config.issuer),
        };
        let groups = match config.groups_claim.as_str() {
            "" => Vec::new(),
            claim => token.texts(claim),
        };
        let groups = groups.iter().take(GROUPS_MAX);
        let groups: Vec<String> =
            groups.map(|group| format!("{}{group}", config.groups_prefix)).collect();
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        Some(User::known(&format!("{prefix}{name}"), "", &groups))
    }
}
