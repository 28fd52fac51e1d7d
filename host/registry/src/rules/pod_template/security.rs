//! Security contexts of Pods and containers, and what an operating system does not know of them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::at::At;
use super::volume::validate_descending;
use super::windows;
use crate::field::Errors;

const ID_MAX: i64 = i32::MAX as i64;

/// Checks a Pod's security context.
pub(super) fn validate_pod(spec: &At<'_>, errors: &mut Errors) {
    let Some(context) = spec.child("securityContext") else { return };
    for key in ["fsGroup", "runAsUser", "runAsGroup"] {
        errors.within(&context, key, 0, ID_MAX);
    }
    for (index, group) in context.list("supplementalGroups").iter().enumerate() {
        if group.as_i64().is_some_and(|id| !(0..=ID_MAX).contains(&id)) {
            let why = format!("must be between 0 and {ID_MAX}, inclusive");
            errors.invalid(context.index("supplementalGroups", index), group, &why);
        }
    }
    if spec.is("hostPID") && spec.is("shareProcessNamespace") {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(context.path("shareProcessNamespace"), &true.into(), why);
    }
    validate_sysctls(spec, &context, errors);
    errors.known(&context, "fsGroupChangePolicy", &["Always", "OnRootMismatch"]);
    validate_profiles(&context, errors);
    errors.known(&context, "supplementalGroupsPolicy", &["Merge", "Strict"]);
    errors.known(&context, "seLinuxChangePolicy", &["MountOption", "Recursive"]);
}

/// Checks a container's security context.
pub(super) fn validate_container(container: &At<'_>, host_users: bool, errors: &mut Errors) {
    let Some(context) = container.child("securityContext") else { return };
    for key in ["runAsUser", "runAsGroup"] {
        errors.within(&context, key, 0, ID_MAX);
    }
    errors.known(&context, "procMount", &["Default", "Unmasked"]);
    if host_users && context.text("procMount") == "Unmasked" {
        let why = "`hostUsers` must be false to use `Unmasked`";
        errors.invalid(context.path("procMount"), &"Unmasked".into(), why);
    }
    validate_profiles(&context, errors);
    if context.flag("allowPrivilegeEscalation") != Some(false) {
        return;
    }
    let shown = || Value::Object(context.map.clone());
    if context.is("privileged") {
        let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.invalid(context.path.clone(), &shown(), why);
    }
    let capabilities = context.child_or_empty("capabilities");
    if capabilities.texts("add").any(|name| name == "CAP_SYS_ADMIN") {
        let why =
            "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
        errors.invalid(context.path.clone(), &shown(), why);
    }
}

/// seccomp, Windows and `AppArmor`, which Pods and containers have alike.
fn validate_profiles(context: &At<'_>, errors: &mut Errors) {
    let types = ["Localhost", "RuntimeDefault", "Unconfined"];
    if let Some(profile) = context.child("seccompProfile") {
        if profile.text("type").is_empty() {
            errors.required(profile.path("type"), "type is required when seccompProfile is set");
        }
        if !profile.text("type").is_empty() {
            errors.known(&profile, "type", &types);
        }
        let path = profile.path("localhostProfile");
        match (profile.text("type"), profile.get("localhostProfile")) {
            ("Localhost", None) => {
                errors.required(path, "must be set when seccomp type is Localhost");
            }
            ("Localhost", Some(name)) => {
                validate_descending(name.as_str().unwrap_or_default(), &path, errors);
            }
            (_, Some(_)) => {
                let why = "can only be set when seccomp type is Localhost";
                errors.invalid(path, &Value::Object(profile.map.clone()), why);
            }
            (_, None) => {}
        }
    }
    if let Some(options) = context.child("windowsOptions") {
        windows::validate_options(&options, errors);
    }
    if let Some(profile) = context.child("appArmorProfile") {
        validate_app_armor(&profile, &types, errors);
    }
}

fn validate_app_armor(profile: &At<'_>, types: &[&str], errors: &mut Errors) {
    const LENGTH_MAX: usize = 4_095;
    let path = profile.path("localhostProfile");
    let local = profile.get("localhostProfile").and_then(Value::as_str);
    let why = "must be set when AppArmor type is Localhost";
    match (profile.text("type"), local) {
        ("Localhost", None | Some("")) => errors.required(path, why),
        ("Localhost", Some(name)) => {
            if name.trim() != name {
                let why = "must not be padded with whitespace";
                errors.invalid(path.clone(), &name.into(), why);
            }
            if name.len() > LENGTH_MAX {
                errors.too_long(path, LENGTH_MAX);
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(name)) => {
            let why = "can only be set when AppArmor type is Localhost";
            errors.invalid(path, &name.into(), why);
        }
        ("", _) => {
            errors.required(profile.path("type"), "type is required when appArmorProfile is set");
        }
        _ => errors.known(profile, "type", types),
    }
}

fn validate_sysctls(spec: &At<'_>, context: &At<'_>, errors: &mut Errors) {
    const LENGTH_MAX: usize = 253;
    let mut names = BTreeSet::new();
    for sysctl in context.items("sysctls") {
        let name = sysctl.text("name");
        let path = sysctl.path("name");
        if name.is_empty() {
            errors.required(path.clone(), "");
        } else if name.len() > LENGTH_MAX || !is_sysctl(name) {
            let why = format!(
                "must have at most {LENGTH_MAX} characters and match regex \
                 ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
            );
            errors.invalid(path.clone(), &name.into(), &why);
        } else if names.contains(name) {
            errors.duplicate(path.clone(), &name.into());
        }
        names.insert(name);
        let dotted = name.replace('/', ".");
        if spec.is("hostNetwork") && dotted.starts_with("net.") {
            let why = "may not be specified when 'hostNetwork' is true";
            errors.invalid(path.clone(), &name.into(), why);
        } else if spec.is("hostIPC") && is_of_ipc(&dotted) {
            errors.invalid(path, &name.into(), "may not be specified when 'hostIPC' is true");
        }
    }
}

fn is_of_ipc(name: &str) -> bool {
    name == "kernel.sem"
        || ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|prefix| name.starts_with(prefix))
}

fn is_sysctl(name: &str) -> bool {
    let is_end = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    name.split(['.', '/']).all(|part| {
        let bytes = part.as_bytes();
        let inner = |b: &u8| is_end(Some(b)) || matches!(b, b'-' | b'_');
        is_end(bytes.first()) && is_end(bytes.last()) && bytes.iter().all(inner)
    })
}
