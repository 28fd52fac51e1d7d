//! Tokens of `ServiceAccount`s: issued as signed JWTs, and believed while the account, and the object that a token is
//! bound to, are the ones they were.
//!
//! The claims are those of Kubernetes, so that others can verify the tokens by the published keys. A verified token is
//! remembered by its hash, so that the signature is checked once; times and objects are looked at each time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quadrille_object::{GroupResource, Timestamp};
use quadrille_registry::Registry;
use quadrille_registry::access::{Extra, User};
use quadrille_store::{Key, View as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::jwt::{Parsed, SigningKey};

/// The issuer, unless the operator names another one.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// How many verified tokens are remembered; they are all forgotten beyond it.
const REMEMBERED_MAX: usize = 4096;
/// The prefix of accounts' user names.
const PREFIX: &str = "system:serviceaccount:";

/// Issues and verifies tokens of accounts.
#[derive(Debug)]
pub struct AccountTokens {
    key: SigningKey,
    issuer: String,
    audiences: Vec<String>,
    remembered: Mutex<HashMap<[u8; 32], Arc<Verified>>>,
}

/// A key that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key of service account tokens is no PEM of an ECDSA key on P-256 in PKCS#8 form")]
pub struct AccountKeyError;

/// What a token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    /// `pod`, `secret` or `node`.
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) uid: String,
}

impl Bound {
    fn resource(kind: &str) -> GroupResource {
        GroupResource::new("", format!("{kind}s"))
    }
}

/// A token to be issued.
#[derive(Clone, Debug)]
pub(crate) struct Issue<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) uid: &'a str,
    pub(crate) audiences: &'a [String],
    pub(crate) bound: Option<&'a Bound>,
    /// The node of the pod that it is bound to.
    pub(crate) node: Option<&'a Bound>,
    pub(crate) now: Timestamp,
    pub(crate) lives_seconds: i64,
    /// The id of the token.
    pub(crate) id: String,
}

/// What a token says once its signature is known to be ours.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    user: Arc<User>,
    pub(crate) audiences: Vec<String>,
    namespace: String,
    name: String,
    uid: String,
    bound: Vec<Bound>,
    not_before: i64,
    expires: i64,
}

impl AccountTokens {
    /// Makes the PEM of a new key.
    ///
    /// # Errors
    /// When the crypto library has no randomness.
    pub fn make_key() -> Result<String, AccountKeyError> {
        let key = STANDARD.encode(SigningKey::generate().ok_or(AccountKeyError)?);
        let lines: Vec<&str> = key
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).unwrap_or_default())
            .collect();
        let lines = lines.join("\n");
        Ok(format!("-----BEGIN PRIVATE KEY-----\n{lines}\n-----END PRIVATE KEY-----\n"))
    }

    /// Signs with a key in PEM; `audiences` are those of this API, the issuer alone when none is given.
    ///
    /// # Errors
    /// When the text holds no such key.
    pub fn new(key: &str, issuer: &str, audiences: &[String]) -> Result<Self, AccountKeyError> {
        let body: String = key.lines().filter(|line| !line.starts_with("-----")).collect();
        let key = STANDARD.decode(body.trim()).map_err(|_| AccountKeyError)?;
        let key = SigningKey::from_pkcs8(&key).ok_or(AccountKeyError)?;
        let audiences =
            if audiences.is_empty() { vec![issuer.to_owned()] } else { audiences.to_vec() };
        let remembered = Mutex::default();
        Ok(Self { key, issuer: issuer.to_owned(), audiences, remembered })
    }

    /// Who signs.
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The audiences of this API.
    pub(crate) fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// The public keys, as `/openid/v1/jwks` answers them.
    pub(crate) fn jwks(&self) -> Value {
        json!({"keys": [self.key.jwk()]})
    }

    /// A signed token; `None` when the crypto library fails.
    pub(crate) fn issue(&self, what: &Issue<'_>) -> Option<String> {
        let now = what.now.seconds();
        let mut about = json!({
            "namespace": what.namespace,
            "serviceaccount": {"name": what.name, "uid": what.uid},
        });
        for bound in what.bound.into_iter().chain(what.node) {
            about[bound.kind] = json!({"name": bound.name, "uid": bound.uid});
        }
        self.key.sign(&json!({
            "iss": self.issuer, "sub": format!("{PREFIX}{}:{}", what.namespace, what.name),
            "aud": what.audiences, "iat": now, "nbf": now, "jti": what.id,
            "exp": now.saturating_add(what.lives_seconds), "kubernetes.io": about,
        }))
    }

    /// Who has a token of this host; `None` when it is not one, or does not hold any more.
    pub(crate) fn verify(
        &self,
        token: &str,
        registry: &Registry,
        now: Timestamp,
    ) -> Option<(Arc<User>, Arc<Verified>)> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        let known = self.remembered().get(&hash).map(Arc::clone);
        let verified = if let Some(known) = known {
            known
        } else {
            let verified = Arc::new(self.read(token)?);
            let mut remembered = self.remembered();
            if remembered.len() >= REMEMBERED_MAX {
                remembered.clear();
            }
            remembered.insert(hash, Arc::clone(&verified));
            verified
        };
        if !verified.holds(registry, now) {
            return None;
        }
        Some((Arc::clone(&verified.user), verified))
    }

    /// The user of a token that is meant for this API and was seen before, by its SHA-256; costs no signature check.
    pub(crate) fn seen(
        &self,
        digest: &[u8; 32],
        registry: &Registry,
        now: Timestamp,
    ) -> Option<Arc<User>> {
        let known = self.remembered().get(digest).map(Arc::clone)?;
        let for_us = known.audiences.iter().any(|audience| self.audiences.contains(audience));
        (for_us && known.holds(registry, now)).then(|| Arc::clone(&known.user))
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Arc<Verified>>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks issuer and signature, and reads the claims.
    fn read(&self, token: &str) -> Option<Verified> {
        let token = Parsed::parse(token)?;
        let ours = token.text("iss") == Some(&self.issuer) && token.key_id == self.key.id();
        if !ours || !token.is_signed_by(&self.key.public()) {
            return None;
        }
        let about = token.claims.get("kubernetes.io")?;
        let text = |pointer: &str| about.pointer(pointer).and_then(Value::as_str);
        let namespace = text("/namespace")?.to_owned();
        let (name, uid) = (text("/serviceaccount/name")?, text("/serviceaccount/uid")?);
        if token.text("sub") != Some(&format!("{PREFIX}{namespace}:{name}")) {
            return None;
        }
        let bound: Vec<Bound> = ["pod", "secret", "node"]
            .into_iter()
            .filter_map(|kind| {
                let name = text(&format!("/{kind}/name"))?.to_owned();
                Some(Bound { kind, name, uid: text(&format!("/{kind}/uid"))?.to_owned() })
            })
            .collect();
        let user = account(&namespace, name, uid)
            .with_extra(extra(&bound, token.text("jti").unwrap_or_default()));
        Some(Verified {
            user: Arc::new(user),
            audiences: token.texts("aud"),
            name: name.to_owned(),
            uid: uid.to_owned(),
            not_before: token.seconds("nbf").unwrap_or(0),
            expires: token.seconds("exp")?,
            namespace,
            bound,
        })
    }
}

