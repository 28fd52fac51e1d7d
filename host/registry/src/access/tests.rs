//! The index against an evaluator that knows no index: every user, verb and resource of a generated world. Then what
//! plugins are granted, and what aggregates.

#![expect(clippy::needless_pass_by_value, reason = "test helpers take what `json!` makes")]

use std::collections::BTreeMap;

use quadrille_kit::{Random as _, SeededRandom};
use quadrille_object::{Meta, Template};
use quadrille_store::{Key, Object as Stored, Query, Revision, View};
use serde_json::{Value, json};

use super::escalate::{Grantor, check_plugin};
use super::*;
use crate::field::Object;
use crate::promptly::promptly;

/// The objects of a small world, as JSON.
#[derive(Clone, Debug, Default)]
struct World(BTreeMap<Key, Value>);

impl View for World {
    fn revision(&self) -> Revision {
        Revision(1)
    }

    fn get(&self, key: &Key) -> Option<Arc<Stored>> {
        let object = self.0.get(key)?.as_object()?;
        Some(Arc::new(Stored {
            key: key.clone(),
            revision: Revision(1),
            meta: Meta::from_object(object),
            bytes: Template::encode(object).with_revision(1),
        }))
    }

    fn list(&self, _: &Query) -> Vec<Arc<Stored>> {
        Vec::new()
    }
}

const USERS: [(&str, &[&str]); 5] = [
    ("alice", &["dev"]),
    ("bob", &["ops", "dev"]),
    ("system:serviceaccount:shop:robot", &["system:serviceaccounts"]),
    ("carol", &[]),
    ("root", &[MASTERS]),
];
const VERBS: [&str; 4] = ["get", "list", "create", "delete"];
const NAMESPACES: [&str; 3] = ["", "shop", "bank"];
const THINGS: [(&str, &str, &str); 5] = [
    ("", "pods", ""),
    ("", "pods", "log"),
    ("apps", "deployments", ""),
    ("apps", "deployments", "scale"),
    ("", "secrets", ""),
];
const NAMES: [&str; 3] = ["", "a", "b"];
const PATHS: [&str; 3] = ["/healthz", "/healthz/etcd", "/metrics"];

struct Dice(SeededRandom);

impl Dice {
    fn pick<'a, T: ?Sized>(&self, of: &[&'a T]) -> &'a T {
        of[usize::try_from(self.0.below(of.len() as u64)).expect("small")]
    }

    fn chance(&self, percent: u64) -> bool {
        self.0.below(100) < percent
    }

    fn rule(&self, cluster: bool) -> Value {
        let verb = self.pick(&["get", "list", "create", "delete", "*"]);
        if cluster && self.chance(25) {
            return json!({"verbs": [verb], "nonResourceURLs": [self.pick(&["/healthz", "/healthz*", "*"])]});
        }
        let resources = ["pods", "pods/log", "*/scale", "deployments", "secrets", "*"];
        let names: Vec<&str> = if self.chance(30) { vec![self.pick(&["a", "b"])] } else { vec![] };
        json!({
            "verbs": [verb, self.pick(&VERBS)], "apiGroups": [self.pick(&["", "apps", "*"])],
            "resources": [self.pick(&resources), self.pick(&resources)], "resourceNames": names,
        })
    }

    fn subject(&self) -> Value {
        match self.0.below(4) {
            0 => json!({"kind": "User", "name": self.pick(&["alice", "bob", "carol"])}),
            1 => json!({"kind": "Group", "name": self.pick(&["dev", "ops"])}),
            2 => json!({"kind": "ServiceAccount", "name": "robot", "namespace": "shop"}),
            _ => json!({"kind": "ServiceAccount", "name": "robot"}),
        }
    }

    fn world(&self) -> World {
        let mut world = World::default();
        let mut put = |resource: &str, namespace: &str, name: &str, mut object: Value| {
            object["metadata"] = json!({"name": name, "namespace": namespace});
            let key = Key::new(GroupResource::new(GROUP, resource), namespace, name);
            world.0.insert(key, object);
        };
        for role in ["r1", "r2"] {
            let rules = |cluster| json!({"rules": [self.rule(cluster), self.rule(cluster)]});
            put("clusterroles", "", role, rules(true));
            for namespace in ["shop", "bank"] {
                put("roles", namespace, role, rules(false));
            }
        }
        for binding in ["b1", "b2", "b3"] {
            let made = |kind: &str| {
                json!({
                    "subjects": [self.subject(), self.subject()],
                    "roleRef": {"kind": kind, "name": self.pick(&["r1", "r2", "missing"])},
                })
            };
            if self.chance(60) {
                put("clusterrolebindings", "", binding, made("ClusterRole"));
            }
            for namespace in ["shop", "bank"] {
                put("rolebindings", namespace, binding, made(self.pick(&["Role", "ClusterRole"])));
            }
        }
        world
    }
}

