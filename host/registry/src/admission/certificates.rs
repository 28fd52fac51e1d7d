//! Certificate signing requests: nobody asks the API's own signer for a master's certificate, and whoever approves or
//! signs needs that right for the signer (`CertificateApproval`, `CertificateSigning`, `CertificateSubjectRestriction`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::access::{Attributes, ResourceAttributes};
use crate::admission::{Operation, Plugin, forbidden, is_of};
use crate::field::{self, Object};
use crate::status::Status;
use crate::write::Attempt;

const GROUP: &str = "certificates.k8s.io";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";
const MASTERS: &str = "system:masters";
/// 2.5.4.10, the organization, as an element in DER.
const ORGANIZATION: &[u8] = &[0x06, 0x03, 0x55, 0x04, 0x0a];

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
    if !names_masters(request) {
        return Ok(());
    }
    let why = format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed");
    Err(forbidden(attempt, object, &why))
}

/// Whether an organization of the request (PEM in base64) is that of masters: the element that names the attribute,
/// and a text right behind it.
fn names_masters(request: &str) -> bool {
    let Some(der) = der_of(request) else { return false };
    let found = |at: usize| {
        let rest = der.get(at..)?.strip_prefix(ORGANIZATION)?;
        let (&[_, length], text) = rest.split_first_chunk::<2>()?;
        Some(text.get(..usize::from(length))? == MASTERS.as_bytes())
    };
    (0..der.len()).any(|at| found(at) == Some(true))
}

fn der_of(request: &str) -> Option<Vec<u8>> {
    let pem = String::from_utf8(STANDARD.decode(request).ok()?).ok()?;
    let (_, rest) = pem.split_once("-----BEGIN CERTIFICATE REQUEST-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE REQUEST-----")?;
    let text: String = body.chars().filter(|c| !c.is_whitespace()).collect();
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(der: &[u8], expected: bool) {
        let body = STANDARD.encode(der);
        let pem = format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n"
        );
        assert_eq!(names_masters(&STANDARD.encode(pem)), expected);
    }

    #[test]
    fn masters_are_found_wherever_the_subject_names_them() {
        let masters = [ORGANIZATION, &[0x0c, 14], MASTERS.as_bytes()].concat();
        check(&masters, true);
        check(&[&[0x30, 0x10], masters.as_slice(), &[0x05, 0x00]].concat(), true);
        check(&[ORGANIZATION, &[0x0c, 3], b"dev"].concat(), false);
        check(&masters[..masters.len() - 1], false);
        check(&[], false);
    }
}
