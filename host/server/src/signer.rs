//! Signing approved requests for client certificates, and clearing away old requests.
//!
//! The signer `kubernetes.io/kube-apiserver-client` is the host's own authority: what it signs authenticates to this
//! server. It is a task beside the server, because whoever runs it holds the authority's key, which no other part
//! does. A request is read by [`request`], a certificate written by [`issue`]; both are pure. Every other signer's
//! requests wait for somebody else.

mod issue;
mod request;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quadrille_kit::Shutdown;
use quadrille_object::{GroupResource, Gvk, Timestamp};
use quadrille_registry::access::MASTERS;
use quadrille_registry::{
    Action, Actor, Body, DeleteOptions, PatchFormat, Reason, Registry, Status, Target,
    WriteOptions, WriteRequest,
};
use quadrille_store::{
    Cause, ChangeFilter, Object as Stored, Query, Range, SystemCause, View as _,
};
use serde_json::{Value, json};

use self::issue::Authority;
pub use self::issue::SignerError;
use crate::certificate;
use crate::identity::PemPair;

const GROUP: &str = "certificates.k8s.io";
const SIGNER: &str = "kubernetes.io/kube-apiserver-client";
/// What certificates of this signer may be for; the last one they must be for.
const USAGES: [&str; 3] = ["digital signature", "key encipherment", "client auth"];
/// How long a certificate is valid at most, and where nothing else is asked for: Kubernetes' own year.
const LIFE_SECONDS: i64 = 365 * 86_400;
const LIFE_SECONDS_MIN: i64 = 600;
/// How long a request is kept after it was decided or has failed, and while nobody decides it.
const DECIDED_SECONDS: i64 = 3_600;
const PENDING_SECONDS: i64 = 86_400;
/// How often it looks for old requests.
const CLEAR_INTERVAL: Duration = Duration::from_mins(10);

/// The task that signs.
#[derive(Debug)]
pub struct Signer {
    registry: Registry,
    authority: Authority,
}

/// What is to be done with a request.
#[derive(Debug, PartialEq)]
enum Step {
    Nothing,
    Sign,
    Remove,
}

impl Signer {
    /// One that signs with an authority.
    ///
    /// # Errors
    /// When the authority's certificate or key cannot be read.
    pub fn new(registry: Registry, authority: &PemPair) -> Result<Self, SignerError> {
        Ok(Self { registry, authority: Authority::read(authority)? })
    }

    /// Signs and clears until the shutdown.
    ///
    /// # Errors
    /// Never at present: a request that cannot be signed says so itself.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), SignerError> {
        let clock = std::sync::Arc::clone(self.registry.clock());
        loop {
            let store = self.registry.store();
            let filter = ChangeFilter { resource: Some(resource()) };
            let mut changes = store.changes(filter, store.revision());
            self.look().await;
            tokio::select! {
                () = shutdown.started() => return Ok(()),
                // Whatever happened, all requests are looked at again: there are few.
                batch = changes.next() => if batch.is_err() {
                    clock.sleep(Duration::from_secs(1)).await;
                },
                () = clock.sleep(CLEAR_INTERVAL) => {}
            }
        }
    }

    async fn look(&self) {
        let requests = self.registry.store().snapshot().list(&Query::whole(Range::all(resource())));
        for stored in requests {
            let Ok(object) = serde_json::from_slice::<Value>(&stored.bytes) else { continue };
            let done = match step(&object, self.registry.clock().now()) {
                Step::Nothing => Ok(()),
                Step::Sign => self.sign(&stored, &object).await,
                Step::Remove => {
                    let action = Action::Delete(DeleteOptions::default());
                    self.write(&stored, None, action, "remove an old request").await
                }
            };
            // It is gone, or changed meanwhile: its own change comes along.
            if let Err(status) = done
                && !matches!(status.reason, Reason::NotFound | Reason::Conflict)
            {
                tracing::warn!(object = %stored.key, error = %status, "request is not worked off");
            }
        }
    }

    async fn sign(&self, stored: &Stored, object: &Value) -> Result<(), Status> {
        let status = match self.certificate(object) {
            Ok(pem) => json!({"certificate": STANDARD.encode(pem)}),
            Err(why) => {
                let mut conditions = conditions(object).to_vec();
                conditions.push(json!({
                    "type": "Failed", "status": "True", "reason": "SignerValidationFailure",
                    "message": why,
                }));
                json!({"conditions": conditions})
            }
        };
        let patch = json!({
            "metadata": {"resourceVersion": stored.revision.to_string()}, "status": status,
        });
        let action = Action::Patch(PatchFormat::Merge, Body::from(patch));
        self.write(stored, Some("status"), action, "sign an approved request").await
    }

    /// The certificate that is asked for, or what is wrong with the request.
    fn certificate(&self, object: &Value) -> Result<String, String> {
        let spec = &object["spec"];
        let usages: Vec<&str> =
            spec["usages"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if !usages.contains(&"client auth") || usages.iter().any(|of| !USAGES.contains(of)) {
            return Err(format!("usages {usages:?} are not those of a client certificate"));
        }
        let pem = STANDARD.decode(spec["request"].as_str().unwrap_or_default());
        let request = request::read(&pem.map_err(|error| error.to_string())?)?;
        let wanted = spec["expirationSeconds"].as_i64().unwrap_or(LIFE_SECONDS);
        let lives_seconds = wanted.clamp(LIFE_SECONDS_MIN, LIFE_SECONDS);
        let random = self.registry.random();
        let serial = [random.next_u64(), random.next_u64()];
        let now = self.registry.clock().now();
        let der = self.authority.issue(&request, &usages, serial, now, lives_seconds)?;
        check_user(&der)?;
        Ok(issue::pem(&der))
    }

    async fn write(
        &self,
        stored: &Stored,
        subresource: Option<&str>,
        action: Action,
        act: &str,
    ) -> Result<(), Status> {
        let kind = Gvk::new(GROUP, "v1", "CertificateSigningRequest");
        let Some(resource) = self.registry.resource_of(&kind) else { return Ok(()) };
        let target = Target {
            resource,
            namespace: "".into(),
            name: Some(std::sync::Arc::clone(&stored.key.name)),
            subresource: subresource.map(Into::into),
        };
        let actor = Actor {
            user: "system:quadrille".into(),
            client: "quadrille".into(),
            ..Actor::default()
        };
        let request = WriteRequest { target, action, options: WriteOptions::default(), actor };
        let cause = Cause::System(SystemCause {
            part: "certificates".to_owned(),
            act: act.to_owned(),
            because: vec![stored.revision],
        });
        self.registry.submit(&request, cause).await.map(drop)
    }
}

