//! From a request to its answer: who asks, what for, whether they may; then the verb.

use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::Either;
use http::header::{ACCEPT, HeaderValue, USER_AGENT};
use http::request::Parts;
use http::{Method, Request, Version};
use hyper::body::{Body as _, Incoming};
use quadrille_kit::{Clock, Random, Shutdown};
use quadrille_registry::access::{self, Attributes, MASTERS, User};
use quadrille_registry::{Actor, Reason, Registry, Resource, Status};
use quadrille_store::{Cause, RequestCause};
use tokio::sync::Semaphore;

use crate::answer::{Answer, Body, add_warnings, audit_id, no_such_path, refusal};
use crate::audit::{self, AuditLog, Noted};
use crate::authentication::Authenticator;
use crate::authorization::Authorizer;
use crate::certificate::Certified;
use crate::config::Config;
use crate::extension::{Insight, PluginUploads};
use crate::fairness::{Fair, Seat, Ticket, too_many};
use crate::impersonation::{self, Persona};
use crate::metrics::{Label, Metrics};
use crate::negotiate::{Encoding, Shape, Source, Wanted, negotiate};
use crate::openapi::Documents;
use crate::params::Params;
use crate::past::Past;
use crate::path::{Path, ResourcePath};
use crate::place::{Misplaced, check_place, no_such_resource, resource_attributes, verb_of};
use crate::present::{self, is_for_people};
use crate::routes::{Found, RouteCache};
use crate::strangers::Stranger;
use crate::{gzip, verbs};

/// Everything that requests share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) registry: Registry,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) authenticator: Authenticator,
    pub(crate) authorizer: Arc<dyn Authorizer>,
    pub(crate) uploads: Option<Arc<dyn PluginUploads>>,
    pub(crate) insight: Option<Arc<dyn Insight>>,
    pub(crate) shutdown: Shutdown,
    pub(crate) past: Past,
    pub(crate) relays: verbs::watch::Relays,
    pub(crate) routes: RouteCache,
    pub(crate) audit: AuditIds,
    pub(crate) audit_log: Option<Arc<AuditLog>>,
    pub(crate) fair: Arc<Fair>,
    /// Places of those who wait for the keys of a foreign issuer.
    pub(crate) key_places: Semaphore,
    /// Places of questions that wait, and need no seat meanwhile.
    pub(crate) waiting: Arc<Fair>,
    pub(crate) documents: Documents,
    pub(crate) metrics: Metrics,
}

/// The other end of a connection.
#[derive(Debug)]
pub(crate) struct Caller {
    /// Its address.
    pub(crate) address: Arc<str>,
    /// The certificate that it has shown.
    pub(crate) certified: Option<Certified>,
    /// Whether anybody was known on the connection yet.
    pub(crate) stranger: Arc<Stranger>,
}

impl Caller {
    /// Somebody asks, who may be known.
    fn recognise(&self, user: Option<&Arc<User>>) {
        if user.is_some_and(|user| *user.name != *access::ANONYMOUS) {
            self.stranger.recognise();
        }
    }
}

/// Ids of requests: random per process, then counted.
#[derive(Debug)]
pub(crate) struct AuditIds {
    prefix: String,
    next: AtomicU64,
}

impl AuditIds {
    pub(crate) fn new(random: &dyn Random) -> Self {
        let uuid = random.uuid();
        let prefix = uuid.get(..24).unwrap_or_default().to_owned();
        Self { prefix, next: AtomicU64::new(0) }
    }

    fn next(&self) -> HeaderValue {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}{:012x}", self.prefix, number & 0xffff_ffff_ffff);
        HeaderValue::from_maybe_shared(bytes::Bytes::from(id))
            .expect("hexadecimal digits and dashes are a header value")
    }
}

/// A request to a resource that exists, by somebody who may make it.
#[derive(Debug)]
pub(crate) struct ResourceRequest<'a> {
    pub(crate) parts: &'a Parts,
    pub(crate) user: &'a User,
    pub(crate) peer: &'a Arc<str>,
    pub(crate) path: ResourcePath<'a>,
    pub(crate) params: Params<'a>,
    pub(crate) resource: &'a Arc<Resource>,
    pub(crate) verb: &'static str,
    pub(crate) wanted: Wanted,
}

impl ResourceRequest<'_> {
    /// Who asks, for the write path.
    pub(crate) fn actor(&self) -> Actor {
        actor(self.parts, self.user, self.peer)
    }

    /// The cause that the record keeps.
    pub(crate) fn cause(&self) -> Cause {
        Cause::Request(RequestCause {
            user: self.user.name.as_ref().to_owned(),
            client: user_agent(self.parts).to_owned(),
            address: self.peer.as_ref().to_owned(),
            verb: self.verb.to_owned(),
        })
    }
}

