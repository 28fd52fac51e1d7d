//! The options of requests, checked with kube-apiserver's words: one function per options kind.

use quadrille_object::{FieldError, FieldErrorKind};
use quadrille_registry::{FieldValidation, Status, WriteOptions};

use crate::params::Params;

const GROUP: &str = "meta.k8s.io";
/// The longest name of a field manager.
const MANAGER_BYTES_MAX: usize = 128;

fn forbidden(field: &str, text: &str) -> FieldError {
    FieldError::new(FieldErrorKind::Forbidden, field, format!("Forbidden: {text}"))
}

fn not_supported(field: &str, value: &str, supported: &str) -> FieldError {
    let message = format!("Unsupported value: \"{value}\": supported values: {supported}");
    FieldError::new(FieldErrorKind::NotSupported, field, message)
}

fn refuse(kind: &str, errors: &[FieldError]) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(GROUP, kind, "", errors)) }
}

/// Checks the options of a list.
pub(crate) fn check_list(params: &Params<'_>) -> Result<(), Status> {
    let mut errors = Vec::new();
    let field = "resourceVersionMatch";
    if let Some(wanted) = params.resource_version_match.as_deref() {
        if params.resource_version.is_none() {
            let text = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            errors.push(forbidden(field, text));
        }
        if params.r#continue.is_some() {
            let text = "resourceVersionMatch is forbidden when continue is provided";
            errors.push(forbidden(field, text));
        }
        if !matches!(wanted, "Exact" | "NotOlderThan") {
            errors.push(not_supported(field, wanted, "\"\", \"Exact\", \"NotOlderThan\""));
        }
        if wanted == "Exact" && params.resource_version.as_deref() == Some("0") {
            let text = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            errors.push(forbidden(field, text));
        }
    }
    if params.send_initial_events.is_some() {
        let text = "sendInitialEvents is forbidden for list";
        errors.push(forbidden("sendInitialEvents", text));
    }
    refuse("ListOptions", &errors)
}

/// Checks the options of a watch.
pub(crate) fn check_watch(params: &Params<'_>) -> Result<(), Status> {
    let mut errors = Vec::new();
    let field = "resourceVersionMatch";
    let wanted = params.resource_version_match.as_deref().unwrap_or_default();
    if params.send_initial_events.is_some() && wanted != "NotOlderThan" {
        let text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        errors.push(forbidden(field, text));
    }
    if !wanted.is_empty() {
        if params.send_initial_events.is_none() {
            let text =
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.push(forbidden(field, text));
        }
        if wanted != "NotOlderThan" {
            errors.push(not_supported(field, wanted, "\"NotOlderThan\""));
        }
        if params.r#continue.is_some() {
            let text = "resourceVersionMatch is forbidden when continue is provided";
            errors.push(forbidden(field, text));
        }
    }
    refuse("ListOptions", &errors)
}

/// What kind of write the options belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteKind {
    Create,
    Update,
    Patch,
    Apply,
}

/// The options of a write.
pub(crate) fn write(params: &Params<'_>, kind: WriteKind) -> Result<WriteOptions, Status> {
    let mut errors = Vec::new();
    if kind == WriteKind::Apply && params.field_manager.is_none() {
        let text = "Required value: is required for apply patch";
        errors.push(FieldError::new(FieldErrorKind::Required, "fieldManager", text));
    }
    if kind == WriteKind::Patch && params.force.is_some() {
        errors.push(forbidden("force", "may not be specified for non-apply patch"));
    }
    check_manager(params.field_manager.as_deref().unwrap_or_default(), &mut errors);
    check_dry_run(params.dry_run.iter().map(AsRef::as_ref), &mut errors);
    let field_validation = match params.field_validation.as_deref() {
        None | Some("Warn") => FieldValidation::Warn,
        Some("Ignore") => FieldValidation::Ignore,
        Some("Strict") => FieldValidation::Strict,
        Some(other) => {
            let supported = "\"\", \"Ignore\", \"Strict\", \"Warn\"";
            errors.push(not_supported("fieldValidation", other, supported));
            FieldValidation::Warn
        }
    };
    let options_kind = match kind {
        WriteKind::Create => "CreateOptions",
        WriteKind::Update => "UpdateOptions",
        WriteKind::Patch | WriteKind::Apply => "PatchOptions",
    };
    refuse(options_kind, &errors)?;
    Ok(WriteOptions {
        dry_run: !params.dry_run.is_empty(),
        field_manager: params.field_manager.as_deref().map(Into::into),
        field_validation,
        force: params.force.unwrap_or(false),
    })
}

fn check_manager(manager: &str, errors: &mut Vec<FieldError>) {
    if manager.len() > MANAGER_BYTES_MAX {
        let text = format!("Too long: may not be more than {MANAGER_BYTES_MAX} bytes");
        errors.push(FieldError::new(FieldErrorKind::TooLong, "fieldManager", text));
    }
    if manager.chars().any(char::is_control) {
        let text = format!("Invalid value: {manager:?}: should only contain printable characters");
        errors.push(FieldError::new(FieldErrorKind::Invalid, "fieldManager", text));
    }
}

/// `dryRun` knows only `All`.
pub(crate) fn check_dry_run<'a>(
    values: impl Iterator<Item = &'a str>,
    errors: &mut Vec<FieldError>,
) {
    for value in values.filter(|value| *value != "All") {
        errors.push(not_supported("dryRun", value, "\"All\""));
    }
}

/// Refuses options of a deletion.
pub(crate) fn refuse_delete(errors: &[FieldError]) -> Result<(), Status> {
    refuse("DeleteOptions", errors)
}

/// A `propagationPolicy` that does not exist.
pub(crate) fn unknown_propagation(value: &str) -> FieldError {
    not_supported("propagationPolicy", value, "\"Background\", \"Foreground\", \"Orphan\"")
}
