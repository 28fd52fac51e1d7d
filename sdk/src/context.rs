//! What a run reads and writes with.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;

use serde::Serialize;
use serde_json::{Value, json};

use crate::condition::stamp_conditions;
use crate::error::{ApiError, Error, Reason, Result};
use crate::host::{EventKind, Host, Level, ObjectRef, PatchFormat, Propagation, Query};
use crate::meta::OwnerReference;
use crate::plugin::Request;
use crate::resource::Resource;
use crate::time::Time;

/// One run's view of the world: a snapshot, and the run's own writes on top of it.
///
/// Reads join the run's read set, and a later change of anything that was read wakes the controller again: there
/// are no watches to set up. Writes commit together when the run ends well, or not at all.
pub struct Context {
    host: Rc<dyn Host>,
    request: Rc<Request>,
    owner: OwnerReference,
    owner_namespaced: bool,
    generation: i64,
    observes_generation: bool,
    terminating: bool,
    ensured: RefCell<BTreeSet<ObjectRef>>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("request", &self.request).finish_non_exhaustive()
    }
}

impl Context {
    pub(crate) fn new<T: Resource>(host: Rc<dyn Host>, request: Rc<Request>, primary: &T) -> Self {
        Self {
            host,
            request,
            owner: primary.owner_reference(),
            owner_namespaced: T::NAMESPACED,
            generation: primary.meta().generation,
            observes_generation: T::OBSERVES_GENERATION,
            terminating: primary.meta().is_terminating(),
            ensured: RefCell::default(),
        }
    }

    /// What the run was asked for: the object, and the changes that woke it.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The host below, for what this type does not offer.
    pub fn host(&self) -> &dyn Host {
        &*self.host
    }

    // Reading.

    /// One object by name, in the namespace of the primary object.
    ///
    /// # Errors
    /// [`Reason::Denied`] without the capability.
    pub fn get<T: Resource>(&self, name: &str) -> Result<Option<T>> {
        self.get_in(self.namespace_for::<T>(), name)
    }

    /// One object by namespace and name.
    ///
    /// # Errors
    /// [`Reason::Denied`] without the capability.
    pub fn get_in<T: Resource>(&self, namespace: &str, name: &str) -> Result<Option<T>> {
        let object = object_ref::<T>(namespace, name);
        let found = self.host.get(&object).map_err(|source| refused("get", &object, source))?;
        found.map(|text| T::from_json(&text)).transpose()
    }

    /// The objects of a query; by default those in the namespace of the primary object.
    ///
    /// # Errors
    /// [`Reason::Denied`] without the capability.
    pub fn list<T: Resource>(&self, query: Query) -> Result<Vec<T>> {
        listed(self.host.list(&self.completed::<T>(query)))
    }

    /// As [`Self::list`], but a change of what was listed does not throw the run away: it only wakes the controller
    /// afterwards, and the next run sees it.
    ///
    /// For a run that lists much and where a slightly older answer does no harm, because the next run mends it: a
    /// summary, a count for people, a choice among many. Where what was read must still hold when the run commits
    /// ("at most three", "only when nobody else"), use [`Self::list`]. The run's primary object, what it gets by name
    /// and what it writes are checked in any case.
    ///
    /// # Errors
    /// [`Reason::Denied`] without the capability.
    pub fn list_weakly<T: Resource>(&self, query: Query) -> Result<Vec<T>> {
        listed(self.host.list_weakly(&self.completed::<T>(query)))
    }

    fn completed<T: Resource>(&self, query: Query) -> Query {
        let namespace = match query.namespace {
            None if !self.namespace_for::<T>().is_empty() => {
                Some(self.namespace_for::<T>().to_owned())
            }
            // The empty namespace is `Query::everywhere`.
            namespace => namespace.filter(|namespace| !namespace.is_empty()),
        };
        Query { resource: T::resource_ref(), namespace, ..query }
    }

