//! What a request asks for by its path and method, and whether a resource is served there.

use http::Method;
use quadrille_registry::access::ResourceAttributes;
use quadrille_registry::{Reason, Resource, Status};

use crate::path::ResourcePath;

/// What a request to a path is for, as roles know it.
pub(crate) fn resource_attributes<'a>(path: &'a ResourcePath<'a>) -> ResourceAttributes<'a> {
    let name = path.name.as_deref().unwrap_or_default();
    // A Namespace is its own namespace where permissions are concerned.
    let is_namespace = path.group.is_empty() && path.resource == "namespaces";
    ResourceAttributes {
        group: path.group,
        version: path.version,
        resource: &path.resource,
        subresource: path.subresource.as_deref().unwrap_or_default(),
        namespace: if is_namespace { name } else { &path.namespace },
        name,
    }
}

/// The verb that a request is authorized by.
pub(crate) fn verb_of(method: &Method, path: &ResourcePath<'_>, watch: bool) -> &'static str {
    match (method.as_str(), &path.name) {
        ("GET" | "HEAD", Some(_)) if path.watch => "watch",
        ("GET" | "HEAD", Some(_)) => "get",
        ("GET" | "HEAD", None) if watch => "watch",
        ("GET" | "HEAD", None) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", Some(_)) => "delete",
        ("DELETE", None) => "deletecollection",
        _ => "",
    }
}

/// What stands in the way of a request to a resource that exists.
pub(crate) enum Misplaced {
    /// Nothing is served at the path.
    Path,
    /// The resource refuses.
    Refused(Status),
}

/// Whether the resource is served at such a path, and answers the verb. Custom resources are refused in words
/// of their own, as kube-apiserver serves them by another part.
pub(crate) fn check_place(
    path: &ResourcePath<'_>,
    resource: &Resource,
    verb: &'static str,
) -> Result<(), Misplaced> {
    let whole = path.name.is_none();
    // What is not stored is served at the place where it is created alone.
    if !resource.is_stored() && (!whole || resource.namespaced == path.namespace.is_empty()) {
        return Err(Misplaced::Refused(no_such_resource()));
    }
    let everywhere = whole && matches!(verb, "list" | "watch");
    if resource.namespaced == path.namespace.is_empty() && !everywhere {
        return Err(match (resource.custom, whole && resource.namespaced) {
            (true, _) => Misplaced::Path,
            (false, true) => Misplaced::Refused(method_not_allowed()),
            (false, false) => Misplaced::Refused(no_such_resource()),
        });
    }
    if !resource.namespaced && !path.namespace.is_empty() {
        let refused = Misplaced::Refused(no_such_resource());
        return Err(if resource.custom { Misplaced::Path } else { refused });
    }
    let verbs = match &path.subresource {
        Some(name) => match resource.subresource(name) {
            Some(subresource) => &subresource.verbs,
            None if resource.custom => {
                let name = path.name.as_deref().unwrap_or_default();
                return Err(Misplaced::Refused(Status::not_found(&resource.qualified(), name)));
            }
            None => return Err(Misplaced::Refused(no_such_resource())),
        },
        None => &resource.verbs,
    };
    let fits = match verb {
        "create" => whole || path.subresource.is_some(),
        "update" | "patch" => !whole,
        _ => true,
    };
    if fits && verbs.contains(&verb) {
        return Ok(());
    }
    Err(Misplaced::Refused(if resource.custom {
        unsupported(resource, verb)
    } else {
        method_not_allowed()
    }))
}

/// The 405 of a custom resource.
fn unsupported(resource: &Resource, verb: &str) -> Status {
    let details = quadrille_registry::status::StatusDetails {
        group: resource.gvr.group.as_ref().to_owned(),
        kind: resource.gvr.resource.as_ref().to_owned(),
        ..Default::default()
    };
    let kind = resource.qualified();
    let message = format!("{verb} is not supported on resources of kind \"{kind}\"");
    Status { details: Some(Box::new(details)), ..Status::new(Reason::MethodNotAllowed, message) }
}

/// The 404 for a resource that is not served.
pub(crate) fn no_such_resource() -> Status {
    let message = "the server could not find the requested resource";
    Status { details: Some(Box::default()), ..Status::new(Reason::NotFound, message) }
}

/// The 405.
pub(crate) fn method_not_allowed() -> Status {
    let message = "the server does not allow this method on the requested resource";
    Status { details: Some(Box::default()), ..Status::new(Reason::MethodNotAllowed, message) }
}
