//! What a path and a query ask of a verb, decided by the functions that requests go through, without a connection or
//! a store. For whoever tries them on input that no client would send: the fuzzers.

use std::sync::Arc;

use http::Request;
use http::header::{ACCEPT, HeaderValue};
use quadrille_registry::access::User;
use quadrille_registry::{Reason, Resource, Status};

use crate::app::ResourceRequest;
use crate::negotiate::{Source, negotiate};
use crate::params::Params;
use crate::path::Path;
use crate::token::ContinueToken;
use crate::verbs::options::{self, WriteKind};
use crate::verbs::{delete, get, list, pod};

/// What is asked of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A list, or the list of what is to be deleted.
    List,
    /// A watch.
    Watch,
    /// One object.
    Get,
    /// A new object.
    Create,
    /// An object in the place of another.
    Update,
    /// A change to an object.
    Patch,
    /// Server-side apply.
    Apply,
    /// A deletion.
    Delete,
    /// A Pod's log.
    Log,
}

/// Everything that can be asked.
pub const ASKED: [Asked; 9] = [
    Asked::List,
    Asked::Watch,
    Asked::Get,
    Asked::Create,
    Asked::Update,
    Asked::Patch,
    Asked::Apply,
    Asked::Delete,
    Asked::Log,
];

/// Reads a request's path, query and `Accept` header as the server does before it looks at any object. Does nothing.
///
/// # Errors
/// The refusal that a client would get.
pub fn dissect(
    resource: &Arc<Resource>,
    asked: Asked,
    uri: &str,
    accept: Option<&str>,
) -> Result<(), Status> {
    let bad = |message: String| Status::new(Reason::BadRequest, message);
    let request = Request::builder().uri(uri).body(()).map_err(|error| bad(error.to_string()))?;
    let (mut parts, ()) = request.into_parts();
    if let Some(accept) = accept {
        let value = HeaderValue::from_str(accept).map_err(|error| bad(error.to_string()))?;
        parts.headers.insert(ACCEPT, value);
    }
    let Some(Path::Resource(path)) = Path::parse(parts.uri.path()) else {
        return Err(bad("the path is none of a resource".to_owned()));
    };
    let params = Params::parse(parts.uri.query())?;
    let accept = parts.headers.get(ACCEPT).map(HeaderValue::as_bytes);
    let verb = if asked == Asked::Watch { "watch" } else { "get" };
    let wanted = negotiate(accept, Source::Resource(resource, verb))?;
    let (user, peer) = (User::known("fuzz", "", &[]), Arc::from("127.0.0.1"));
    drop(params.single_name());
    let request = ResourceRequest {
        parts: &parts,
        user: &user,
        peer: &peer,
        path,
        params,
        resource,
        verb,
        wanted,
    };
    check(&request, asked)
}

fn check(request: &ResourceRequest<'_>, asked: Asked) -> Result<(), Status> {
    let params = &request.params;
    let write = |kind| options::write(params, kind).map(drop);
    match asked {
        Asked::List => options::check_list(params).and_then(|()| select(request)),
        Asked::Watch => options::check_watch(params).and_then(|()| select(request)),
        Asked::Get => version(params),
        Asked::Create => write(WriteKind::Create),
        Asked::Update => write(WriteKind::Update),
        Asked::Patch => write(WriteKind::Patch),
        Asked::Apply => write(WriteKind::Apply),
        Asked::Delete => delete::options_of_query(request).map(drop),
        Asked::Log => pod::check_log_options(request),
    }
}

fn select(request: &ResourceRequest<'_>) -> Result<(), Status> {
    let selectors = list::selectors(request)?;
    drop(list::range(request, &selectors));
    version(&request.params)?;
    let token = request.params.r#continue.as_deref().map(ContinueToken::decode).transpose()?;
    if let Some(token) = token {
        let again = ContinueToken::decode(&token.encode());
        if again.as_ref() != Ok(&token) {
            let message = "a continue token that was written reads back differently";
            return Err(Status::new(Reason::InternalError, message));
        }
        drop((token.after().0.to_owned(), token.revision(), token.sent()));
    }
    Ok(())
}

fn version(params: &Params<'_>) -> Result<(), Status> {
    let version = params.resource_version.as_deref().map(get::parse_version).transpose();
    version.map(drop).map_err(|message| Status::new(Reason::BadRequest, message))
}

#[cfg(test)]
mod tests {
    use quadrille_object::Gvr;
    use quadrille_registry::Catalog;

    use super::*;

    #[test]
    fn every_verb_takes_its_own_options_and_refuses_what_it_does_not_know() {
        let catalog = Catalog::builtin().expect("the built-in data is valid");
        let pods = catalog.by_gvr(&Gvr::new("", "v1", "pods")).expect("built in");
        let ask = |asked, query: &str| {
            let uri = format!("/api/v1/namespaces/default/pods/web?{query}");
            dissect(pods, asked, &uri, None).map_err(|status| status.code)
        };
        let table = [
            (
                Asked::List,
                "limit=5&labelSelector=a%3Db&fieldSelector=status.phase%3DRunning",
                Ok(()),
            ),
            (Asked::List, "limit=x", Err(400)),
            (Asked::List, "resourceVersionMatch=Exact", Err(422)),
            (Asked::List, "continue=e30", Err(400)),
            (Asked::Watch, "sendInitialEvents=true", Err(422)),
            (Asked::Watch, "timeoutSeconds=5&allowWatchBookmarks=true", Ok(())),
            (Asked::Get, "resourceVersion=abc", Err(400)),
            (Asked::Create, "dryRun=Some", Err(422)),
            (Asked::Update, "fieldValidation=Loose", Err(422)),
            (Asked::Patch, "force=true", Err(422)),
            (Asked::Apply, "force=true", Err(422)),
            (Asked::Apply, "force=true&fieldManager=m", Ok(())),
            (Asked::Delete, "propagationPolicy=Later", Err(422)),
            (Asked::Delete, "propagationPolicy=Orphan&gracePeriodSeconds=0", Ok(())),
            (Asked::Log, "tailLines=-1", Err(422)),
            (Asked::Log, "tailLines=10&follow=true", Ok(())),
        ];
        for (asked, query, expected) in table {
            assert_eq!(ask(asked, query), expected, "{asked:?} {query}");
        }
    }
}
