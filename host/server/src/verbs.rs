//! The verbs of the Kubernetes API, one module each.

pub(crate) mod body;
pub(crate) mod delete;
pub(crate) mod documents;
pub(crate) mod get;
pub(crate) mod insight;
pub(crate) mod list;
pub(crate) mod options;
pub(crate) mod other;
pub(crate) mod plugin;
pub(crate) mod pod;
pub(crate) mod review;
pub(crate) mod revision;
pub(crate) mod token_request;
pub(crate) mod watch;
pub(crate) mod why;
pub(crate) mod write;

use http::Method;
use hyper::body::Incoming;
use quadrille_registry::Status;

use crate::answer::Answer;
use crate::app::{App, ResourceRequest};
use crate::place::method_not_allowed;

/// Answers a request to a resource.
pub(crate) async fn answer(
    app: &App,
    request: ResourceRequest<'_>,
    body: &mut Incoming,
) -> Result<Answer, Status> {
    if request.parts.method == Method::HEAD {
        return Err(method_not_allowed());
    }
    if let Some(answer) = pod::answer(app, &request) {
        return answer;
    }
    if revision::is_of(request.resource) {
        return revision::answer(app, &request).await;
    }
    match request.verb {
        "get" => get::get(app, &request).await,
        "list" => list::list(app, &request).await,
        "watch" => watch::watch(app, &request).await,
        "create" if review::is_one(request.resource) => review::review(app, &request, body).await,
        "create" if token_request::is_asked(&request) => {
            token_request::create(app, &request, body).await
        }
        "create" | "update" | "patch" => write::write(app, &request, body).await,
        "delete" => delete::delete(app, &request, body).await,
        "deletecollection" => delete::delete_collection(app, &request, body).await,
        _ => Err(method_not_allowed()),
    }
}
