//! Volumes: one source each, and what each source needs.

use quadrille_object::validate_name;
use serde_json::Value;

use super::at::At;
use super::mount::Volumes;
use super::projected;
use crate::field::Errors;

/// Every source in the order in which kube-apiserver looks at them, with what it needs.
const SOURCES: [(&str, Needs); 30] = [
    ("emptyDir", Needs::EmptyDir),
    ("hostPath", Needs::HostPath),
    ("gitRepo", Needs::GitRepo),
    ("gcePersistentDisk", Needs::Disk("pdName")),
    ("awsElasticBlockStore", Needs::Disk("volumeID")),
    ("secret", Needs::Secret),
    ("nfs", Needs::Nfs),
    ("iscsi", Needs::Iscsi),
    ("glusterfs", Needs::Texts(&["endpoints", "path"])),
    ("flocker", Needs::Flocker),
    ("persistentVolumeClaim", Needs::Texts(&["claimName"])),
    ("rbd", Needs::Rbd),
    ("cinder", Needs::Cinder),
    ("cephfs", Needs::Monitors),
    ("quobyte", Needs::Quobyte),
    ("downwardAPI", Needs::Downward),
    ("fc", Needs::FibreChannel),
    ("flexVolume", Needs::Flex),
    ("configMap", Needs::ConfigMap),
    ("azureFile", Needs::Texts(&["secretName", "shareName"])),
    ("vsphereVolume", Needs::Texts(&["volumePath"])),
    ("photonPersistentDisk", Needs::Texts(&["pdID"])),
    ("portworxVolume", Needs::Texts(&["volumeID"])),
    ("azureDisk", Needs::AzureDisk),
    ("storageos", Needs::StorageOs),
    ("projected", Needs::Projected),
    ("scaleIO", Needs::Texts(&["gateway", "system", "volumeName"])),
    ("csi", Needs::Csi),
    ("ephemeral", Needs::Ephemeral),
    ("image", Needs::Image),
];

#[derive(Clone, Copy, Debug)]
enum Needs {
    Texts(&'static [&'static str]),
    Disk(&'static str),
    EmptyDir,
    HostPath,
    GitRepo,
    Secret,
    Nfs,
    Iscsi,
    Flocker,
    Rbd,
    Cinder,
    Monitors,
    Quobyte,
    Downward,
    FibreChannel,
    Flex,
    ConfigMap,
    AzureDisk,
    StorageOs,
    Projected,
    Csi,
    Ephemeral,
    Image,
}

/// Checks a Pod's volumes and answers them by name; `owner` is the Pod's name, empty for a template.
pub(super) fn validate<'a>(spec: &At<'a>, owner: &str, errors: &mut Errors) -> Volumes<'a> {
    let mut volumes = Volumes::new();
    for volume in spec.items("volumes") {
        let before = errors.0.len();
        validate_source(&volume, owner, errors);
        let name = volume.text("name");
        errors.need(&volume, "name");
        errors.dns_label(&volume, "name");
        if volumes.contains_key(name) {
            errors.duplicate(volume.path("name"), &name.into());
        }
        // Mounts of a volume that is wrong in itself are not found either.
        if errors.0.len() == before {
            volumes.insert(name, volume);
        }
    }
    volumes
}

fn validate_source(volume: &At<'_>, owner: &str, errors: &mut Errors) {
    let mut given = SOURCES.iter().filter(|(key, _)| volume.has(key));
    let Some((key, needs)) = given.next() else {
        errors.required(volume.path.clone(), "must specify a volume type");
        return;
    };
    validate_needs(&volume.child_or_empty(key), *needs, errors);
    if matches!(needs, Needs::Ephemeral) && !owner.is_empty() && !volume.text("name").is_empty() {
        let claim = format!("{owner}-{}", volume.text("name"));
        for why in validate_name::dns_subdomain(&claim) {
            let why = format!("PVC name {}: {why}", Value::from(claim.as_str()));
            errors.invalid(volume.path("name"), &volume.text("name").into(), &why);
        }
    }
    for (extra, _) in given {
        // Two names in kube-apiserver's own spelling.
        let shown = match *extra {
            "cephfs" => "cephFS",
            "downwardAPI" => "downwarAPI",
            other => other,
        };
        errors.forbidden(volume.path(shown), "may not specify more than 1 volume type");
    }
}