impl Verified {
    /// Whether it is time, and everything that it is about is still there.
    fn holds(&self, registry: &Registry, now: Timestamp) -> bool {
        let now = now.seconds();
        if now >= self.expires || now < self.not_before {
            return false;
        }
        let snapshot = registry.store().snapshot();
        let exists = |resource: GroupResource, namespace: &str, name: &str, uid: &str| {
            let object = snapshot.get(&Key::new(resource, namespace, name));
            object.is_some_and(|object| {
                // A pod that is going down may finish its work.
                let gone = object.meta.deleted_at.is_some_and(|at| at.seconds() + GRACE < now);
                *object.meta.uid == *uid && !gone
            })
        };
        let accounts = GroupResource::new("", "serviceaccounts");
        exists(accounts, &self.namespace, &self.name, &self.uid)
            && self.bound.iter().all(|bound| {
                let namespace = if bound.kind == "node" { "" } else { &self.namespace };
                // A pod's node is told, not asked for.
                let only_told = bound.kind == "node" && self.bound.len() > 1;
                only_told || exists(Bound::resource(bound.kind), namespace, &bound.name, &bound.uid)
            })
    }
}

/// How long a token outlives the mark of deletion of what it is bound to, in seconds.
const GRACE: i64 = 60;

fn extra(bound: &[Bound], id: &str) -> Extra {
    let mut extra = Extra::new();
    if !id.is_empty() {
        extra.insert(
            "authentication.kubernetes.io/credential-id".to_owned(),
            vec![format!("JTI={id}")],
        );
    }
    for of in bound.iter().filter(|of| of.kind != "secret") {
        let key = |what: &str| format!("authentication.kubernetes.io/{}-{what}", of.kind);
        extra.insert(key("name"), vec![of.name.clone()]);
        extra.insert(key("uid"), vec![of.uid.clone()]);
    }
    extra
}

/// An account as a user.
fn account(namespace: &str, name: &str, uid: &str) -> User {
    let groups = groups(namespace);
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    User::known(&format!("{PREFIX}{namespace}:{name}"), uid, &groups)
}

/// The groups of the accounts of a namespace.
pub(crate) fn groups(namespace: &str) -> [String; 2] {
    ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")]
}

/// The namespace and name in an account's user name.
pub(crate) fn split(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(PREFIX)?.split_once(':')?;
    let valid = quadrille_object::validate_name::dns_label(namespace).is_empty()
        && quadrille_object::validate_name::dns_subdomain(name).is_empty();
    valid.then_some((namespace, name))
}