/// Who makes a request.
pub(crate) fn actor(parts: &Parts, user: &User, peer: &Arc<str>) -> Actor {
    Actor {
        user: Arc::clone(&user.name),
        uid: Arc::clone(&user.uid),
        groups: Arc::clone(&user.groups),
        extra: Arc::clone(&user.extra),
        client: user_agent(parts).into(),
        address: Arc::clone(peer),
    }
}

pub(crate) fn user_agent(parts: &Parts) -> &str {
    parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Whether it is a request's turn, and the seat that it has then.
type Turn = Result<Option<Seat>, Status>;

/// The answer of a request, now or later.
pub(crate) type Responding = Either<Ready<Answer>, Pin<Box<dyn Future<Output = Answer> + Send>>>;

impl App {
    /// Answers a request. A read of one object is answered on the spot; everything else becomes a future, so
    /// that it runs beside the connection and not in front of its other requests.
    pub(crate) fn handle(
        self: &Arc<Self>,
        request: Request<Incoming>,
        caller: &Arc<Caller>,
    ) -> Responding {
        let (mut parts, body) = request.into_parts();
        let begun = self.clock.monotonic();
        let user = self.authenticator.at_once(&parts.headers, caller.certified.as_ref());
        caller.recognise(user.as_ref());
        if let Some(answer) = user.as_ref().and_then(|user| self.quick(&parts, user, begun)) {
            let id = self.id_of(&parts);
            return Either::Left(ready(finish(&parts, answer, id)));
        }
        let ticket = self.ticket(&parts, user.as_ref());
        let (app, caller) = (Arc::clone(self), Arc::clone(caller));
        Either::Right(Box::pin(async move {
            tokio::task::yield_now().await;
            let turn = turn_of(ticket).await;
            let id = app.id_of(&parts);
            if let Some(log) = &app.audit_log {
                let noted = log.begin(&parts, &caller, id.to_str().unwrap_or_default());
                parts.extensions.insert(noted);
            }
            let mut body = body;
            let underway = app.metrics.enter(app.clock.as_ref(), begun);
            let mut seat = None;
            let asker = (user, turn, &mut seat);
            let answer = app.respond(&parts, &mut body, &caller, &underway.label, asker).await;
            // The seat is left, but what lies in memory until the client has taken it still counts.
            let weight = answer.as_ref().map_or(0, |answer| answer.body().weight());
            let untaken = seat.and_then(|seat| seat.leave_with(weight));
            // Who is known and sends too much is heard out, so that the refusal arrives over HTTP/2 too.
            let too_large = answer.as_ref().is_err_and(|status| status.code == 413);
            if (parts.version < Version::HTTP_2 || too_large) && !body.is_end_stream() {
                verbs::body::discard(&app, body, too_large).await;
            }
            let (mut answer, refused) = match answer {
                Ok(answer) => (answer, None),
                Err(status) => (present::refusal(&parts, &status), Some(status)),
            };
            if let Some(noted) = audit::of(&parts) {
                noted.answered(&mut answer, refused.as_ref()).await;
            }
            underway.answered(answer.status().as_u16());
            let mut answer = finish(&parts, answer, id);
            if let Some(untaken) = untaken {
                answer.body_mut().keep_until_end(Box::new(untaken));
            }
            answer
        }))
    }

    /// GET of one object as JSON; `None` for everything else.
    fn quick(&self, parts: &Parts, user: &Arc<User>, begun: Duration) -> Option<Answer> {
        if parts.method != Method::GET || parts.uri.query().is_some() {
            return None;
        }
        let Some(Path::Resource(path)) = Path::parse(parts.uri.path()) else { return None };
        let name = path.name.as_deref()?;
        if path.subresource.is_some() || path.watch || is_for_people(parts) {
            return None;
        }
        let accept = parts.headers.get(ACCEPT).map(HeaderValue::as_bytes);
        let wanted = negotiate(accept, Source::Any).ok()?;
        if wanted != (Wanted { encoding: Encoding::Json, shape: Shape::Whole }) {
            return None;
        }
        // What is logged, or has to wait for its turn, is no quick matter.
        let is_plain = self.audit_log.is_none() && !self.fair.is_busy();
        if !is_plain || impersonation::is_asked(&parts.headers) {
            return None;
        }
        let attributes = Attributes {
            verb: "get",
            path: parts.uri.path(),
            resource: Some(resource_attributes(&path)),
        };
        if !self.authorizer.allows(user, &attributes) {
            return None;
        }
        let routes = self.routes.current(&self.registry);
        let Found::Resource(resource) = routes.find(path.group, path.version, &path.resource)
        else {
            return None;
        };
        let misplaced =
            resource.namespaced == path.namespace.is_empty() || verbs::revision::is_of(resource);
        let plain = resource.verbs.contains(&"get") && resource.warning.is_none();
        if misplaced || !plain || self.registry.converts(resource) {
            return None;
        }
        let found = verbs::get::object(self, resource, &path.namespace, name);
        let answer = match found {
            Ok(bytes) => crate::answer::json_bytes(http::StatusCode::OK, bytes),
            Err(status) => refusal(&status),
        };
        let took = self.clock.monotonic().saturating_sub(begun);
        self.metrics.count_of("get", Some(resource), answer.status().as_u16(), took);
        Some(answer)
    }

    async fn respond(
        &self,
        parts: &Parts,
        body: &mut Incoming,
        caller: &Caller,
        label: &Label,
        (user, turn, seat): (Option<Arc<User>>, Turn, &mut Option<Seat>),
    ) -> Result<Answer, Status> {
        let (user, turn) = match user {
            Some(user) => (Ok(user), turn),
            None => self.identify(parts, caller, turn).await,
        };
        let url = parts.uri.path();
        let Some(path) = Path::parse(url) else {
            user?;
            return Err(Status::new(Reason::BadRequest, format!("malformed path {url:?}")));
        };
        let path = match path {
            Path::Resource(path) => path,
            Path::Other(other) => {
                let verb = parts.method.as_str().to_ascii_lowercase();
                let attributes = Attributes { verb: &verb, path: url, resource: None };
                let (user, own) = self.admit(parts, user, turn, &attributes).await?;
                *seat = own;
                if let Some(below) = other.strip_prefix("/quadrille/") {
                    let asker = (&user, &caller.address);
                    return verbs::insight::answer(self, parts, body, below, asker, seat).await;
                }
                return verbs::other::answer(self, parts, other);
            }
        };
        let params = Params::parse(parts.uri.query());
        let watch = path.watch || params.as_ref().is_ok_and(|params| params.watch);
        let verb = verb_of(&parts.method, &path, watch);
        let mut of = resource_attributes(&path);
        // Whoever lists or watches one name asks for that name.
        let single = match &params {
            Ok(params) if of.name.is_empty() && matches!(verb, "list" | "watch") => {
                params.single_name()
            }
            Ok(_) | Err(_) => None,
        };
        of.name = single.as_deref().unwrap_or(of.name);
        let attributes = Attributes { verb, path: url, resource: Some(of) };
        let (user, own) = self.admit(parts, user, turn, &attributes).await?;
        *seat = own;
        let peer = &caller.address;
        let routes = self.routes.current(&self.registry);
        let resource = match routes.find(path.group, path.version, &path.resource) {
            Found::Resource(resource) => {
                label.set(verb, Some(resource));
                resource
            }
            Found::NoResource => return Err(no_such_resource()),
            Found::NoVersion => return Ok(no_such_path()),
        };
        if verbs::plugin::is_asked(&path, resource) {
            return verbs::plugin::answer(self, parts, body, &path, &user, peer).await;
        }
        if verbs::why::is_asked(parts, &path, resource) {
            return verbs::why::answer(self, parts, &path, resource, &user).await;
        }
        match check_place(&path, resource, verb) {
            Ok(()) => {}
            Err(Misplaced::Path) => return Ok(no_such_path()),
            Err(Misplaced::Refused(status)) => return Err(status),
        }
        let accept = parts.headers.get(ACCEPT).map(HeaderValue::as_bytes);
        let wanted = negotiate(accept, Source::Resource(resource, verb))?;
        let params = params?;
        let user = &*user;
        let request = ResourceRequest { parts, user, peer, path, params, resource, verb, wanted };
        let answer = verbs::answer(self, request, body).await;
        match &resource.warning {
            Some(warning) => warned(answer, warning),
            None => answer,
        }
    }

    /// A seat, or a place in the queue; `None` for those who need none. Health is asked about at any time, and masters
    /// wait for nobody. Whoever is not known yet shares the seats of the unknown, until they are.
    fn ticket(&self, parts: &Parts, user: Option<&Arc<User>>) -> Result<Option<Ticket>, Status> {
        let path = parts.uri.path();
        let is_probe = ["/healthz", "/livez", "/readyz"].iter().any(|of| path.starts_with(of));
        match user {
            _ if is_probe => Ok(None),
            Some(user) if user.is_in(MASTERS) => Ok(None),
            Some(user) => self.fair.ticket(&user.name).map(Some),
            None => self.fair.ticket(&Arc::default()).map(Some),
        }
    }

    /// Finds out who asks, where that is not known at once, and takes a seat of their own for them. It is found out on
    /// a seat that all share who are not known yet, so that tokens that nobody knows are not looked at in any number;
    /// nobody keeps that seat from others while a foreign issuer takes its time, and no more wait for that than have room
    /// in the queue for such a seat afterwards.
    async fn identify(
        &self,
        parts: &Parts,
        caller: &Caller,
        turn: Turn,
    ) -> (Result<Arc<User>, Status>, Turn) {
        let mut shared = match turn {
            Ok(shared) => shared,
            Err(status) => return (Err(status), Ok(None)),
        };
        let mut found = self.authenticator.look(&parts.headers);
        if found.is_err() {
            drop(shared);
            let Ok(place) = self.key_places.try_acquire() else {
                return (Err(too_many()), Ok(None));
            };
            let renewed = self.authenticator.renew_keys().await;
            drop(place);
            shared = match turn_of(self.ticket(parts, None)).await {
                Ok(shared) => shared,
                Err(status) => return (Err(status), Ok(None)),
            };
            if renewed {
                found = self.authenticator.look(&parts.headers);
            }
        }
        drop(shared);
        let Ok(Some(user)) = found else {
            return (Err(Status::new(Reason::Unauthorized, "Unauthorized")), Ok(None));
        };
        caller.recognise(Some(&user));
        let own = turn_of(self.ticket(parts, Some(&user))).await;
        (Ok(user), own)
    }

    /// Finds out whether somebody whose turn it is may do what they ask for, as themselves or as somebody else.
    async fn admit(
        &self,
        parts: &Parts,
        user: Result<Arc<User>, Status>,
        turn: Turn,
        attributes: &Attributes<'_>,
    ) -> Result<(Arc<User>, Option<Seat>), Status> {
        let noted = audit::of(parts);
        if let Some(noted) = noted {
            noted.asked(user.as_deref().ok(), attributes).await;
        }
        let (mut user, seat) = (user?, turn?);
        self.act(parts, &mut user, attributes)?;
        self.authorize(noted, &user, attributes)?;
        Ok((user, seat))
    }

    /// Puts the one that the asker wants to act as in their place.
    fn act(
        &self,
        parts: &Parts,
        user: &mut Arc<User>,
        attributes: &Attributes<'_>,
    ) -> Result<(), Status> {
        if !impersonation::is_asked(&parts.headers) {
            return Ok(());
        }
        if let Some(wanted) = Persona::read(&parts.headers)? {
            let acted = impersonation::act(&*self.authorizer, user, &wanted, attributes)?;
            if let Some(noted) = audit::of(parts) {
                noted.acted(&acted);
            }
            *user = acted.user;
        }
        Ok(())
    }

    fn authorize(
        &self,
        noted: Option<&Arc<Noted>>,
        user: &User,
        attributes: &Attributes<'_>,
    ) -> Result<(), Status> {
        if noted.is_none() && self.authorizer.allows(user, attributes) {
            return Ok(());
        }
        let decision = self.authorizer.decide(user, attributes);
        if let Some(noted) = noted {
            noted.decided(&decision);
        }
        if decision.allowed {
            return Ok(());
        }
        Err(access::forbidden(&user.name, attributes, &decision.reason))
    }

    /// The request's id: the client's, or one of ours.
    fn id_of(&self, parts: &Parts) -> HeaderValue {
        let id = parts.headers.get(audit_id()).filter(|id| id.len() <= 64).cloned();
        id.unwrap_or_else(|| self.audit.next())
    }
}

/// Waits for a seat, where one is needed.
async fn turn_of(ticket: Result<Option<Ticket>, Status>) -> Turn {
    match ticket? {
        Some(ticket) => ticket.seat().await.map(Some),
        None => Ok(None),
    }
}

fn finish(parts: &Parts, mut answer: Answer, id: HeaderValue) -> Answer {
    gzip::pack_whole(parts, &mut answer);
    let mut answer = answer.map(Body::in_pieces);
    answer.headers_mut().insert(audit_id(), id);
    answer
}

/// The answer, or the refusal, with a word about the resource. A body that was too large is still to be heard out.
fn warned(answer: Result<Answer, Status>, warning: &str) -> Result<Answer, Status> {
    let mut answer = match answer {
        Err(status) if status.code == 413 => return Err(status),
        other => other.unwrap_or_else(|status| refusal(&status)),
    };
    add_warnings(&mut answer, &[warning.to_owned()]);
    Ok(answer)
}