/// Looks at a certificate as the server will when somebody comes with it: whoever has let the request pass, nobody
/// becomes a master by it.
fn check_user(der: &[u8]) -> Result<(), String> {
    match certificate::user(der) {
        Some(user) if user.is_in(MASTERS) => {
            Err(format!("nothing is signed for the group {MASTERS}"))
        }
        Some(_) => Ok(()),
        None => Err("the request names no user".to_owned()),
    }
}

fn resource() -> GroupResource {
    GroupResource::new(GROUP, "certificatesigningrequests")
}

fn conditions(object: &Value) -> &[Value] {
    object.pointer("/status/conditions").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// What a request needs now.
fn step(object: &Value, now: Timestamp) -> Step {
    let time = |of: &Value| of.as_str().and_then(Timestamp::parse_rfc3339).map(Timestamp::seconds);
    let is_older = |of: &Value, seconds| time(of).is_some_and(|at| now.seconds() - at > seconds);
    let find = |kind: &str| conditions(object).iter().find(|condition| condition["type"] == *kind);
    let issued = object.pointer("/status/certificate").and_then(Value::as_str);
    let issued = issued.is_some_and(|certificate| !certificate.is_empty());
    let (approved, denied, failed) = (find("Approved"), find("Denied"), find("Failed"));
    let over = [denied, failed, approved.filter(|_| issued)];
    if over.into_iter().flatten().any(|c| is_older(&c["lastUpdateTime"], DECIDED_SECONDS)) {
        return Step::Remove;
    }
    let is_pending = conditions(object).is_empty();
    if is_pending && is_older(&object["metadata"]["creationTimestamp"], PENDING_SECONDS) {
        return Step::Remove;
    }
    let is_wanted = approved.is_some() && denied.is_none() && failed.is_none() && !issued;
    if is_wanted && object["spec"]["signerName"] == SIGNER { Step::Sign } else { Step::Nothing }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    use super::*;
    use crate::identity;

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "callers write `json!` in place")]
    fn check(status: Value, signer: &str, expected: &Step) {
        let object = json!({
            "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"signerName": signer}, "status": status,
        });
        let now = Timestamp::parse_rfc3339("2026-01-02T00:00:01Z").expect("a time");
        assert_eq!(step(&object, now), *expected, "{object}");
    }

    #[test]
    fn nothing_is_signed_for_a_master_or_for_nobody() {
        let now = Timestamp::from_seconds(1_767_225_600);
        let authority = identity::make_authority(now).expect("an authority");
        let checked = |name: &str, group: &str| {
            let pair = identity::make_client_certificate(&authority, name, Some(group), now);
            let pem = pair.expect("a certificate").certificate;
            check_user(&CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM"))
        };
        assert_eq!(checked("alice", "dev"), Ok(()));
        assert!(checked("alice", MASTERS).is_err() && checked("", "dev").is_err());
    }

    fn decided(kind: &str, at: &str) -> Value {
        json!([{"type": kind, "status": "True", "lastUpdateTime": at}])
    }

    #[test]
    fn only_fresh_approved_requests_of_the_own_signer_are_signed() {
        let fresh = "2026-01-02T00:00:00Z";
        check(json!({"conditions": decided("Approved", fresh)}), SIGNER, &Step::Sign);
        check(json!({"conditions": decided("Approved", fresh)}), "example.com/x", &Step::Nothing);
        check(json!({"conditions": decided("Denied", fresh)}), SIGNER, &Step::Nothing);
        let both = json!({"conditions": decided("Approved", fresh), "certificate": "x"});
        check(both, SIGNER, &Step::Nothing);
    }

    #[test]
    fn old_requests_are_removed_and_approved_ones_wait_for_their_signer() {
        let old = "2026-01-01T22:00:00Z";
        check(json!({}), SIGNER, &Step::Remove);
        for kind in ["Denied", "Failed"] {
            check(json!({"conditions": decided(kind, old)}), SIGNER, &Step::Remove);
        }
        check(json!({"conditions": decided("Approved", old)}), "example.com/x", &Step::Nothing);
        let issued = json!({"conditions": decided("Approved", old), "certificate": "x"});
        check(issued, "example.com/x", &Step::Remove);
    }
}
