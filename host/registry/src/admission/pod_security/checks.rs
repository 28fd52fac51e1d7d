//! The Pod Security Standards, check by check, in kube-apiserver's order and words.

use std::collections::BTreeSet;

use serde_json::Value;

use super::level::{Level, Standard};
use crate::field::{self, Object};
use crate::rules::pod_template::{At, containers_of};

/// What a check found.
#[derive(Debug)]
pub(super) struct Violation {
    pub(super) reason: String,
    pub(super) detail: String,
}

/// A Pod or template under a standard.
struct Subject<'a> {
    standard: &'a Standard,
    annotations: At<'a>,
    spec: At<'a>,
    containers: Vec<At<'a>>,
}

type Check = fn(&Subject<'_>) -> Option<(String, String)>;

const BASELINE: [Check; 10] = [
    app_armor,
    host_namespaces,
    host_path,
    host_ports,
    host_probes,
    privileged,
    proc_mount,
    se_linux,
    sysctls,
    host_process,
];

/// What the restricted level checks more strictly.
const BASELINE_ONLY: [Check; 2] = [added_capabilities, bad_seccomp];

const RESTRICTED: [Check; 6] =
    [escalation, dropped_capabilities, restricted_volumes, non_root, user_zero, wanted_seccomp];

/// Every violation of a standard.
pub(super) fn evaluate(standard: &Standard, pod: &At<'_>) -> Vec<Violation> {
    let spec = pod.child_or_empty("spec");
    let subject = Subject {
        standard,
        annotations: pod.child_or_empty("metadata").child_or_empty("annotations"),
        containers: containers_of(&spec).collect(),
        spec,
    };
    let more: &[Check] = match standard.level {
        Level::Privileged => return Vec::new(),
        Level::Baseline => &BASELINE_ONLY,
        Level::Restricted => &RESTRICTED,
    };
    let found = BASELINE.iter().chain(more).filter_map(|check| check(&subject));
    found.map(|(reason, detail)| Violation { reason, detail }).collect()
}

/// Whether a change of a Pod touches anything that is checked.
pub(super) fn is_significant(pod: &Object, before: &Object) -> bool {
    let spec = |object| field::get(object, &["spec"]);
    let annotations = |object| field::get(object, &["metadata", "annotations"]);
    spec(pod) != spec(before) || annotations(pod) != annotations(before)
}

fn quoted<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> =
        names.into_iter().map(|name| Value::from(name.as_ref()).to_string()).collect();
    names.join(", ")
}

fn plural(word: &str, count: usize) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

fn of_containers(names: &[&str]) -> String {
    format!("{} {}", plural("container", names.len()), quoted(names))
}

fn found(reason: &str, detail: String) -> (String, String) {
    (reason.to_owned(), detail)
}

fn context<'a>(at: &At<'a>) -> At<'a> {
    at.child_or_empty("securityContext")
}

