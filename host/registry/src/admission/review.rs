//! `AdmissionReview`: encoding what a webhook is asked and reading what it answers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::status::{Reason, Status, StatusDetails};

/// A version of `admission.k8s.io`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V1Beta1,
}

/// An answer that can be followed, or why there is none.
pub(crate) type Outcome = Result<Answer, String>;

/// What a webhook says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) allowed: bool,
    /// Why not.
    pub(crate) result: Option<Value>,
    /// The decoded patch as it came; `None` without one.
    pub(crate) patch: Option<Value>,
    pub(crate) warnings: Vec<String>,
    pub(crate) annotations: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    response: Option<Response>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    allowed: bool,
    status: Option<Value>,
    patch: Option<String>,
    patch_type: Option<String>,
    #[serde(default)]
    audit_annotations: Option<std::collections::BTreeMap<String, String>>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

impl Version {
    fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "admission.k8s.io/v1",
            Self::V1Beta1 => "admission.k8s.io/v1beta1",
        }
    }

    /// The first of a webhook's versions that is understood.
    pub(crate) fn choose(versions: &[Value]) -> Option<Self> {
        versions.iter().find_map(|version| match version.as_str() {
            Some("v1") => Some(Self::V1),
            Some("v1beta1") => Some(Self::V1Beta1),
            Some(_) | None => None,
        })
    }
}

/// The body of a call.
pub(crate) fn encode(mut request: Value, uid: &str, version: Version) -> Bytes {
    if let Some(map) = request.as_object_mut() {
        map.insert("uid".to_owned(), uid.into());
    }
    let review =
        json!({"kind": "AdmissionReview", "apiVersion": version.api_version(), "request": request});
    Bytes::from(review.to_string())
}

/// The text for a call that could not be made.
pub(crate) fn failed_call(why: &str) -> String {
    format!("failed to call webhook: {why}")
}

/// Reads the body of an answer.
///
/// # Errors
/// With what is wrong with it.
pub(crate) fn decode(body: &[u8], uid: &str, version: Version, mutating: bool) -> Outcome {
    let review: Review = serde_json::from_slice(body).map_err(|error| {
        failed_call(&format!("couldn't get version/kind; json parse error: {error}"))
    })?;
    verify(review, uid, version, mutating)
        .map_err(|why| format!("received invalid webhook response: {why}"))
}

fn verify(review: Review, uid: &str, version: Version, mutating: bool) -> Outcome {
    let Some(response) = review.response else {
        return Err("webhook response was absent".to_owned());
    };
    if version == Version::V1 {
        if response.uid != uid {
            return Err(format!("expected response.uid={uid:?}, got {:?}", response.uid));
        }
        if review.api_version != version.api_version() || review.kind != "AdmissionReview" {
            let found = format!("{}, Kind={}", review.api_version, review.kind);
            let wanted = version.api_version();
            return Err(format!(
                "expected webhook response of {wanted}, Kind=AdmissionReview, got {found}"
            ));
        }
        verify_patch(&response, mutating)?;
    }
    let patch = response.patch.filter(|text| mutating && !text.is_empty());
    let patch = patch.map(|text| decode_patch(&text)).transpose()?;
    Ok(Answer {
        allowed: response.allowed,
        result: response.status,
        patch,
        warnings: response.warnings.unwrap_or_default(),
        annotations: response.audit_annotations.unwrap_or_default().into_iter().collect(),
    })
}

fn verify_patch(response: &Response, mutating: bool) -> Result<(), String> {
    let has_patch = response.patch.as_ref().is_some_and(|patch| !patch.is_empty());
    let why = match (mutating, has_patch, response.patch_type.as_deref()) {
        (false, true, _) => "validating webhook may not return response.patch",
        (false, false, Some(_)) => "validating webhook may not return response.patchType",
        (true, true, None) => "webhook returned response.patch but not response.patchType",
        (true, false, Some(_)) => "webhook returned response.patchType but not response.patch",
        (true, true, Some("JSONPatch")) | (_, false, None) => return Ok(()),
        (true, true, Some(other)) => {
            return Err(format!("webhook returned invalid response.patchType of {other:?}"));
        }
    };
    Err(why.to_owned())
}

fn decode_patch(text: &str) -> Result<Value, String> {
    let bytes = STANDARD.decode(text).map_err(|error| format!("response.patch: {error}"))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| format!("received undecodable patch in webhook response: {error}"))
}

/// The refusal that a webhook asks for.
pub(crate) fn rejection(webhook: &str, result: Option<&Value>) -> Status {
    let denied = format!("admission webhook {webhook:?} denied the request");
    let text = |key: &str| {
        let text = result.and_then(|r| r.get(key)).and_then(Value::as_str);
        text.filter(|text| !text.is_empty())
    };
    let message = match (text("message"), text("reason")) {
        (Some(why), _) | (None, Some(why)) => format!("{denied}: {why}"),
        (None, None) => format!("{denied} without explanation"),
    };
    let reason = text("reason").map(Value::from);
    let reason = reason.and_then(|reason| serde_json::from_value::<Reason>(reason).ok());
    let code = result.and_then(|r| r.get("code")).and_then(Value::as_u64);
    let code =
        code.and_then(|code| u16::try_from(code).ok()).filter(|code| (400..600).contains(code));
    let details = result.and_then(|r| r.get("details")).cloned();
    let details = details.and_then(|d| serde_json::from_value::<StatusDetails>(d).ok());
    let status = Status::new(reason.unwrap_or(Reason::Unknown), message);
    Status { details: details.map(Box::new), ..status.with_code(code.unwrap_or(400)) }
}
