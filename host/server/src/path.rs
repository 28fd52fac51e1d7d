//! The path of a request, split by hand: no allocation unless a segment is percent-encoded.

use std::borrow::Cow;

/// What a path of the resource tree names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResourcePath<'a> {
    /// The API group; empty for the core group.
    pub(crate) group: &'a str,
    /// The API version.
    pub(crate) version: &'a str,
    /// The namespace; empty when the path has none.
    pub(crate) namespace: Cow<'a, str>,
    /// The resource.
    pub(crate) resource: Cow<'a, str>,
    /// The name; `None` for a collection.
    pub(crate) name: Option<Cow<'a, str>>,
    /// What follows the name, with its slashes; `None` for the object itself.
    pub(crate) subresource: Option<Cow<'a, str>>,
    /// The deprecated `/watch/` form.
    pub(crate) watch: bool,
}

/// A path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Path<'a> {
    /// Below a group and version: a collection, an object or a subresource.
    Resource(ResourcePath<'a>),
    /// Everything else, without a trailing slash.
    Other(&'a str),
}

impl ResourcePath<'_> {
    /// Whether it is where the objects of a resource, and what is below them, are served: in a namespace just if they
    /// have one. The rights of a request are those in the namespace of its path, so whatever is answered for such a
    /// path must be at home there.
    pub(crate) fn is_place_of(&self, namespaced: bool) -> bool {
        self.name.is_some() && !self.watch && namespaced != self.namespace.is_empty()
    }
}

impl<'a> Path<'a> {
    /// Splits a path. `None` when a segment is not UTF-8 after percent-decoding.
    pub(crate) fn parse(path: &'a str) -> Option<Self> {
        let whole = path.strip_suffix('/').unwrap_or(path);
        let (group, below) = if let Some(below) = whole.strip_prefix("/api/") {
            ("", below)
        } else if let Some((group, below)) =
            whole.strip_prefix("/apis/").and_then(|below| below.split_once('/'))
        {
            (group, below)
        } else {
            return Some(Self::Other(whole));
        };
        let Some((version, below)) = below.split_once('/') else {
            return Some(Self::Other(whole));
        };
        let (watch, below) = match below.strip_prefix("watch/") {
            Some(below) => (true, below),
            None => (false, below),
        };
        let found = ResourcePath { group, version, watch, ..ResourcePath::default() };
        below_version(found, below).map(Self::Resource)
    }
}

fn below_version<'a>(mut found: ResourcePath<'a>, below: &'a str) -> Option<ResourcePath<'a>> {
    let (first, rest) = split_first(below);
    let namespaced = rest.filter(|_| first == "namespaces").and_then(|rest| rest.split_once('/'));
    let (resource, rest) = match namespaced {
        // `namespaces/NS/RESOURCE…`, unless it is a subresource of the Namespace itself.
        Some((namespace, rest)) if !is_of_namespace(rest, found.group) => {
            found.namespace = decode(namespace)?;
            split_first(rest)
        }
        _ => (first, rest),
    };
    found.resource = decode(resource)?;
    if let Some(rest) = rest {
        let (name, subresource) = split_first(rest);
        found.name = Some(decode(name)?);
        if let Some(subresource) = subresource {
            found.subresource = Some(decode(subresource)?);
        }
    }
    Some(found)
}

/// Whether what follows `namespaces/NS/` is a subresource of the Namespace.
fn is_of_namespace(rest: &str, group: &str) -> bool {
    matches!(rest, "status" | "finalize") || (rest == "why" && group.is_empty())
}

fn split_first(text: &str) -> (&str, Option<&str>) {
    match text.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (text, None),
    }
}

/// Undoes percent-encoding; `None` when a code is malformed or the result is not UTF-8.
pub(crate) fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |b: Option<u8>| char::from(b?).to_digit(16);
            let code = digit(bytes.next())? * 16 + digit(bytes.next())?;
            out.push(u8::try_from(code).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &str) -> String {
        match Path::parse(path) {
            None => "malformed".to_owned(),
            Some(Path::Other(other)) => format!("other {other}"),
            Some(Path::Resource(of)) => format!(
                "{}/{} {}|{}|{}|{}{}",
                of.group,
                of.version,
                of.namespace,
                of.resource,
                of.name.as_deref().unwrap_or("-"),
                of.subresource.as_deref().unwrap_or("-"),
                if of.watch { " watch" } else { "" },
            ),
        }
    }

    #[test]
    fn paths_fall_into_their_parts() {
        for (path, parts) in [
            ("/api/v1/pods", "/v1 |pods|-|-"),
            ("/api/v1/namespaces", "/v1 |namespaces|-|-"),
            ("/api/v1/namespaces/a", "/v1 |namespaces|a|-"),
            ("/api/v1/namespaces/a/finalize", "/v1 |namespaces|a|finalize"),
            ("/api/v1/namespaces/a/why", "/v1 |namespaces|a|why"),
            ("/api/v1/namespaces/a/pods/", "/v1 a|pods|-|-"),
            ("/api/v1/namespaces/a/pods/b", "/v1 a|pods|b|-"),
            ("/apis/apps/v1/namespaces/a/deployments/b/scale", "apps/v1 a|deployments|b|scale"),
            ("/apis/x.io/v1/roles/system%3Aadmin", "x.io/v1 |roles|system:admin|-"),
            ("/api/v1/watch/namespaces/a/pods", "/v1 a|pods|-|- watch"),
            ("/api/v1", "other /api/v1"),
            ("/apis/apps/v1/", "other /apis/apps/v1"),
            ("/apis/apps", "other /apis/apps"),
            ("/", "other "),
            ("/healthz", "other /healthz"),
            ("/api/v1/pods/%f", "malformed"),
            ("/api/v1/pods/%ff", "malformed"),
        ] {
            assert_eq!(shown(path), parts, "{path}");
        }
    }
}