impl<'a> Subject<'a> {
    /// The names of the containers for which something holds.
    fn those(&self, holds: impl Fn(&At<'a>) -> bool) -> Vec<&'a str> {
        self.containers.iter().filter(|c| holds(c)).map(|c| c.text("name")).collect()
    }

    /// "pod", the containers, or both, where their security contexts are bad.
    fn setters(&self, is_bad: impl Fn(&At<'a>) -> bool) -> Option<String> {
        let mut setters = Vec::new();
        if is_bad(&context(&self.spec)) {
            setters.push("pod".to_owned());
        }
        let bad = self.those(|container| is_bad(&context(container)));
        if !bad.is_empty() {
            setters.push(of_containers(&bad));
        }
        (!setters.is_empty()).then(|| setters.join(" and "))
    }

    /// The Pod's and the containers' security contexts.
    fn contexts(&self) -> impl Iterator<Item = At<'a>> {
        let own = std::iter::once(context(&self.spec));
        own.chain(self.containers.iter().map(context).collect::<Vec<_>>())
    }

    fn is_windows(&self) -> bool {
        self.spec.child_or_empty("os").text("name") == "windows"
    }

    /// Root inside is nobody outside.
    fn has_user_namespace(&self) -> bool {
        self.spec.flag("hostUsers") == Some(false)
    }
}

fn app_armor(subject: &Subject<'_>) -> Option<(String, String)> {
    const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
    let is_bad = |context: &At<'_>| {
        let kind = context.child_or_empty("appArmorProfile").text("type");
        !matches!(kind, "" | "RuntimeDefault" | "Localhost")
    };
    let mut details = Vec::new();
    if let Some(setters) = subject.setters(is_bad) {
        let kinds: BTreeSet<&str> = subject
            .contexts()
            .filter(|context| is_bad(context))
            .map(|context| context.child_or_empty("appArmorProfile").text("type"))
            .collect();
        let kinds = quoted(kinds);
        details.push(format!("{setters} must not set AppArmor profile type to {kinds}"));
    }
    let map = subject.annotations.map;
    for (key, value) in map.iter().filter(|(key, _)| key.starts_with(PREFIX)) {
        let value = value.as_str().unwrap_or_default();
        if !matches!(value, "" | "runtime/default") && !value.starts_with("localhost/") {
            details.push(format!("annotation {key}={}", Value::from(value)));
        }
    }
    let reason = plural("forbidden AppArmor profile", details.len());
    (!details.is_empty()).then(|| (reason, details.join(", ")))
}

fn host_namespaces(subject: &Subject<'_>) -> Option<(String, String)> {
    let keys = ["hostNetwork", "hostPID", "hostIPC"];
    let set: Vec<String> =
        keys.iter().filter(|k| subject.spec.is(k)).map(|k| format!("{k}=true")).collect();
    if set.is_empty() { None } else { Some(found("host namespaces", set.join(", "))) }
}

fn host_path(subject: &Subject<'_>) -> Option<(String, String)> {
    let volumes = subject.spec.items("volumes").filter(|v| v.has("hostPath"));
    let names: Vec<&str> = volumes.map(|v| v.text("name")).collect();
    if names.is_empty() {
        return None;
    }
    let detail = format!("{} {}", plural("volume", names.len()), quoted(&names));
    Some(found("hostPath volumes", detail))
}

fn host_ports(subject: &Subject<'_>) -> Option<(String, String)> {
    let of = |container: &At<'_>| -> Vec<String> {
        let ports = container.items("ports").filter_map(|p| p.integer("hostPort"));
        ports.filter(|port| *port != 0).map(|port| port.to_string()).collect()
    };
    let names = subject.those(|container| !of(container).is_empty());
    let ports: BTreeSet<String> = subject.containers.iter().flat_map(of).collect();
    if names.is_empty() {
        return None;
    }
    let (verb, word) =
        (if names.len() == 1 { "uses" } else { "use" }, plural("hostPort", ports.len()));
    let ports: Vec<String> = ports.into_iter().collect();
    Some(found("hostPort", format!("{} {verb} {word} {}", of_containers(&names), ports.join(", "))))
}

fn host_probes(subject: &Subject<'_>) -> Option<(String, String)> {
    if !subject.standard.since(34) {
        return None;
    }
    let of = |container: &At<'_>| -> Vec<String> {
        let probes = ["livenessProbe", "readinessProbe", "startupProbe"];
        let mut handlers: Vec<At<'_>> = probes.iter().filter_map(|p| container.child(p)).collect();
        let lifecycle = container.child_or_empty("lifecycle");
        handlers.extend(["postStart", "preStop"].iter().filter_map(|h| lifecycle.child(h)));
        let actions = handlers.iter().flat_map(|h| {
            ["httpGet", "tcpSocket"].map(|kind| h.child_or_empty(kind).text("host").to_owned())
        });
        actions.filter(|host| !host.is_empty()).collect()
    };
    let names: BTreeSet<&str> =
        subject.those(|container| !of(container).is_empty()).into_iter().collect();
    let hosts: BTreeSet<String> = subject.containers.iter().flat_map(of).collect();
    if names.is_empty() {
        return None;
    }
    let names: Vec<&str> = names.into_iter().collect();
    let verb = if names.len() == 1 { "uses" } else { "use" };
    let word = plural("probe or lifecycle host", hosts.len());
    let detail = format!("{} {verb} {word} {}", of_containers(&names), quoted(&hosts));
    Some(found("probe or lifecycle host", detail))
}

fn privileged(subject: &Subject<'_>) -> Option<(String, String)> {
    let names = subject.those(|container| context(container).is("privileged"));
    if names.is_empty() {
        return None;
    }
    let names = of_containers(&names);
    Some(found("privileged", format!("{names} must not set securityContext.privileged=true")))
}

fn proc_mount(subject: &Subject<'_>) -> Option<(String, String)> {
    if subject.has_user_namespace() && subject.standard.since(35) {
        return None;
    }
    let of = |container: &At<'_>| context(container).text("procMount").to_owned();
    let is_bad = |kind: &str| !matches!(kind, "" | "Default");
    let names = subject.those(|container| is_bad(&of(container)));
    if names.is_empty() {
        return None;
    }
    let kinds: BTreeSet<String> =
        subject.containers.iter().map(of).filter(|kind| is_bad(kind)).collect();
    let detail = format!(
        "{} must not set securityContext.procMount to {}",
        of_containers(&names),
        quoted(kinds)
    );
    Some(found("procMount", detail))
}