    /// The objects that the primary object owns.
    ///
    /// # Errors
    /// [`Reason::Denied`] without the capability.
    pub fn owned<T: Resource>(&self) -> Result<Vec<T>> {
        self.list(Query::owned_by(&self.owner.uid))
    }

    // Writing.

    /// Makes sure that an object exists with these fields and belongs to the primary object: creates it, changes what
    /// differs, or does nothing. Fields that were ensured before and no longer are go away; the others are left alone.
    ///
    /// # Errors
    /// Every refusal of the API.
    pub fn ensure<T: Resource>(&self, object: T) -> Result<T> {
        let object = self.adopted(object)?;
        self.ensured.borrow_mut().insert(object.object_ref());
        self.apply(object)
    }

    /// Deletes the owned objects of a kind that this run has not ensured; answers how many.
    ///
    /// # Errors
    /// Every refusal of the API.
    pub fn prune<T: Resource>(&self) -> Result<usize> {
        let owned = self.owned::<crate::Partial<T>>()?;
        let ensured = self.ensured.borrow().clone();
        let extra = owned.iter().filter(|object| {
            object.metadata.is_controlled_by(&self.owner.uid)
                && !object.metadata.is_terminating()
                && !ensured.contains(&object.object_ref())
        });
        let mut count = 0;
        for object in extra {
            self.delete(object)?;
            count += 1;
        }
        Ok(count)
    }

    /// Creates an object that belongs to the primary object; `metadata.generateName` is allowed.
    ///
    /// # Errors
    /// Every refusal of the API.
    pub fn create<T: Resource>(&self, object: T) -> Result<T> {
        self.create_unowned(self.adopted(object)?)
    }

    /// Creates an object that belongs to nobody: it stays when the primary object goes.
    ///
    /// # Errors
    /// Every refusal of the API.
    pub fn create_unowned<T: Resource>(&self, mut object: T) -> Result<T> {
        if T::NAMESPACED && object.namespace().is_empty() {
            object.meta_mut().namespace.clone_from(&self.request.object.namespace);
        }
        let text = self
            .host
            .create(&T::resource_ref(), &object.to_json()?)
            .map_err(|source| refused("create", &object.object_ref(), source))?;
        T::from_json(&text)
    }

    /// Server-side apply without an owner reference: creates what is missing, changes what differs, takes over fields
    /// of others. Writes nothing when nothing differs.
    ///
    /// # Errors
    /// Every refusal of the API.
    pub fn apply<T: Resource>(&self, mut object: T) -> Result<T> {
        if T::NAMESPACED && object.namespace().is_empty() {
            object.meta_mut().namespace.clone_from(&self.request.object.namespace);
        }
        object.meta_mut().forget_host_fields();
        let text = self
            .host
            .apply(&T::resource_ref(), &object.to_json()?, true)
            .map_err(|source| refused("apply", &object.object_ref(), source))?;
        T::from_json(&text)
    }

    /// Changes some fields of an object by a merge patch (RFC 7386); answers the object after it, or as it was when
    /// the patch made it go (the last finalizer of a terminating object).
    ///
    /// # Errors
    /// Every refusal of the API.
    pub fn patch<T: Resource>(&self, object: &T, patch: &Value) -> Result<T> {
        match self.patch_json(&object.object_ref(), patch)? {
            gone if gone.is_empty() => T::from_json(&object.to_json()?),
            text => T::from_json(&text),
        }
    }

    pub(crate) fn patch_json(&self, object: &ObjectRef, patch: &Value) -> Result<String> {
        let patched = self.host.patch(object, PatchFormat::Merge, &patch.to_string());
        patched.map_err(|source| refused("patch", object, source))
    }

    /// Deletes this incarnation of an object. One that is gone already is no error.
    ///
    /// # Errors
    /// Every other refusal of the API.
    pub fn delete<T: Resource>(&self, object: &T) -> Result<()> {
        self.delete_with(object, Propagation::Background)
    }