fn validate_needs(source: &At<'_>, needs: Needs, errors: &mut Errors) {
    match needs {
        Needs::Texts(keys) => {
            for key in keys {
                errors.need(source, key);
            }
        }
        Needs::Disk(key) => {
            errors.need(source, key);
            errors.within(source, "partition", 0, 255);
        }
        Needs::EmptyDir => {
            let size = source.get("sizeLimit");
            let size = size.and_then(|s| quadrille_object::quantity::Quantity::from_value(s).ok());
            if size.is_some_and(quadrille_object::quantity::Quantity::is_negative) {
                errors.forbidden(
                    source.path("sizeLimit"),
                    "SizeLimit field must be a valid resource quantity",
                );
            }
        }
        Needs::HostPath => validate_host_path(source, errors),
        Needs::GitRepo => {
            errors.need(source, "repository");
            validate_descending(source.text("directory"), &source.path("directory"), errors);
        }
        Needs::Secret => {
            errors.need(source, "secretName");
            projected::validate_files(source, errors);
        }
        Needs::ConfigMap => {
            errors.need(source, "name");
            projected::validate_files(source, errors);
        }
        Needs::Nfs => {
            errors.need(source, "server");
            errors.need(source, "path");
            let path = source.text("path");
            if !path.starts_with('/') {
                errors.invalid(source.path("path"), &path.into(), "must be an absolute path");
            }
        }
        Needs::Downward => projected::validate_downward(source, errors),
        Needs::Projected => projected::validate(source, errors),
        Needs::Ephemeral => validate_ephemeral(source, errors),
        Needs::Image => {
            errors.need(source, "reference");
            errors.known(source, "pullPolicy", &["Always", "IfNotPresent", "Never"]);
        }
        Needs::Iscsi
        | Needs::Flocker
        | Needs::Rbd
        | Needs::Cinder
        | Needs::Monitors
        | Needs::Quobyte
        | Needs::FibreChannel
        | Needs::Flex
        | Needs::AzureDisk
        | Needs::StorageOs
        | Needs::Csi => validate_network(source, needs, errors),
    }
}

/// Sources that are reached over a network.
fn validate_network(source: &At<'_>, needs: Needs, errors: &mut Errors) {
    match needs {
        Needs::Iscsi => validate_iscsi(source, errors),
        Needs::Flocker => validate_flocker(source, errors),
        Needs::Rbd | Needs::Monitors => {
            if source.list("monitors").is_empty() {
                errors.required(source.path("monitors"), "");
            }
            if matches!(needs, Needs::Rbd) {
                errors.need(source, "image");
            }
        }
        Needs::Cinder => {
            errors.need(source, "volumeID");
            if let Some(secret) = source.child("secretRef") {
                errors.need(&secret, "name");
            }
        }
        Needs::Quobyte => validate_quobyte(source, errors),
        Needs::FibreChannel => validate_fibre_channel(source, errors),
        Needs::Flex => validate_flex(source, errors),
        Needs::AzureDisk => validate_azure_disk(source, errors),
        Needs::StorageOs => {
            errors.need(source, "volumeName");
            errors.dns_label(source, "volumeName");
            errors.dns_label(source, "volumeNamespace");
            if let Some(secret) = source.child("secretRef") {
                errors.need(&secret, "name");
            }
        }
        Needs::Csi => validate_csi(source, errors),
        Needs::Texts(_)
        | Needs::Disk(_)
        | Needs::EmptyDir
        | Needs::HostPath
        | Needs::GitRepo
        | Needs::Secret
        | Needs::Nfs
        | Needs::Downward
        | Needs::ConfigMap
        | Needs::Projected
        | Needs::Ephemeral
        | Needs::Image => {}
    }
}

