//! What a client wants to read, by its `Accept` header.
//!
//! Media types are parsed, never compared as text: parameters come in any order. Entries are tried in the order of
//! their weight, then as they stand, and the first that can be served wins. kube-apiserver looks twice: its router
//! knows types alone, and refuses built-in resources to clients that name none of them; then the handler looks at the
//! forms (`as=…`) too.

use quadrille_object::protobuf;
use quadrille_registry::{Reason, Resource, Status};

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Encoding {
    /// JSON.
    #[default]
    Json,
    /// YAML.
    Yaml,
    /// Kubernetes' protobuf envelope.
    Protobuf,
}

impl Encoding {
    /// The media type of an answer in it.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }
}

/// Every encoding with its media type, in the order in which a wildcard takes them.
const ENCODINGS: [(Encoding, &str); 3] = [
    (Encoding::Json, "application/json"),
    (Encoding::Yaml, "application/yaml"),
    (Encoding::Protobuf, "application/vnd.kubernetes.protobuf"),
];

/// What an answer contains of the objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Shape {
    /// The objects themselves.
    #[default]
    Whole,
    /// `Table`, in a version of `meta.k8s.io`.
    Table(MetaVersion),
    /// `PartialObjectMetadata` or its list, in a version of `meta.k8s.io`.
    Partial(MetaVersion),
}

/// A version of `meta.k8s.io`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum MetaVersion {
    /// `v1`
    V1,
    /// `v1beta1`
    V1Beta1,
}

impl MetaVersion {
    /// The `apiVersion` of objects in it.
    pub(crate) fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "meta.k8s.io/v1",
            Self::V1Beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

/// How and what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Wanted {
    pub(crate) encoding: Encoding,
    pub(crate) shape: Shape,
}

/// What the answer is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'a> {
    /// Something that every encoding has a form for, such as a `Status`.
    Any,
    /// Objects of a resource, for a verb.
    Resource(&'a Resource, &'static str),
}

/// Chooses an answer's form.
///
/// # Errors
/// 406 when nothing that is asked for can be served.
pub(crate) fn negotiate(accept: Option<&[u8]>, source: Source<'_>) -> Result<Wanted, Status> {
    let streams = matches!(source, Source::Resource(_, "watch"));
    let accept = match accept {
        None | Some(b"" | b"application/json" | b"*/*" | b"application/json, */*") => {
            return Ok(Wanted::default());
        }
        Some(accept) => std::str::from_utf8(accept).unwrap_or_default(),
    };
    let clauses = clauses(accept);
    if let Source::Resource(resource, verb) = source
        && !resource.custom
        && !clauses.iter().any(Media::is_routed)
    {
        return Err(not_routed(matches!(verb, "list" | "watch")));
    }
    for media in &clauses {
        for encoding in media.encodings() {
            let Some(shape) = media.shape() else { continue };
            if source.has(encoding, shape) {
                return Ok(Wanted { encoding, shape });
            }
        }
    }
    Err(not_acceptable(streams))
}

/// Chooses the encoding of a document that has one shape; `formed` tells whether an entry with a form (`as=…`) is it.
///
/// # Errors
/// 406 when nothing that is asked for can be served.
pub(crate) fn negotiate_document<T>(
    accept: Option<&[u8]>,
    formed: impl Fn(&Media<'_>) -> Option<T>,
) -> Result<(Encoding, Option<T>), Status> {
    let accept = accept.and_then(|accept| std::str::from_utf8(accept).ok()).unwrap_or_default();
    if accept.is_empty() {
        return Ok((Encoding::Json, None));
    }
    let clauses = clauses(accept);
    for media in &clauses {
        let Some(encoding) = media.encodings().next() else { continue };
        match (media.form.kind, formed(media)) {
            (None, _) => return Ok((encoding, None)),
            (Some(_), Some(form)) => return Ok((encoding, Some(form))),
            (Some(_), None) => {}
        }
    }
    let routed = clauses.iter().any(Media::is_routed);
    Err(if routed { not_acceptable(false) } else { not_routed(false) })
}

impl Source<'_> {
    fn has(self, encoding: Encoding, shape: Shape) -> bool {
        match (self, encoding, shape) {
            (Self::Resource(_, "watch"), Encoding::Yaml, _)
            | (_, Encoding::Protobuf, Shape::Table(_)) => false,
            (Self::Resource(resource, _), Encoding::Protobuf, Shape::Whole) => {
                !resource.custom && protobuf::knows(&resource.api_version, &resource.kind.kind)
            }
            _ => true,
        }
    }
}

/// The 406 of the router.
fn not_routed(streams: bool) -> Status {
    let streaming = if streams {
        ", application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
    } else {
        ""
    };
    let message = format!(
        "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, \
         application/vnd.kubernetes.protobuf{streaming}"
    );
    Status { details: Some(Box::default()), ..Status::new(Reason::NotAcceptable, message) }
}

/// The 406 of the handler.
fn not_acceptable(streams: bool) -> Status {
    let types = if streams {
        "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
    } else {
        "application/json, application/yaml, application/vnd.kubernetes.protobuf"
    };
    let message = format!("only the following media types are accepted: {types}");
    Status::new(Reason::NotAcceptable, message)
}

