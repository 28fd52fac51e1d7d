//! Acting as somebody else: the `Impersonate-*` headers, and whether the asker may.
//!
//! There are kube-apiserver's two ways. The constrained ones ask first whether the asker may do *this* while acting as
//! somebody (`impersonate-on:MODE:VERB` on what is asked), then whether they may act as that one
//! (`impersonate:MODE` on the user); the legacy one asks for the verb `impersonate` alone. Which constrained mode it
//! is follows from who is wanted. The first way that succeeds counts; when none does, the first refusal is the answer.

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderMap;
use quadrille_object::validate_name;
use quadrille_registry::access::{
    ANONYMOUS, AUTHENTICATED, Attributes, Extra, MASTERS, ResourceAttributes, UNAUTHENTICATED,
    User, forbidden,
};
use quadrille_registry::{Reason, Status};

use crate::accounts;
use crate::authorization::Authorizer;
use crate::path;

/// All headers that ask for it begin with this.
const PREFIX: &str = "impersonate-";
const EXTRA_PREFIX: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";
const NODE_PREFIX: &str = "system:node:";

/// Whether a request asks for it.
pub(crate) fn is_asked(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with(PREFIX))
}

/// Who is wanted, as the headers say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Persona {
    name: String,
    uid: String,
    groups: Vec<String>,
    extra: Extra,
}

/// Somebody who is acted as.
#[derive(Clone, Debug)]
pub(crate) struct Acted {
    pub(crate) user: Arc<User>,
    /// The constrained way that allowed it; empty for the legacy one.
    pub(crate) constraint: String,
}

impl Persona {
    /// Reads the headers; `None` when they ask for nobody.
    ///
    /// # Errors
    /// 400 when they name anything but no user.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Option<Self>, Status> {
        let text = |name: &str| {
            headers.get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
        };
        let mut wanted = Self {
            name: text("impersonate-user").unwrap_or_default(),
            uid: text("impersonate-uid").unwrap_or_default(),
            ..Self::default()
        };
        let mut has_more = !wanted.uid.is_empty();
        for (name, value) in headers {
            let value = || String::from_utf8_lossy(value.as_bytes()).into_owned();
            if name == "impersonate-group" {
                wanted.groups.push(value());
                has_more = true;
            } else if let Some(key) = name.as_str().strip_prefix(EXTRA_PREFIX) {
                let key = path::decode(key).unwrap_or(Cow::Borrowed(key));
                wanted.extra.entry(key.into_owned()).or_default().push(value());
                has_more = true;
            }
        }
        if !wanted.name.is_empty() {
            return Ok(Some(wanted));
        }
        if !has_more {
            return Ok(None);
        }
        let text = format!("requested {} without impersonating a user name", wanted.in_go());
        Err(Status::new(Reason::BadRequest, text))
    }

    /// As Go shows its own type for it, which is what clients get to read.
    fn in_go(&self) -> String {
        let list = |items: &[String]| {
            let items: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
            format!("[]string{{{}}}", items.join(", "))
        };
        let groups =
            if self.groups.is_empty() { "[]string(nil)".to_owned() } else { list(&self.groups) };
        let extra: Vec<String> =
            self.extra.iter().map(|(key, values)| format!("{key:?}:{}", list(values))).collect();
        let extra =
            if extra.is_empty() { "(nil)".to_owned() } else { format!("{{{}}}", extra.join(", ")) };
        format!(
            "&user.DefaultInfo{{Name:{:?}, UID:{:?}, Groups:{groups}, Extra:map[string][]string{extra}}}",
            self.name, self.uid
        )
    }

    fn is_name_alone(&self) -> bool {
        self.uid.is_empty() && self.groups.is_empty() && self.extra.is_empty()
    }

    fn node(&self) -> Option<&str> {
        let name = self.name.strip_prefix(NODE_PREFIX)?;
        validate_name::dns_subdomain(name).is_empty().then_some(name)
    }

    fn account(&self) -> Option<(&str, &str)> {
        accounts::split(&self.name)
    }
}

/// A way to act as somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// A service account as the node that its pod runs on.
    AssociatedNode,
    Node,
    Account,
    User,
    Legacy,
}

const MODES: [Mode; 5] =
    [Mode::AssociatedNode, Mode::Node, Mode::Account, Mode::User, Mode::Legacy];

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::AssociatedNode => "associated-node",
            Self::Node => "arbitrary-node",
            Self::Account => "serviceaccount",
            Self::User => "user-info",
            Self::Legacy => "",
        }
    }

    /// The verb that a constrained way asks for on the user; empty for the legacy one.
    fn constraint(self) -> String {
        if self == Self::Legacy { String::new() } else { format!("impersonate:{}", self.name()) }
    }

    /// Whether it is a way to act as the wanted one at all.
    fn fits(self, wanted: &Persona, asker: &User) -> bool {
        match self {
            Self::AssociatedNode => {
                let own = asker.extra.get("authentication.kubernetes.io/node-name");
                wanted.is_name_alone()
                    && accounts::split(&asker.name).is_some()
                    && wanted.node().is_some_and(|node| own.is_some_and(|own| *own == [node]))
            }
            Self::Node => wanted.is_name_alone() && wanted.node().is_some(),
            Self::Account => wanted.is_name_alone() && wanted.account().is_some(),
            Self::User => wanted.node().is_none() && wanted.account().is_none(),
            Self::Legacy => true,
        }
    }
}