fn validate_host_path(source: &At<'_>, errors: &mut Errors) {
    if !errors.need(source, "path") {
        return;
    }
    let path = source.text("path");
    if !validate_no_backsteps(path) {
        errors.invalid(source.path("path"), &path.into(), "must not contain '..'");
    }
    let known = [
        "",
        "BlockDevice",
        "CharDevice",
        "Directory",
        "DirectoryOrCreate",
        "File",
        "FileOrCreate",
        "Socket",
    ];
    errors.known(source, "type", &known);
}

fn validate_iscsi(source: &At<'_>, errors: &mut Errors) {
    errors.need(source, "targetPortal");
    if errors.need(source, "iqn")
        && let Some(why) = iscsi_name(source.text("iqn"))
    {
        errors.invalid(source.path("iqn"), &source.text("iqn").into(), why);
    }
    errors.within(source, "lun", 0, 255);
    let authenticates = source.is("chapAuthDiscovery") || source.is("chapAuthSession");
    if authenticates && !source.has("secretRef") {
        errors.required(source.path("secretRef"), "");
    }
    if let Some(name) = source.get("initiatorName").and_then(Value::as_str)
        && let Some(why) = iscsi_name(name)
    {
        errors.invalid(source.path("initiatorname"), &name.into(), why);
    }
}

/// What is wrong with the name of an iSCSI node: `iqn.YYYY-MM.AUTHORITY[:NAME]`, `eui.` or `naa.` and hexadecimal digits.
fn iscsi_name(name: &str) -> Option<&'static str> {
    let hexadecimal = |rest: &str, counts: &[usize]| {
        counts.contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let good = if let Some(rest) = name.strip_prefix("iqn") {
        is_qualified(rest)
    } else if let Some(rest) = name.strip_prefix("eui") {
        rest.strip_prefix('.').is_some_and(|rest| hexadecimal(rest, &[16]))
    } else if let Some(rest) = name.strip_prefix("naa") {
        rest.strip_prefix('.').is_some_and(|rest| hexadecimal(rest, &[16, 32]))
    } else {
        return Some("must be valid format starting with iqn, eui, or naa");
    };
    (!good).then_some("must be valid format")
}

/// `.2001-04.com.example:anything`.
fn is_qualified(rest: &str) -> bool {
    let digits =
        |text: Option<&str>| text.is_some_and(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let authority = rest.get(9..).unwrap_or_default();
    let (domain, name) = authority.split_once(':').map_or((authority, None), |(d, n)| (d, Some(n)));
    let is_domain = |domain: &str| {
        !domain.is_empty()
            && domain.split('.').all(|label| {
                !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            })
    };
    rest.starts_with('.')
        && digits(rest.get(1..5))
        && rest.get(5..6) == Some("-")
        && digits(rest.get(6..8))
        && rest.get(8..9) == Some(".")
        && is_domain(domain)
        && name.is_none_or(|name| !name.is_empty())
}

fn validate_flocker(source: &At<'_>, errors: &mut Errors) {
    let (name, uuid) = (source.text("datasetName"), source.text("datasetUUID"));
    if name.is_empty() && uuid.is_empty() {
        let why = "one of datasetName and datasetUUID is required";
        errors.required(source.path.clone(), why);
    }
    if !name.is_empty() && !uuid.is_empty() {
        let why = "datasetName and datasetUUID can not be specified simultaneously";
        errors.invalid(source.path.clone(), &"resource".into(), why);
    }
    if name.contains('/') {
        errors.invalid(source.path("datasetName"), &name.into(), "must not contain '/'");
    }
}

fn validate_quobyte(source: &At<'_>, errors: &mut Errors) {
    let registry = source.text("registry");
    let why = "must be a host:port pair or multiple pairs separated by commas";
    if registry.is_empty() {
        errors.required(source.path("registry"), why);
    } else if source.text("tenant").len() >= 65 {
        let why = "must be a UUID and may not exceed a length of 64 characters";
        errors.required(source.path("tenant"), why);
    } else if registry.split(',').any(|pair| pair.rsplit_once(':').is_none()) {
        errors.invalid(source.path("registry"), &registry.into(), why);
    }
    errors.need(source, "volume");
}

fn validate_fibre_channel(source: &At<'_>, errors: &mut Errors) {
    let (names, ids) = (source.list("targetWWNs"), source.list("wwids"));
    if names.is_empty() && ids.is_empty() {
        let why = "must specify either targetWWNs or wwids, but not both";
        errors.required(source.path("targetWWNs"), why);
    }
    if !names.is_empty() && !ids.is_empty() {
        let why = "targetWWNs and wwids can not be specified simultaneously";
        errors.invalid(source.path("targetWWNs"), &names.to_vec().into(), why);
    }
    if !names.is_empty() {
        if source.has("lun") {
            errors.within(source, "lun", 0, 255);
        } else {
            errors.required(source.path("lun"), "lun is required if targetWWNs is specified");
        }
    }
}

fn validate_flex(source: &At<'_>, errors: &mut Errors) {
    errors.need(source, "driver");
    for (key, _) in source.entries("options") {
        let domain = format!(".{}", key.split('/').next().unwrap_or_default().to_lowercase());
        if domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io") {
            let path = format!("{}[{key}]", source.path("options"));
            let why = "kubernetes.io and k8s.io namespaces are reserved";
            errors.invalid(path, &key.into(), why);
        }
    }
}