fn se_linux(subject: &Subject<'_>) -> Option<(String, String)> {
    let options = |context: &At<'_>| {
        let options = context.child_or_empty("seLinuxOptions");
        let of = |key: &str| options.text(key).to_owned();
        (of("type"), of("user"), of("role"))
    };
    let is_good_type = |kind: &str| {
        matches!(kind, "" | "container_t" | "container_init_t" | "container_kvm_t")
            || (kind == "container_engine_t" && subject.standard.since(31))
    };
    let setters = subject.setters(|context| {
        let (kind, user, role) = options(context);
        !is_good_type(&kind) || !user.is_empty() || !role.is_empty()
    })?;
    let (mut kinds, mut has_user, mut has_role) = (BTreeSet::new(), false, false);
    for context in subject.contexts() {
        let (kind, user, role) = options(&context);
        if !is_good_type(&kind) {
            kinds.insert(kind);
        }
        has_user |= !user.is_empty();
        has_role |= !role.is_empty();
    }
    let mut data = Vec::new();
    if !kinds.is_empty() {
        data.push(format!("{} {}", plural("type", kinds.len()), quoted(&kinds)));
    }
    if has_user {
        data.push("user may not be set".to_owned());
    }
    if has_role {
        data.push("role may not be set".to_owned());
    }
    let detail =
        format!("{setters} set forbidden securityContext.seLinuxOptions: {}", data.join("; "));
    Some(found("seLinuxOptions", detail))
}

/// Safe sysctls and the minor version that knows them.
const SYSCTLS: [(&str, u32); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];

fn sysctls(subject: &Subject<'_>) -> Option<(String, String)> {
    let is_safe = |name: &str| {
        SYSCTLS.iter().any(|(safe, minor)| *safe == name && subject.standard.since(*minor))
    };
    let context = context(&subject.spec);
    let names = context.items("sysctls").map(|sysctl| sysctl.text("name"));
    let names: BTreeSet<&str> = names.filter(|name| !is_safe(name)).collect();
    if names.is_empty() {
        return None;
    }
    let reason = plural("forbidden sysctl", names.len());
    Some((reason, names.into_iter().collect::<Vec<_>>().join(", ")))
}

fn host_process(subject: &Subject<'_>) -> Option<(String, String)> {
    let setters =
        subject.setters(|context| context.child_or_empty("windowsOptions").is("hostProcess"))?;
    let detail = format!("{setters} must not set securityContext.windowsOptions.hostProcess=true");
    Some(found("hostProcess", detail))
}

const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The containers that add other capabilities than those, and what they add.
fn adding<'a>(subject: &Subject<'a>, allowed: &[&str]) -> (Vec<&'a str>, BTreeSet<String>) {
    let of = |container: &At<'_>| -> Vec<String> {
        let capabilities = context(container).child_or_empty("capabilities");
        let bad = capabilities.texts("add").filter(|name| !allowed.contains(name));
        bad.map(str::to_owned).collect()
    };
    let names = subject.those(|container| !of(container).is_empty());
    (names, subject.containers.iter().flat_map(of).collect())
}

fn added_capabilities(subject: &Subject<'_>) -> Option<(String, String)> {
    let (names, added) = adding(subject, &CAPABILITIES);
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "{} must not include {} in securityContext.capabilities.add",
        of_containers(&names),
        quoted(added)
    );
    Some(found("non-default capabilities", detail))
}

fn is_good_seccomp(kind: &str) -> bool {
    matches!(kind, "RuntimeDefault" | "Localhost")
}

fn seccomp<'a>(context: &At<'a>) -> Option<&'a str> {
    context.child("seccompProfile").map(|profile| profile.text("type"))
}

fn bad_seccomp(subject: &Subject<'_>) -> Option<(String, String)> {
    if !subject.standard.since(19) {
        return bad_seccomp_annotations(subject);
    }
    let is_bad = |context: &At<'_>| seccomp(context).is_some_and(|kind| !is_good_seccomp(kind));
    let setters = subject.setters(is_bad)?;
    let contexts: Vec<At<'_>> = subject.contexts().collect();
    let kinds: BTreeSet<&str> =
        contexts.iter().filter_map(seccomp).filter(|kind| !is_good_seccomp(kind)).collect();
    let kinds = quoted(kinds);
    let detail = format!("{setters} must not set securityContext.seccompProfile.type to {kinds}");
    Some(found("seccompProfile", detail))
}