/// Whom the asker may act as, given what they ask for.
///
/// # Errors
/// 403 with the first refusal.
pub(crate) fn act(
    authorizer: &dyn Authorizer,
    asker: &User,
    wanted: &Persona,
    asked: &Attributes<'_>,
) -> Result<Acted, Status> {
    let mut first = None;
    for mode in MODES.into_iter().filter(|mode| mode.fits(wanted, asker)) {
        let check = Check { authorizer, asker, wanted, mode };
        match check.run(asked) {
            Ok(user) => {
                return Ok(Acted { user: Arc::new(user), constraint: mode.constraint() });
            }
            Err(refused) => {
                first.get_or_insert(refused);
            }
        }
    }
    Err(first.unwrap_or_else(|| Status::new(Reason::Forbidden, "impersonation is not possible")))
}

/// One way, tried.
struct Check<'a> {
    authorizer: &'a dyn Authorizer,
    asker: &'a User,
    wanted: &'a Persona,
    mode: Mode,
}

impl Check<'_> {
    fn run(&self, asked: &Attributes<'_>) -> Result<User, Status> {
        if self.mode != Mode::Legacy {
            let verb = format!("impersonate-on:{}:{}", self.mode.name(), asked.verb);
            self.may(&Attributes { verb: &verb, ..*asked })?;
        }
        let verb = match self.mode {
            Mode::Legacy => "impersonate".to_owned(),
            Mode::AssociatedNode | Mode::Node | Mode::Account | Mode::User => {
                self.mode.constraint()
            }
        };
        self.may_be_named(&verb)?;
        if !self.wanted.uid.is_empty() {
            self.may_be(&verb, (AUTHENTICATION, "uids", ""), &self.wanted.uid)?;
        }
        self.may_be_grouped(&verb)?;
        self.may_have_extra(&verb)?;
        Ok(self.user())
    }

    fn may(&self, asked: &Attributes<'_>) -> Result<(), Status> {
        let decision = self.authorizer.decide(self.asker, asked);
        if decision.allowed {
            return Ok(());
        }
        Err(forbidden(&self.asker.name, asked, &decision.reason))
    }

    fn may_be(&self, verb: &str, of: (&str, &str, &str), name: &str) -> Result<(), Status> {
        let (group, resource, subresource) = of;
        let version = "v1";
        let of = ResourceAttributes { group, version, resource, subresource, name, namespace: "" };
        self.may(&Attributes::of(verb, of))
    }

    /// The group of users and groups differs between the ways.
    fn group(&self) -> &'static str {
        if self.mode == Mode::Legacy { "" } else { AUTHENTICATION }
    }

    fn may_be_named(&self, verb: &str) -> Result<(), Status> {
        let mut of = ResourceAttributes {
            group: self.group(),
            version: "v1",
            resource: "users",
            name: &self.wanted.name,
            ..ResourceAttributes::default()
        };
        match (self.mode, self.wanted.node(), self.wanted.account()) {
            // The right to be one's own node is not given by the node's name.
            (Mode::AssociatedNode, _, _) => (of.resource, of.name) = ("nodes", "*"),
            (Mode::Node, Some(node), _) => (of.resource, of.name) = ("nodes", node),
            (_, _, Some((namespace, name))) => {
                (of.resource, of.namespace, of.name) = ("serviceaccounts", namespace, name);
            }
            _ => {}
        }
        self.may(&Attributes::of(verb, of))
    }

    fn may_be_grouped(&self, verb: &str) -> Result<(), Status> {
        if self.mode != Mode::Legacy {
            for bad in ["", MASTERS] {
                if self.wanted.groups.iter().any(|group| group == bad) {
                    let what = if bad.is_empty() { "empty string" } else { bad };
                    return Err(self.never(verb, "groups", bad, what));
                }
            }
        }
        let of = (self.group(), "groups", "");
        self.wanted.groups.iter().try_for_each(|group| self.may_be(verb, of, group))
    }

    fn never(&self, verb: &str, resource: &str, name: &str, what: &str) -> Status {
        let of = ResourceAttributes {
            group: AUTHENTICATION,
            version: "v1",
            resource,
            name,
            ..ResourceAttributes::default()
        };
        let why = format!("impersonating the {what} group is not allowed");
        forbidden(&self.asker.name, &Attributes::of(verb, of), &why)
    }

    fn may_have_extra(&self, verb: &str) -> Result<(), Status> {
        for (key, values) in &self.wanted.extra {
            for value in values {
                if self.mode != Mode::Legacy && (key.is_empty() || value.is_empty()) {
                    let of = ResourceAttributes {
                        group: AUTHENTICATION,
                        version: "v1",
                        resource: "userextras",
                        ..ResourceAttributes::default()
                    };
                    let what = if key.is_empty() { "key" } else { "value" };
                    let why =
                        format!("impersonating the empty string {what} in extra is not allowed");
                    return Err(forbidden(&self.asker.name, &Attributes::of(verb, of), &why));
                }
                self.may_be(verb, (AUTHENTICATION, "userextras", key), value)?;
            }
        }
        Ok(())
    }

    /// The wanted one, with the groups that follow from the name.
    fn user(&self) -> User {
        let mut groups = self.wanted.groups.clone();
        if groups.is_empty() {
            if let Some((namespace, _)) = self.wanted.account() {
                groups.extend(accounts::groups(namespace));
            } else if matches!(self.mode, Mode::Node | Mode::AssociatedNode) {
                groups.push("system:nodes".to_owned());
            }
        }
        let has = |group: &str| groups.iter().any(|known| known == group);
        let joins = if self.wanted.name == ANONYMOUS {
            (!has(UNAUTHENTICATED)).then_some(UNAUTHENTICATED)
        } else {
            (!has(UNAUTHENTICATED) && !has(AUTHENTICATED)).then_some(AUTHENTICATED)
        };
        let groups = groups.iter().map(String::as_str).chain(joins).map(Arc::from).collect();
        User {
            name: self.wanted.name.as_str().into(),
            uid: self.wanted.uid.as_str().into(),
            groups,
            extra: Arc::new(self.wanted.extra.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use quadrille_registry::access::Decision;

    use super::*;

    /// Allows what stands in a list, as `VERB RESOURCE[/SUBRESOURCE] NAME`.
    #[derive(Debug)]
    struct Only(&'static [&'static str]);

    impl Authorizer for Only {
        fn allows(&self, _: &User, asked: &Attributes<'_>) -> bool {
            let of = asked.resource.expect("resources alone are asked for");
            let sub = if of.subresource.is_empty() { "" } else { "/" };
            let asked =
                format!("{} {}{sub}{} {}", asked.verb, of.resource, of.subresource, of.name);
            self.0.contains(&asked.as_str())
        }

        fn decide(&self, user: &User, asked: &Attributes<'_>) -> Decision {
            Decision { allowed: self.allows(user, asked), reason: String::new() }
        }
    }

    fn headers(of: &[(&'static str, &'static str)]) -> HeaderMap {
        let header = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), value.parse().expect("a value"))
        };
        of.iter().map(header).collect()
    }

    fn tried(rights: &'static [&'static str], of: &[(&'static str, &'static str)]) -> String {
        let wanted = Persona::read(&headers(of)).expect("well-formed").expect("somebody");
        let pods = ResourceAttributes { resource: "pods", ..ResourceAttributes::default() };
        let asker = User::known("yan", "", &[]);
        match act(&Only(rights), &asker, &wanted, &Attributes::of("list", pods)) {
            Ok(acted) => {
                format!("{} {:?} {}", acted.user.name, acted.user.groups, acted.constraint)
            }
            Err(refused) => refused.message,
        }
    }

    #[test]
    fn every_attribute_needs_its_own_right() {
        let all = [
            ("impersonate-user", "zoe"),
            ("impersonate-group", "g"),
            ("impersonate-uid", "u"),
            ("impersonate-extra-a%2fb", "x"),
        ];
        const RIGHTS: &[&str] = &[
            "impersonate users zoe",
            "impersonate groups g",
            "impersonate uids u",
            "impersonate userextras/a/b x",
        ];
        assert_eq!(tried(RIGHTS, &all), "zoe [\"g\", \"system:authenticated\"] ");
        for rights in [&RIGHTS[..3], &RIGHTS[1..]] {
            let refused = tried(rights, &all);
            assert!(refused.contains("cannot impersonate-on:user-info:list"), "{refused}");
        }
    }

    #[test]
    fn a_constrained_right_holds_for_one_verb() {
        const RIGHTS: &[&str] =
            &["impersonate-on:user-info:list pods ", "impersonate:user-info users zoe"];
        let zoe = [("impersonate-user", "zoe")];
        let acted = tried(RIGHTS, &zoe);
        assert_eq!(acted, "zoe [\"system:authenticated\"] impersonate:user-info");
        assert!(
            tried(&RIGHTS[..1], &zoe).contains("cannot impersonate:user-info resource \"users\"")
        );
        let masters = [("impersonate-user", "zoe"), ("impersonate-group", MASTERS)];
        assert!(tried(RIGHTS, &masters).contains("system:masters group is not allowed"));
    }

    #[test]
    fn names_bring_their_groups() {
        const RIGHTS: &[&str] =
            &["impersonate serviceaccounts robot", "impersonate users system:anonymous"];
        let robot = [("impersonate-user", "system:serviceaccount:shop:robot")];
        assert_eq!(
            tried(RIGHTS, &robot),
            "system:serviceaccount:shop:robot [\"system:serviceaccounts\", \
             \"system:serviceaccounts:shop\", \"system:authenticated\"] "
        );
        let anonymous = [("impersonate-user", ANONYMOUS)];
        assert_eq!(tried(RIGHTS, &anonymous), "system:anonymous [\"system:unauthenticated\"] ");
    }
}
