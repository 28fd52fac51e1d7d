//! The types of `request` and `namespaceObject`: what expressions may name of them.

use std::sync::LazyLock;

use quadrille_cel::{Declared, ListKind, ObjectType, Type};

fn text() -> Declared {
    Declared::string(None)
}

fn texts() -> Declared {
    Declared::list(text(), ListKind::Atomic, None)
}

fn object(name: &str, fields: Vec<(&str, Declared)>) -> Declared {
    let fields = fields.into_iter().map(|(name, declared)| (name.to_owned(), declared));
    Declared::object(ObjectType::new(name, fields))
}

/// The type of `request`.
pub(crate) static REQUEST: LazyLock<Declared> = LazyLock::new(|| {
    let kind = || {
        let fields = vec![("group", text()), ("version", text()), ("kind", text())];
        object("kubernetes.GroupVersionKind", fields)
    };
    let resource = || {
        let fields = vec![("group", text()), ("version", text()), ("resource", text())];
        object("kubernetes.GroupVersionResource", fields)
    };
    let user = vec![
        ("username", text()),
        ("uid", text()),
        ("groups", texts()),
        ("extra", Declared::map(texts(), None)),
    ];
    let fields = vec![
        ("kind", kind()),
        ("resource", resource()),
        ("subResource", text()),
        ("requestKind", kind()),
        ("requestResource", resource()),
        ("requestSubResource", text()),
        ("name", text()),
        ("namespace", text()),
        ("operation", text()),
        ("userInfo", object("kubernetes.UserInfo", user)),
        ("dryRun", Declared::scalar(Type::Bool, 4)),
        ("options", Declared::dynamic()),
    ];
    object("kubernetes.AdmissionRequest", fields)
});

/// The type of `namespaceObject`.
pub(crate) static NAMESPACE: LazyLock<Declared> = LazyLock::new(|| {
    let time = || Declared::scalar(Type::Timestamp, 2);
    let number = || Declared::scalar(Type::Int, 1);
    let map = || Declared::map(text(), None);
    let metadata = vec![
        ("name", text()),
        ("generateName", text()),
        ("namespace", text()),
        ("labels", map()),
        ("annotations", map()),
        ("uid", text()),
        ("creationTimestamp", time()),
        ("deletionGracePeriodSeconds", number()),
        ("deletionTimestamp", time()),
        ("generation", number()),
        ("resourceVersion", text()),
        ("finalizers", texts()),
    ];
    let fields = vec![
        ("metadata", object("kubernetes.NamespaceMetadata", metadata)),
        ("spec", object("kubernetes.NamespaceSpec", vec![("finalizers", texts())])),
        ("status", object("kubernetes.NamespaceStatus", vec![("phase", text())])),
    ];
    object("kubernetes.Namespace", fields)
});