    /// Deletes this incarnation of an object, and says what becomes of what it owns.
    ///
    /// # Errors
    /// Every refusal of the API but `NotFound`.
    pub fn delete_with<T: Resource>(&self, object: &T, propagation: Propagation) -> Result<()> {
        let uid = Some(object.uid()).filter(|uid| !uid.is_empty());
        let object = object.object_ref();
        match self.host.delete(&object, uid, propagation) {
            Err(error) if error.reason == Reason::NotFound => Ok(()),
            Err(source) => Err(refused("delete", &object, source)),
            Ok(()) => Ok(()),
        }
    }

    /// Replaces the status of the primary object; an equal one is not written. Missing transition times of conditions
    /// become the time of the run, and a kind made by `#[resource]` gets its `observedGeneration`.
    ///
    /// # Errors
    /// Every refusal of the API.
    pub fn set_status(&self, status: &impl Serialize) -> Result<()> {
        let mut status =
            serde_json::to_value(status).map_err(|e| Error::json("write the status", &e))?;
        stamp_conditions(&mut status, self.now());
        if let Some(fields) = status.as_object_mut().filter(|_| self.observes_generation) {
            fields.insert("observedGeneration".to_owned(), json!(self.generation));
        }
        let object = &self.request.object;
        self.host
            .set_status(object, &status.to_string())
            .map_err(|source| refused("set the status of", object, source))
    }

    /// Replaces the primary object through its `status` subresource: the status, and what else of the object that takes,
    /// such as the annotations of a Deployment. [`Context::set_status`] is for the status alone.
    ///
    /// # Errors
    /// Every refusal of the API.
    pub fn update_status<T: Resource>(&self, object: &T) -> Result<T> {
        let text = self
            .host
            .update_status(&T::resource_ref(), &object.to_json()?)
            .map_err(|source| refused("update the status of", &object.object_ref(), source))?;
        T::from_json(&text)
    }

    // Telling.

    /// Says something about the primary object in a `Normal` event: `reason` is one word in CamelCase.
    ///
    /// # Errors
    /// [`Reason::LimitReached`] over the run's budget.
    pub fn event(&self, reason: &str, message: impl AsRef<str>) -> Result<()> {
        self.record(EventKind::Normal, reason, message.as_ref())
    }

    /// Says that something is wrong with the primary object in a `Warning` event.
    ///
    /// # Errors
    /// [`Reason::LimitReached`] over the run's budget.
    pub fn warning(&self, reason: &str, message: impl AsRef<str>) -> Result<()> {
        self.record(EventKind::Warning, reason, message.as_ref())
    }

    fn record(&self, kind: EventKind, reason: &str, message: &str) -> Result<()> {
        let object = &self.request.object;
        self.host
            .record_event(object, kind, reason, message)
            .map_err(|source| refused("record an event about", object, source))
    }

    /// Writes a log line; [`crate::info!`] and its siblings format.
    pub fn log(&self, level: Level, message: &str) {
        self.host.log(level, message);
    }

    // Time, chance, configuration.

    /// The time of the run: the same whenever it is asked, and again in a replay.
    pub fn now(&self) -> Time {
        Time::from_micros(self.host.now())
    }

    /// Sixty-four random bits from the run's seed. Not for secrets.
    pub fn random(&self) -> u64 {
        self.host.random()
    }

    /// `length` random characters that are good in names; no vowels, so that they spell nothing.
    pub fn random_suffix(&self, length: usize) -> String {
        const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let mut bits = self.random();
        let mut pick = || {
            let at = usize::try_from(bits % ALPHABET.len() as u64).unwrap_or(0);
            bits /= ALPHABET.len() as u64;
            ALPHABET.get(at).copied().map_or('x', char::from)
        };
        (0..length).map(|_| pick()).collect()
    }

    /// One value of the plugin's configuration.
    pub fn config(&self, key: &str) -> Option<String> {
        self.host.config(key)
    }

    // Ownership.

    /// The uid of the primary object.
    pub fn owner_uid(&self) -> &str {
        &self.owner.uid
    }

    /// The reference that makes the primary object the controller of another.
    pub fn owner_reference(&self) -> OwnerReference {
        self.owner.clone()
    }