/// The definition of RBAC, read off the objects for each question.
fn evaluate(world: &World, user: &User, asked: &Attributes<'_>) -> bool {
    let place = asked.resource.map_or("", |of| of.namespace);
    user.is_in(MASTERS)
        || world.0.iter().any(|(key, binding)| {
            let here = match &*key.resource.resource {
                "clusterrolebindings" => true,
                "rolebindings" => !place.is_empty() && *key.namespace == *place,
                _ => false,
            };
            let bound = binding["subjects"].as_array().into_iter().flatten().any(|subject| {
                let name = subject["name"].as_str().expect("a name");
                let of = subject["namespace"].as_str().unwrap_or(&key.namespace);
                match subject["kind"].as_str().expect("a kind") {
                    "User" => *user.name == *name,
                    "Group" => user.is_in(name),
                    _ => {
                        !of.is_empty() && *user.name == format!("system:serviceaccount:{of}:{name}")
                    }
                }
            });
            let role = &binding["roleRef"];
            let (resource, namespace) = match role["kind"].as_str() {
                Some("Role") => ("roles", &*key.namespace),
                _ => ("clusterroles", ""),
            };
            let name = role["name"].as_str().unwrap_or_default();
            let role = Key::new(GroupResource::new(GROUP, resource), namespace, name);
            let rules = world.0.get(&role).and_then(|role| role["rules"].as_array());
            here && bound && rules.into_iter().flatten().any(|rule| rule_allows(rule, asked))
        })
}

fn rule_allows(rule: &Value, asked: &Attributes<'_>) -> bool {
    let any = |field: &str, fits: &dyn Fn(&str) -> bool| {
        rule[field]
            .as_array()
            .is_some_and(|list| list.iter().any(|i| fits(i.as_str().expect("text"))))
    };
    if !any("verbs", &|verb| verb == "*" || verb == asked.verb) {
        return false;
    }
    let Some(of) = asked.resource else {
        return any("nonResourceURLs", &|url| match url.strip_suffix('*') {
            Some(start) => asked.path.starts_with(start),
            None => url == asked.path,
        });
    };
    let whole = if of.subresource.is_empty() {
        of.resource.to_owned()
    } else {
        format!("{}/{}", of.resource, of.subresource)
    };
    let everywhere = format!("*/{}", of.subresource);
    any("apiGroups", &|group| group == "*" || group == of.group)
        && any("resources", &|resource| {
            resource == "*"
                || resource == whole
                || (!of.subresource.is_empty() && resource == everywhere)
        })
        && (rule["resourceNames"].as_array().is_none_or(Vec::is_empty)
            || any("resourceNames", &|name| name == of.name))
}

