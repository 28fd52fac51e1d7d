//! What a client wants to read, by its `Accept` header.
//!
//! Media types are parsed, never compared as text: parameters come in any order. The first entry that can be
//! served wins; protobuf and CBOR are passed over, since every client that asks for them takes JSON next.

use quadrille_registry::{Reason, Status};

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Encoding {
    /// JSON.
    #[default]
    Json,
    /// YAML.
    Yaml,
}

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

/// Chooses an answer's form.
///
/// # Errors
/// 406 when nothing that is asked for can be served.
pub(crate) fn negotiate(accept: Option<&[u8]>) -> Result<Wanted, Status> {
    let accept = match accept {
        None | Some(b"" | b"application/json" | b"*/*" | b"application/json, */*") => {
            return Ok(Wanted::default());
        }
        Some(accept) => std::str::from_utf8(accept).unwrap_or_default(),
    };
    let mut known_type = false;
    for entry in accept.split(',') {
        let media = Media::parse(entry);
        let encoding = match media.essence {
            "application/json" | "*/*" => Encoding::Json,
            "application/yaml" => Encoding::Yaml,
            "application/vnd.kubernetes.protobuf" => {
                known_type = true;
                continue;
            }
            _ => continue,
        };
        known_type = true;
        if let Some(shape) = media.shape() {
            return Ok(Wanted { encoding, shape });
        }
    }
    Err(not_acceptable(known_type))
}

/// The 406: kube-apiserver has one text for types that it does not know and one for forms it cannot make.
fn not_acceptable(known_type: bool) -> Status {
    if known_type {
        let message = "only the following media types are accepted: application/json, \
                       application/yaml, application/vnd.kubernetes.protobuf";
        return Status::new(Reason::NotAcceptable, message);
    }
    let message = "406: Not Acceptable\n\nAvailable representations: application/json, \
                   application/yaml, application/vnd.kubernetes.protobuf, \
                   application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
    Status { details: Some(Box::default()), ..Status::new(Reason::NotAcceptable, message) }
}

/// One media type with the parameters that matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Media<'a> {
    /// `application/json`
    pub(crate) essence: &'a str,
    r#as: Option<&'a str>,
    group: Option<&'a str>,
    version: Option<&'a str>,
}

impl<'a> Media<'a> {
    /// Parses `application/json;as=Table;g=meta.k8s.io;v=v1`.
    pub(crate) fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let mut media = Self { essence: parts.next().unwrap_or_default(), ..Self::default() };
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            match key.trim() {
                "as" => media.r#as = Some(value.trim()),
                "g" => media.group = Some(value.trim()),
                "v" => media.version = Some(value.trim()),
                _ => {}
            }
        }
        media
    }

    fn shape(&self) -> Option<Shape> {
        let Some(form) = self.r#as else { return Some(Shape::Whole) };
        let version = match (self.group, self.version) {
            (Some("meta.k8s.io"), Some("v1")) => MetaVersion::V1,
            (Some("meta.k8s.io"), Some("v1beta1")) => MetaVersion::V1Beta1,
            _ => return None,
        };
        match form {
            "Table" => Some(Shape::Table(version)),
            "PartialObjectMetadata" | "PartialObjectMetadataList" => Some(Shape::Partial(version)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(accept: &str) -> Option<Shape> {
        negotiate(Some(accept.as_bytes())).ok().map(|wanted| wanted.shape)
    }

    #[test]
    fn the_first_form_that_can_be_served_wins() {
        let table = Some(Shape::Table(MetaVersion::V1));
        assert_eq!(shape("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"), table);
        assert_eq!(shape("application/json; g=meta.k8s.io; v=v1; as=Table"), table);
        assert_eq!(
            shape("application/vnd.kubernetes.protobuf,application/json"),
            Some(Shape::Whole)
        );
        assert_eq!(shape("application/json;as=Odd;v=v1;g=meta.k8s.io, */*"), Some(Shape::Whole));
        assert_eq!(shape("text/html, application/yaml;q=0.5"), Some(Shape::Whole));
    }

    #[test]
    fn what_cannot_be_served_is_406() {
        assert_eq!(shape("application/xml"), None);
        assert_eq!(shape("application/*"), None);
        assert_eq!(shape("application/json;as=Table;v=v9;g=meta.k8s.io"), None);
        assert_eq!(shape("application/vnd.kubernetes.protobuf"), None);
    }
}