    /// Whether deletion of the primary object was asked for.
    pub fn is_terminating(&self) -> bool {
        self.terminating
    }

    fn namespace_for<T: Resource>(&self) -> &str {
        if T::NAMESPACED { &self.request.object.namespace } else { "" }
    }

    /// The object in the primary object's namespace, with the primary object as its controller.
    fn adopted<T: Resource>(&self, mut object: T) -> Result<T> {
        if self.owner_namespaced && !T::NAMESPACED {
            return Err(Error::permanent(format!(
                "{} {} is in a namespace and cannot own {}, which are not: apply them without an owner",
                self.owner.kind,
                self.owner.name,
                T::PLURAL
            )));
        }
        let meta = object.meta_mut();
        if T::NAMESPACED && meta.namespace.is_empty() {
            meta.namespace.clone_from(&self.request.object.namespace);
        }
        if self.owner_namespaced && meta.namespace != self.request.object.namespace {
            return Err(Error::permanent(format!(
                "{} {} is in namespace {} and cannot own {} in {}: apply it without an owner",
                self.owner.kind,
                self.owner.name,
                self.request.object.namespace,
                T::PLURAL,
                meta.namespace
            )));
        }
        meta.owner_references.retain(|owner| owner.uid != self.owner.uid);
        meta.owner_references.push(self.owner.clone());
        Ok(object)
    }
}

impl Query {
    /// All objects.
    pub fn all() -> Self {
        Self::default()
    }

    /// Those with a label selector in text form, such as `app=web,tier in (a,b)`.
    pub fn labels(selector: impl Into<String>) -> Self {
        Self { label_selector: Some(selector.into()), ..Self::default() }
    }

    /// Those with an owner reference to this uid.
    pub fn owned_by(uid: impl Into<String>) -> Self {
        Self { owner_uid: Some(uid.into()), ..Self::default() }
    }

    /// Only those in this namespace, instead of that of the primary object.
    #[must_use]
    pub fn in_namespace(self, namespace: impl Into<String>) -> Self {
        Self { namespace: Some(namespace.into()), ..self }
    }

    /// In all namespaces, instead of that of the primary object.
    #[must_use]
    pub fn everywhere(self) -> Self {
        Self { namespace: Some(String::new()), ..self }
    }

    /// At most this many.
    #[must_use]
    pub fn limit(self, limit: u32) -> Self {
        Self { limit: Some(limit), ..self }
    }
}

fn object_ref<T: Resource>(namespace: &str, name: &str) -> ObjectRef {
    ObjectRef {
        resource: T::resource_ref(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

fn listed<T: Resource>(found: std::result::Result<Vec<String>, ApiError>) -> Result<Vec<T>> {
    let found =
        found.map_err(|source| Error::Api { act: format!("list {}", T::PLURAL), source })?;
    found.iter().map(|text| T::from_json(text)).collect()
}

fn refused(verb: &str, object: &ObjectRef, source: ApiError) -> Error {
    Error::Api { act: format!("{verb} {object}"), source }
}

/// Logs a line at level `info`: `info!(ctx, "made {count} pods")`.
#[macro_export]
macro_rules! info {
    ($ctx:expr, $($text:tt)+) => { $ctx.log($crate::Level::Info, &::std::format!($($text)+)) };
}

/// Logs a line at level `debug`.
#[macro_export]
macro_rules! debug {
    ($ctx:expr, $($text:tt)+) => { $ctx.log($crate::Level::Debug, &::std::format!($($text)+)) };
}

/// Logs a line at level `warn`.
#[macro_export]
macro_rules! warn {
    ($ctx:expr, $($text:tt)+) => { $ctx.log($crate::Level::Warn, &::std::format!($($text)+)) };
}

/// Logs a line at level `error`.
#[macro_export]
macro_rules! error {
    ($ctx:expr, $($text:tt)+) => { $ctx.log($crate::Level::Error, &::std::format!($($text)+)) };
}