fn check(access: &Access, world: &World, seed: u64) {
    for (name, groups) in USERS {
        let user = User::known(name, "", groups);
        for verb in VERBS {
            for path in PATHS {
                let asked = Attributes { verb, path, resource: None };
                let wanted = evaluate(world, &user, &asked);
                assert_eq!(access.allows(user.asker(), &asked), wanted, "{seed}: {name} {asked:?}");
            }
            for namespace in NAMESPACES {
                for (group, resource, subresource) in THINGS {
                    for of_name in NAMES {
                        let of = ResourceAttributes {
                            group,
                            version: "v1",
                            resource,
                            subresource,
                            namespace,
                            name: of_name,
                        };
                        let asked = Attributes::of(verb, of);
                        let wanted = evaluate(world, &user, &asked);
                        let decision = access.decide(user.asker(), &asked);
                        assert_eq!(decision.allowed, wanted, "{seed}: {name} {asked:?}");
                        assert_eq!(access.allows(user.asker(), &asked), wanted);
                    }
                }
            }
        }
    }
}

#[test]
fn every_decision_is_that_of_the_definition() {
    for seed in 0..24 {
        let dice = Dice(SeededRandom::new(seed));
        let access = Access::default();
        let (first, second) = (dice.world(), dice.world());
        access.follow(first.0.keys(), || first.clone());
        check(&access, &first, seed);
        // One object after the other turns into that of another world, or goes.
        let mut world = first.clone();
        let mut keys: Vec<Key> = first.0.keys().chain(second.0.keys()).cloned().collect();
        keys.dedup();
        for (turn, key) in keys.iter().enumerate() {
            match second.0.get(key) {
                Some(object) => world.0.insert(key.clone(), object.clone()),
                None => world.0.remove(key),
            };
            access.follow([key], || world.clone());
            if turn % 7 == 0 {
                check(&access, &world, seed);
            }
        }
        check(&access, &second, seed);
    }
}

#[test]
fn a_role_that_many_bindings_give_counts_once() {
    let mut world = World::default();
    let mut put = |resource: &str, namespace: &str, name: &str, object: Value| {
        world.0.insert(Key::new(GroupResource::new(GROUP, resource), namespace, name), object);
    };
    let rule = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]});
    put("clusterroles", "", "r", json!({"metadata": {"name": "r"}, "rules": [rule]}));
    for n in 0..50 {
        let subjects = json!([{"kind": "User", "name": "alice"}, {"kind": "Group", "name": "dev"}]);
        let role = json!({"kind": "ClusterRole", "name": "r"});
        let binding = json!({"metadata": {"name": "b"}, "subjects": subjects, "roleRef": role});
        put("rolebindings", "shop", &format!("b{n}"), binding);
    }
    let access = Access::default();
    access.follow(world.0.keys(), || world.clone());
    let alice = User::known("alice", "", &["dev"]);
    assert_eq!(access.rules_of(alice.asker(), "shop").rules.len(), 1);
}

#[test]
fn nothing_is_kept_of_what_is_gone() {
    let dice = Dice(SeededRandom::new(99));
    let world = dice.world();
    let access = Access::default();
    access.follow(world.0.keys(), || world.clone());
    access.follow(world.0.keys(), World::default);
    let books = access.books.lock().expect("not poisoned");
    assert!(books.roles.is_empty(), "{:?}", books.roles.keys());
    let index = access.index.load();
    assert!(index.namespaces.is_empty() && index.cluster.users.is_empty());
}

#[test]
fn a_refusal_says_who_cannot_do_what_where() {
    let of = ResourceAttributes {
        group: "apps",
        version: "v1",
        resource: "deployments",
        subresource: "scale",
        namespace: "shop",
        name: "web",
    };
    let status = forbidden("alice", &Attributes::of("get", of), "RBAC: nothing");
    assert_eq!(
        status.message,
        "deployments.apps \"web\" is forbidden: User \"alice\" cannot get resource \
         \"deployments/scale\" in API group \"apps\" in the namespace \"shop\": RBAC: nothing"
    );
}