fn bad_seccomp_annotations(subject: &Subject<'_>) -> Option<(String, String)> {
    const POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
    const CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
    let mut keys: BTreeSet<String> = BTreeSet::from([POD.to_owned()]);
    keys.extend(subject.containers.iter().map(|c| format!("{CONTAINER}{}", c.text("name"))));
    let bad: Vec<String> = keys
        .iter()
        .filter_map(|key| {
            let value = subject.annotations.get(key)?.as_str()?;
            let good = matches!(value, "runtime/default" | "docker/default");
            let good = good || value.starts_with("localhost/");
            (!good).then(|| format!("{key}={}", Value::from(value)))
        })
        .collect();
    if bad.is_empty() {
        return None;
    }
    let detail = format!("forbidden {} {}", plural("annotation", bad.len()), bad.join(", "));
    Some(found("seccompProfile", detail))
}

fn escalation(subject: &Subject<'_>) -> Option<(String, String)> {
    let exempt = subject.is_windows() && subject.standard.since(25);
    if !subject.standard.since(8) || exempt {
        return None;
    }
    let names = subject.those(|c| context(c).flag("allowPrivilegeEscalation") != Some(false));
    if names.is_empty() {
        return None;
    }
    let names = of_containers(&names);
    let detail = format!("{names} must set securityContext.allowPrivilegeEscalation=false");
    Some(found("allowPrivilegeEscalation != false", detail))
}

fn dropped_capabilities(subject: &Subject<'_>) -> Option<(String, String)> {
    let exempt = subject.is_windows() && subject.standard.since(25);
    if !subject.standard.since(22) || exempt {
        return None;
    }
    let mut details = Vec::new();
    let keeping = subject.those(|container| {
        let capabilities = context(container).child_or_empty("capabilities");
        !capabilities.texts("drop").any(|name| name == "ALL")
    });
    if !keeping.is_empty() {
        let names = of_containers(&keeping);
        details.push(format!("{names} must set securityContext.capabilities.drop=[\"ALL\"]"));
    }
    let (names, added) = adding(subject, &["NET_BIND_SERVICE"]);
    if !names.is_empty() {
        details.push(format!(
            "{} must not include {} in securityContext.capabilities.add",
            of_containers(&names),
            quoted(added)
        ));
    }
    if details.is_empty() {
        None
    } else {
        Some(found("unrestricted capabilities", details.join("; ")))
    }
}

fn restricted_volumes(subject: &Subject<'_>) -> Option<(String, String)> {
    const ALLOWED: [&str; 8] = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    let bad: Vec<At<'_>> = subject
        .spec
        .items("volumes")
        .filter(|volume| !ALLOWED.iter().any(|kind| volume.has(kind)))
        .collect();
    if bad.is_empty() {
        return None;
    }
    let names: Vec<&str> = bad.iter().map(|volume| volume.text("name")).collect();
    let kinds: BTreeSet<&str> = bad
        .iter()
        .map(|volume| {
            let mut keys = volume.map.keys().map(String::as_str);
            keys.find(|key| *key != "name").unwrap_or("unknown")
        })
        .collect();
    let verb = if names.len() == 1 { "uses" } else { "use" };
    let detail = format!(
        "{} {} {verb} {} {}",
        plural("volume", names.len()),
        quoted(&names),
        plural("restricted volume type", kinds.len()),
        quoted(&kinds)
    );
    Some(found("restricted volume types", detail))
}

fn non_root(subject: &Subject<'_>) -> Option<(String, String)> {
    const REASON: &str = "runAsNonRoot != true";
    if subject.has_user_namespace() {
        return None;
    }
    let wish = |context: &At<'_>| context.flag("runAsNonRoot");
    if let Some(setters) = subject.setters(|context| wish(context) == Some(false)) {
        return Some(found(
            REASON,
            format!("{setters} must not set securityContext.runAsNonRoot=false"),
        ));
    }
    if wish(&context(&subject.spec)) == Some(true) {
        return None;
    }
    let names = subject.those(|container| wish(&context(container)).is_none());
    if names.is_empty() {
        return None;
    }
    let names = of_containers(&names);
    Some(found(REASON, format!("pod or {names} must set securityContext.runAsNonRoot=true")))
}

fn user_zero(subject: &Subject<'_>) -> Option<(String, String)> {
    if !subject.standard.since(23) || subject.has_user_namespace() {
        return None;
    }
    let setters = subject.setters(|context| context.integer("runAsUser") == Some(0))?;
    Some(found("runAsUser=0", format!("{setters} must not set runAsUser=0")))
}

fn wanted_seccomp(subject: &Subject<'_>) -> Option<(String, String)> {
    let exempt = subject.is_windows() && subject.standard.since(25);
    if !subject.standard.since(19) || exempt {
        return None;
    }
    if let Some(bad) = bad_seccomp(subject) {
        return Some(bad);
    }
    if seccomp(&context(&subject.spec)).is_some() {
        return None;
    }
    let names = subject.those(|container| seccomp(&context(container)).is_none());
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
        of_containers(&names)
    );
    Some(found("seccompProfile", detail))
}
