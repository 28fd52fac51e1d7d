//! What only Windows, or only Linux, understands of a Pod.

use serde_json::Value;

use super::at::At;
use super::containers_of;
use crate::field::Errors;

const NOT_ON_WINDOWS: &str = "cannot be set for a windows pod";

/// Fields of the Pod's security context that Windows has not.
const POD_CONTEXT: [&str; 11] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
];

/// Fields of a container's security context that Windows has not.
const CONTAINER_CONTEXT: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

/// Checks `os` and what it rules out.
pub(super) fn validate_os(spec: &At<'_>, errors: &mut Errors) {
    let Some(os) = spec.child("os") else { return };
    match os.text("name") {
        "" => errors.required(os.path("name"), "cannot be empty"),
        "linux" => {
            let why = "windows options cannot be set for a linux pod";
            let contexts = containers_of(spec).filter_map(|c| c.child("securityContext"));
            for context in spec.child("securityContext").into_iter().chain(contexts) {
                if context.has("windowsOptions") {
                    errors.forbidden(context.path("windowsOptions"), why);
                }
            }
        }
        "windows" => validate_windows(spec, errors),
        other => errors.unsupported(os.path.clone(), &other.into(), &["linux", "windows"]),
    }
}

fn validate_windows(spec: &At<'_>, errors: &mut Errors) {
    if let Some(context) = spec.child("securityContext") {
        for key in POD_CONTEXT.iter().filter(|key| context.has(key)) {
            errors.forbidden(context.path(key), NOT_ON_WINDOWS);
        }
    }
    for key in ["hostUsers", "shareProcessNamespace"] {
        if spec.has(key) {
            errors.forbidden(spec.path(key), NOT_ON_WINDOWS);
        }
    }
    for key in ["hostPID", "hostIPC"] {
        if spec.is(key) {
            errors.forbidden(spec.path(key), NOT_ON_WINDOWS);
        }
    }
    for context in containers_of(spec).filter_map(|c| c.child("securityContext")) {
        for key in CONTAINER_CONTEXT.iter().filter(|key| context.has(key)) {
            errors.forbidden(context.path(key), NOT_ON_WINDOWS);
        }
    }
}

/// Checks a `WindowsSecurityContextOptions`.
pub(super) fn validate_options(options: &At<'_>, errors: &mut Errors) {
    const SPEC_KIB_MAX: usize = 64;
    errors.dns_subdomain(options, "gmsaCredentialSpecName");
    if let Some(spec) = options.get("gmsaCredentialSpec") {
        let length = spec.as_str().map_or(0, str::len);
        let path = options.path("gmsaCredentialSpec");
        if length == 0 {
            errors.invalid(path, spec, "gmsaCredentialSpec cannot be an empty string");
        } else if length > SPEC_KIB_MAX * 1024 {
            let why = format!("gmsaCredentialSpec size must be under {SPEC_KIB_MAX} KiB");
            errors.invalid(path, spec, &why);
        }
    }
    if let Some(name) = options.get("runAsUserName").and_then(Value::as_str) {
        for why in user_name(name) {
            errors.invalid(options.path("runAsUserName"), &name.into(), &why);
        }
    }
}

/// What is wrong with `DOMAIN\USER` or `USER`.
fn user_name(name: &str) -> Vec<String> {
    const DOMAIN_LENGTH: usize = 256;
    const USER_LENGTH_MAX: usize = 104;
    let one = |why: &str| vec![format!("runAsUserName{why}")];
    if name.is_empty() {
        return one(" cannot be an empty string");
    }
    if name.chars().any(char::is_control) {
        return one(" cannot contain control characters");
    }
    let (domain, user) = match name.split_once('\\') {
        Some((_, user)) if user.contains('\\') => {
            return one(" cannot contain more than one backslash");
        }
        Some((domain, user)) => (Some(domain), user),
        None => (None, name),
    };
    let mut problems = Vec::new();
    if domain.is_some_and(|domain| domain.len() >= DOMAIN_LENGTH) {
        let why = format!("'s Domain length must be under {DOMAIN_LENGTH} characters");
        problems.extend(one(&why));
    }
    if domain.is_some_and(|domain| !is_net_bios(domain) && !is_dns(domain)) {
        problems.extend(one("'s Domain doesn't match the NetBios nor the DNS format"));
    }
    if user.is_empty() {
        problems.extend(one("'s User cannot be empty"));
    } else if user.len() > USER_LENGTH_MAX {
        let why = format!("'s User length must not be longer than {USER_LENGTH_MAX} characters");
        problems.extend(one(&why));
    }
    if !user.is_empty() && user.chars().all(|c| c == '.' || c == ' ') {
        problems.extend(one("'s User cannot contain only periods or spaces"));
    }
    if user
        .contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']'])
    {
        let why = "'s User cannot contain the following characters: \"/\\:;|=,+*?<>@[]";
        problems.extend(one(why));
    }
    problems
}

fn is_net_bios(domain: &str) -> bool {
    let forbidden = ['\\', '/', ':', '*', '?', '"', '<', '>', '|', '.'];
    (1..=15).contains(&domain.len()) && !domain.contains(forbidden) && !domain.starts_with('.')
}

fn is_dns(domain: &str) -> bool {
    domain.split('.').all(|label| {
        let is_good = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        !label.is_empty()
            && label.bytes().all(is_good)
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

/// Checks that either every container of a Pod is a Windows process of the host, or none.
pub(super) fn validate_host_process(spec: &At<'_>, errors: &mut Errors) {
    let wish = |at: &At<'_>| {
        let context = at.child("securityContext")?;
        context.child("windowsOptions")?.flag("hostProcess")
    };
    let of_pod = wish(spec);
    let (mut all, mut count) = (true, 0);
    for container in containers_of(spec) {
        let own = wish(&container);
        if let (Some(of_pod), Some(own)) = (of_pod, own)
            && own != of_pod
        {
            let path = container.path("securityContext.windowsOptions.hostProcess");
            let why = format!(
                "pod hostProcess value must be identical if both are specified, was {of_pod}"
            );
            errors.invalid(path, &own.into(), &why);
        }
        let is_process = own.or(of_pod) == Some(true);
        all &= is_process;
        count += usize::from(is_process);
    }
    if count == 0 {
        return;
    }
    if !all {
        let why = "If pod contains any hostProcess containers then all containers must be HostProcess \
                   containers";
        errors.invalid(spec.path.clone(), &"".into(), why);
    }
    if !spec.is("hostNetwork") {
        let why = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.invalid(spec.path("hostNetwork"), &false.into(), why);
    }
}