/// A world where `alice` may edit in some namespaces, by one role, and in `own` by another.
fn edited(namespaces: &[&str]) -> World {
    let mut world = World::default();
    let mut put = |resource: &str, namespace: &str, name: &str, mut object: Value| {
        object["metadata"] = json!({"name": name, "namespace": namespace});
        world.0.insert(Key::new(GroupResource::new(GROUP, resource), namespace, name), object);
    };
    let rules = |verb: &str| json!({"rules": [{"verbs": [verb], "apiGroups": [""], "resources": ["configmaps"]}]});
    put("clusterroles", "", "edit", rules("*"));
    put("clusterroles", "", "view", rules("get"));
    put("roles", "own", "edit", rules("*"));
    let bound = |kind: &str, name: &str| {
        let role = json!({"kind": kind, "name": name});
        json!({"subjects": [{"kind": "User", "name": "alice"}], "roleRef": role})
    };
    put("clusterrolebindings", "", "view", bound("ClusterRole", "view"));
    put("rolebindings", "own", "edit", bound("Role", "edit"));
    for namespace in namespaces {
        put("rolebindings", namespace, "edit", bound("ClusterRole", "edit"));
    }
    world
}

/// What is said to somebody who creates a plugin with these grants; nothing when they may.
fn refusal(world: &World, user: &User, grants: Value) -> String {
    let access = Access::default();
    access.follow(world.0.keys(), || world.clone());
    let is_run = user.name.starts_with("system:plugin:");
    let groups = if is_run { Arc::default() } else { Arc::clone(&user.groups) };
    let actor = Actor { user: Arc::clone(&user.name), groups, ..Actor::default() };
    let resource = GroupResource::new("quadrille.dev", "plugins");
    let by = Grantor {
        actor: &actor,
        view: world,
        resource: &resource,
        namespace: "",
        path_name: "",
        name: "p",
    };
    let plugin: Object = [("spec".to_owned(), json!({"grants": grants}))].into_iter().collect();
    promptly(|| check_plugin(&access, by, &plugin, None))
        .err()
        .map_or_else(String::new, |e| e.message)
}

#[test]
fn nobody_says_in_a_plugins_status_that_it_had_what_they_do_not_have() {
    let world = edited(&[]);
    let access = Access::default();
    access.follow(world.0.keys(), || world.clone());
    let resource = GroupResource::new("quadrille.dev", "plugins");
    let plugin =
        |status: Value| -> Object { [("status".to_owned(), status)].into_iter().collect() };
    let says = |user: &str, status: Value| {
        let groups = Arc::from([Arc::from("system:authenticated")]);
        let actor = Actor { user: user.into(), groups, ..Actor::default() };
        let by = Grantor {
            actor: &actor,
            view: &world,
            resource: &resource,
            namespace: "",
            path_name: "",
            name: "p",
        };
        check_plugin(&access, by, &plugin(status), Some(&plugin(json!({})))).is_ok()
    };
    let all = |verb: &str| json!([grant([verb], json!([]))]);
    for field in ["grantsGiven", "grantsEnding"] {
        assert!(says("alice", json!({field: all("get")})), "it is hers");
        assert!(!says("alice", json!({field: all("delete")})), "{field}");
        assert!(!says("bob", json!({field: all("get")})), "{field}");
    }
    assert!(says("bob", json!({"phase": "Active"})));
}

fn grant(verbs: impl Into<Value>, namespaces: impl Into<Value>) -> Value {
    json!({"resource": "configmaps", "verbs": verbs.into(), "namespaces": namespaces.into()})
}

fn texts(of: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{of}{n}")).collect()
}