fn validate_azure_disk(source: &At<'_>, errors: &mut Errors) {
    errors.need(source, "diskName");
    errors.need(source, "diskURI");
    errors.known(source, "cachingMode", &["None", "ReadOnly", "ReadWrite"]);
    errors.known(source, "kind", &["Dedicated", "Managed", "Shared"]);
    let uri = source.text("diskURI");
    let (prefix, form) = match source.text("kind") {
        "" => return,
        "Managed" => (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        ),
        _ => (
            "https://",
            "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd",
        ),
    };
    if !uri.starts_with(prefix) {
        errors.unsupported(source.path("diskURI"), &uri.into(), &[form]);
    }
}

fn validate_csi(source: &At<'_>, errors: &mut Errors) {
    let driver = source.text("driver");
    errors.need(source, "driver");
    if driver.len() > 63 {
        errors.too_long(source.path("driver"), 63);
    }
    let problems = validate_name::dns_subdomain(&driver.to_lowercase());
    errors.invalid_each(&source.path("driver"), driver, problems);
    if let Some(secret) = source.child("nodePublishSecretRef")
        && errors.need(&secret, "name")
    {
        let name = secret.text("name");
        errors.invalid_each(&source.path("name"), name, validate_name::dns_subdomain(name));
    }
}

fn validate_ephemeral(source: &At<'_>, errors: &mut Errors) {
    let Some(template) = source.child("volumeClaimTemplate") else {
        errors.required(source.path("volumeClaimTemplate"), "");
        return;
    };
    if let Some(metadata) = template.child("metadata") {
        let texts = |key| metadata.entries(key).map(|(k, v)| (k, v.as_str().unwrap_or_default()));
        let path = metadata.path("annotations");
        errors.0.extend(validate_name::annotations(&path, texts("annotations")));
        errors.0.extend(validate_name::labels(&metadata.path("labels"), texts("labels")));
    }
    super::claim::validate(&template.child_or_empty("spec"), errors);
}

/// A path that stays below where it starts; an empty one is fine.
pub(super) fn validate_descending(path: &str, field: &str, errors: &mut Errors) {
    if path.starts_with('/') {
        errors.invalid(field, &path.into(), "must be a relative path");
    }
    if !validate_no_backsteps(path) {
        errors.invalid(field, &path.into(), "must not contain '..'");
    }
}

/// Whether no part of a path leads upwards.
pub(super) fn validate_no_backsteps(path: &str) -> bool {
    path.split('/').all(|part| part != "..")
}
