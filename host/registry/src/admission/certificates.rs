//! Certificate signing requests: nobody asks the API's own signer for a master's certificate, and whoever approves or
//! signs needs that right for the signer (`CertificateApproval`, `CertificateSigning`, `CertificateSubjectRestriction`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::access::{Attributes, MASTERS, ResourceAttributes};
use crate::admission::{Operation, Plugin, forbidden, is_of};
use crate::field::{self, Object};
use crate::signing_request::{self, SigningRequest};
use crate::status::Status;
use crate::write::Attempt;

const GROUP: &str = "certificates.k8s.io";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// Decides who may ask for what, approve and sign.
#[derive(Debug)]
pub(super) struct Certificates;

impl Plugin for Certificates {
    fn validate(
        &self,
        attempt: &mut Attempt<'_>,
        object: &Object,
        before: Option<&Object>,
        operation: Operation,
    ) -> Result<(), Status> {
        if !is_of(attempt, GROUP, "certificatesigningrequests") {
            return Ok(());
        }
        match (operation, attempt.subresource(), before) {
            (Operation::Create, None, _) => check_subject(attempt, object),
            (Operation::Update, Some("approval"), _) => may(attempt, object, "approve"),
            (Operation::Update, Some("status"), Some(before)) => {
                let same = ["certificate", "conditions"].iter().all(|key| {
                    field::get(object, &["status", key]) == field::get(before, &["status", key])
                });
                if same { Ok(()) } else { may(attempt, object, "sign") }
            }
            _ => Ok(()),
        }
    }
}

fn signer_of(object: &Object) -> &str {
    field::text(object, &["spec", "signerName"]).unwrap_or_default()
}

/// The right to a verb on the signer, or on all signers of its domain.
fn may(attempt: &Attempt<'_>, object: &Object, verb: &str) -> Result<(), Status> {
    let actor = &attempt.request.actor;
    if actor.is_host() {
        return Ok(());
    }
    let signer = signer_of(object);
    let domain = signer.split('/').next().unwrap_or_default();
    let whole = format!("{domain}/*");
    let allowed = [signer, whole.as_str()].iter().any(|name| {
        let of = ResourceAttributes {
            group: GROUP,
            version: "*",
            resource: "signers",
            name,
            ..ResourceAttributes::default()
        };
        attempt.access.decide(actor.asker(), &Attributes::of(verb, of)).allowed
    });
    if allowed {
        return Ok(());
    }
    let why = format!("user not permitted to {verb} requests with signerName {signer:?}");
    Err(forbidden(attempt, object, &why))
}

fn check_subject(attempt: &Attempt<'_>, object: &Object) -> Result<(), Status> {
    if signer_of(object) != CLIENT_SIGNER {
        return Ok(());
    }
    let request = field::text(object, &["spec", "request"]).unwrap_or_default();
    let why = match names_masters(request) {
        Some(false) => return Ok(()),
        Some(true) => format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed"),
        None => format!("use of {CLIENT_SIGNER} signer needs a request that can be read"),
    };
    Err(forbidden(attempt, object, &why))
}

/// Whether an organization of the request (PEM in base64) is that of masters; `None` when it cannot be read. The signer
/// reads it with the same functions.
fn names_masters(request: &str) -> Option<bool> {
    let der = signing_request::der_of(&STANDARD.decode(request).ok()?)?;
    Some(SigningRequest::read(&der)?.names.organizations.contains(&MASTERS))
}