#[test]
fn a_plugin_is_granted_in_each_namespace_what_its_author_has_there() {
    let alice = User::known("alice", "", &[]);
    let world = edited(&["bank", "shop"]);
    let run = User { name: "system:plugin:parent".into(), ..User::default() };
    let mut with_parent = edited(&[]);
    let parent = json!({"metadata": {"name": "parent"}, "spec": {"grants": [
        grant(vec!["get"], Vec::<Value>::new()), grant(vec!["list", "patch"], vec!["bank", "own", "shop"])]}});
    let key = Key::new(GroupResource::new("quadrille.dev", "plugins"), "", "parent");
    with_parent.0.insert(key, parent);
    for (world, user) in [(&world, &alice), (&with_parent, &run)] {
        let refusal = |grants: Vec<Value>| refusal(world, user, grants.into());
        assert_eq!(refusal(vec![grant(vec!["list", "patch"], vec!["bank", "own", "shop"])]), "");
        assert_eq!(refusal(vec![grant(vec!["get"], Vec::<Value>::new())]), "");
        assert_eq!(
            refusal(vec![grant(vec!["get"], vec!["elsewhere"]), grant(vec!["list"], vec!["own"])]),
            ""
        );
        let lacks = "Resources:[\"configmaps\"], Verbs:[\"list\"]}";
        for namespaces in [vec![], vec!["bank", "other"], vec!["zoo"]] {
            let told = refusal(vec![grant(vec!["get", "list"], namespaces.clone())]);
            assert!(told.ends_with(lacks), "{namespaces:?}: {told}");
        }
        let told =
            refusal(vec![grant(vec!["get"], vec!["zoo"]), grant(vec!["list"], vec!["own", "zoo"])]);
        assert!(told.ends_with(lacks), "two grants in one: {told}");
    }
}

#[test]
fn a_plugin_with_very_many_verbs_or_namespaces_is_refused_promptly() {
    let (alice, world) = (User::known("alice", "", &[]), edited(&["shop"]));
    let many = [
        vec![grant(texts("v", 90_000), texts("n", 100_000))],
        vec![grant(vec!["get"], texts("n", 300_000))],
        vec![grant(texts("v", 300_000), vec!["shop"])],
        vec![grant(vec!["get"], vec!["shop"]); 10_000],
    ];
    for grants in many {
        let told = refusal(&world, &alice, grants.into());
        assert!(
            told.ends_with("it has too many rules to compare with those of its author"),
            "{told}"
        );
    }
}

#[test]
fn what_a_plugin_may_have_is_compared_promptly() {
    // As many as there may be, where the author has the same in all.
    let grants = vec![grant(vec!["get"; 64], texts("n", 4_096)); 100];
    assert_eq!(refusal(&edited(&[]), &User::known("alice", "", &[]), grants.into()), "");
    // Where the author has something else in each, there is an end to it.
    let namespaces = texts("n", 2_000);
    let names: Vec<&str> = namespaces.iter().map(String::as_str).collect();
    let mut world = edited(&names);
    for name in &names {
        let binding =
            world.0.get_mut(&Key::new(GroupResource::new(GROUP, "rolebindings"), *name, "edit"));
        binding.expect("bound")["roleRef"] = json!({"kind": "ClusterRole", "name": name});
    }
    let grants = vec![grant(vec!["get"; 60], namespaces.clone())];
    let told = refusal(&world, &User::known("alice", "", &[]), grants.into());
    assert!(told.ends_with("it has too many rules to compare with those of its author"), "{told}");
}

#[test]
fn roles_with_very_many_rules_are_aggregated_promptly() {
    let mut world = World::default();
    let mut put = |name: &str, mut object: Value| {
        object["metadata"] = json!({"name": name, "labels": {"sums": "up"}});
        world.0.insert(Key::new(GroupResource::new(GROUP, "clusterroles"), "", name), object);
    };
    let rule = |name: String| json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": [name]});
    for of in ["a", "b"] {
        let mut rules: Vec<Value> = texts(of, 20_000).into_iter().map(rule).collect();
        rules.push(rule("both".to_owned()));
        put(of, json!({"rules": rules}));
    }
    let selector = json!({"matchLabels": {"sums": "up"}});
    put(
        "sum",
        json!({"aggregationRule": {"clusterRoleSelectors": [selector, selector]}, "rules": []}),
    );
    let access = Access::default();
    access.follow(world.0.keys(), || world.clone());
    let stale = promptly(|| access.stale());
    assert_eq!(stale.len(), 1);
    assert_eq!(stale[0].1.len(), 40_001, "what both have, once");
    let (of_a, of_b) = (&stale[0].1[0], &stale[0].1[20_001]);
    assert_eq!((&*of_a.resource_names[0], &*of_b.resource_names[0]), ("a0", "b0"), "in order");
}