/// The entries of an `Accept` header, the most wanted first.
fn clauses(accept: &str) -> Vec<Media<'_>> {
    let mut clauses: Vec<Media<'_>> = accept.split(',').map(Media::parse).collect();
    let rank = |media: &Media<'_>| (media.essence.starts_with('*'), media.essence.ends_with('*'));
    clauses.sort_by(|a, b| b.weight.total_cmp(&a.weight).then_with(|| rank(a).cmp(&rank(b))));
    clauses
}

/// One media type with the parameters that matter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Media<'a> {
    /// `application/json`
    pub(crate) essence: &'a str,
    /// The kind that objects are to be converted to.
    pub(crate) form: Form<'a>,
    stream: Option<&'a str>,
    weight: f32,
}

/// A kind in an entry: `as=Table;g=meta.k8s.io;v=v1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form<'a> {
    pub(crate) kind: Option<&'a str>,
    pub(crate) group: Option<&'a str>,
    pub(crate) version: Option<&'a str>,
}

impl<'a> Media<'a> {
    /// Parses `application/json;as=Table;g=meta.k8s.io;v=v1`.
    pub(crate) fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default();
        let mut media = Self { essence, form: Form::default(), stream: None, weight: 1.0 };
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim();
            match key.trim() {
                "as" => media.form.kind = Some(value),
                "g" => media.form.group = Some(value),
                "v" => media.form.version = Some(value),
                "stream" => media.stream = Some(value),
                "q" => {
                    let weight = value.parse().ok().filter(|weight: &f32| weight.is_finite());
                    media.weight = weight.unwrap_or(1.0);
                }
                _ => {}
            }
        }
        media
    }

    /// Whether the router knows the type; it takes no wildcard but the full one.
    fn is_routed(&self) -> bool {
        self.essence == "*/*" || ENCODINGS.iter().any(|(_, name)| *name == self.essence)
    }

    fn encodings(self) -> impl Iterator<Item = Encoding> {
        let wild = matches!(self.essence, "*/*" | "application/*");
        let streams = self.stream.is_none_or(|stream| stream == "watch");
        let known =
            ENCODINGS.iter().filter(move |(_, name)| streams && (wild || *name == self.essence));
        known.map(|(encoding, _)| *encoding)
    }

    fn shape(&self) -> Option<Shape> {
        let form = self.form;
        let Some(kind) = form.kind else {
            // A version or group alone is a conversion to nothing.
            let none = form.group.is_none() && form.version.is_none();
            return none.then_some(Shape::Whole);
        };
        let version = match (form.group, form.version) {
            (Some("meta.k8s.io"), Some("v1")) => MetaVersion::V1,
            (Some("meta.k8s.io"), Some("v1beta1")) => MetaVersion::V1Beta1,
            _ => return None,
        };
        match kind {
            "Table" => Some(Shape::Table(version)),
            "PartialObjectMetadata" | "PartialObjectMetadataList" => Some(Shape::Partial(version)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use quadrille_object::Gvr;
    use quadrille_registry::Catalog;

    use super::*;

    fn wanted(accept: &str, custom: bool) -> Option<Wanted> {
        let catalog = Catalog::builtin().expect("the built-in data is valid");
        let pods = catalog.by_gvr(&Gvr::new("", "v1", "pods")).expect("built in");
        let mut resource = Resource::clone(pods);
        resource.custom = custom;
        negotiate(Some(accept.as_bytes()), Source::Resource(&resource, "list")).ok()
    }

    fn shape(accept: &str) -> Option<Shape> {
        wanted(accept, false).map(|wanted| wanted.shape)
    }

    #[test]
    fn the_first_form_that_can_be_served_wins() {
        let table = Some(Shape::Table(MetaVersion::V1));
        assert_eq!(shape("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"), table);
        assert_eq!(shape("application/json; g=meta.k8s.io; v=v1; as=Table"), table);
        assert_eq!(shape("application/json;as=Odd;v=v1;g=meta.k8s.io, */*"), Some(Shape::Whole));
        assert_eq!(shape("text/html, application/yaml;q=0.5"), Some(Shape::Whole));
        assert_eq!(
            shape("application/json;q=0.1, application/json;as=Table;v=v1;g=meta.k8s.io"),
            table
        );
    }

    #[test]
    fn protobuf_is_for_kinds_that_have_it() {
        let both = "application/vnd.kubernetes.protobuf,application/json";
        let encoding = |accept, custom| wanted(accept, custom).map(|wanted| wanted.encoding);
        assert_eq!(encoding(both, false), Some(Encoding::Protobuf));
        assert_eq!(encoding(both, true), Some(Encoding::Json));
        assert_eq!(encoding("application/vnd.kubernetes.protobuf", true), None);
        let partial =
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        assert_eq!(encoding(partial, true), Some(Encoding::Protobuf));
        let table = "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1";
        assert_eq!(encoding(table, false), None);
    }

    #[test]
    fn what_cannot_be_served_is_406() {
        assert_eq!(shape("application/xml"), None);
        assert_eq!(shape("application/*"), None);
        assert_eq!(shape("application/json;as=Table;v=v9;g=meta.k8s.io"), None);
    }
}
