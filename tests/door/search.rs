//! A search for escalation: users with odd rights make every call that they are allowed to, in random order, and nobody may
//! end up with a right that neither they nor those users had.
//!
//! What a user has is worked out here from the roles and bindings as they are stored, over a small world of rights, and not
//! asked of the host. The search must find the way when there is one: with `escalate` it does.

use std::collections::{BTreeMap, BTreeSet};

use quadrille_tests::{Client, guest};
use serde_json::{Value, json};

use crate::{Target, is_full};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const API: &str = "rbac.authorization.k8s.io";
/// The users who try, and those who only have.
const TRYING: [&str; 3] = ["eve", "mallory", "trudy"];
const HAVING: [&str; 2] = ["alice", "bob"];
const PLACES: [&str; 3] = ["", "n1", "n2"];
/// What roles are about: group and resource.
const THINGS: [(&str, &str); 8] = [
    ("", "configmaps"),
    ("", "secrets"),
    ("", "serviceaccounts/token"),
    (API, "roles"),
    (API, "rolebindings"),
    (API, "clusterroles"),
    (API, "clusterrolebindings"),
    ("quadrille.dev", "plugins"),
];
const VERBS: [&str; 5] = ["get", "create", "update", "patch", "delete"];

/// A right: verb, group, resource, name (`*` for all), place (empty for all).
type Right = (&'static str, &'static str, &'static str, &'static str, &'static str);
type Rights = BTreeSet<Right>;

/// Chance by a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(bound).expect("small"))
            .expect("small")
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    fn often(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn some<T: Copy>(&mut self, list: &[T], most: usize) -> Vec<T> {
        (0..=self.below(most)).map(|_| self.of(list)).collect()
    }
}

/// The rules of a role at random; the namespaced ones name what is in namespaces.
fn rules(chance: &mut Chance) -> Value {
    let rule = |chance: &mut Chance| {
        let things = chance.some(&THINGS, 2);
        let mut groups: Vec<&str> = things.iter().map(|(group, _)| *group).collect();
        let mut resources: Vec<&str> = things.iter().map(|(_, resource)| *resource).collect();
        let mut verbs = chance.some(&VERBS, 3);
        // All verbs are `escalate` and `bind`, too, where something can be granted.
        let is_core = groups.iter().all(|group| group.is_empty());
        if is_core && chance.often(20) {
            verbs = vec!["*"];
        }
        if !verbs.contains(&"*") && chance.often(8) {
            groups = vec!["*"];
        }
        if chance.often(8) {
            resources = vec!["*"];
        }
        let mut rule = json!({"apiGroups": groups, "resources": resources, "verbs": verbs});
        if chance.often(15) {
            rule["resourceNames"] = json!(["r1"]);
        }
        rule
    };
    (0..=chance.below(2)).map(|_| rule(chance)).collect()
}

fn role_ref(kind: &str, name: &str) -> Value {
    json!({"apiGroup": API, "kind": kind, "name": name})
}

/// A subject at random: one of the users, or a service account.
fn subject(chance: &mut Chance) -> Value {
    match chance.below(4) {
        0 => {
            json!({"kind": "ServiceAccount", "name": "robot", "namespace": chance.of(&PLACES[1..])})
        }
        1 => json!({"kind": "User", "apiGroup": API, "name": chance.of(&HAVING)}),
        _ => json!({"kind": "User", "apiGroup": API, "name": chance.of(&TRYING)}),
    }
}

/// What the rules of a role allow in a place, out of the small world.
fn allowed(rules: &Value, place: &'static str, out: &mut Rights) {
    let has = |rule: &Value, field: &str, wanted: &str| {
        rule[field].as_array().is_some_and(|list| list.iter().any(|of| of == wanted || of == "*"))
    };
    for rule in rules.as_array().into_iter().flatten() {
        for (group, resource) in THINGS {
            for verb in VERBS.into_iter().chain(["escalate", "bind"]) {
                if has(rule, "verbs", verb)
                    && has(rule, "apiGroups", group)
                    && has(rule, "resources", resource)
                {
                    let named =
                        rule["resourceNames"].as_array().is_some_and(|names| !names.is_empty());
                    out.insert((verb, group, resource, "r1", place));
                    if !named {
                        out.insert((verb, group, resource, "*", place));
                    }
                }
            }
        }
    }
}

/// What everybody has, by what is stored; rights everywhere are rights in each place.
fn everybody(admin: &Client) -> BTreeMap<String, Rights> {
    let mut all: BTreeMap<String, Rights> = BTreeMap::new();
    let items = |path: &str| admin.items(path).expect("a list");
    let named = |list: &[Value], place: &str, name: &str| {
        let is = |of: &&Value| {
            of["metadata"]["name"] == name
                && (place.is_empty() || of["metadata"]["namespace"] == place)
        };
        list.iter().find(is).map(|role| role["rules"].clone()).unwrap_or_default()
    };
    let (cluster, local) =
        (items(&format!("{RBAC}/clusterroles")), items(&format!("{RBAC}/roles")));
    let mut give = |binding: &Value, places: &[&'static str]| {
        let (kind, name) =
            (&binding["roleRef"]["kind"], binding["roleRef"]["name"].as_str().expect("text"));
        let own = binding["metadata"]["namespace"].as_str().unwrap_or_default();
        let rules =
            if kind == "Role" { named(&local, own, name) } else { named(&cluster, "", name) };
        for subject in binding["subjects"].as_array().into_iter().flatten() {
            let name = subject["name"].as_str().expect("text");
            let user = match subject["namespace"].as_str() {
                Some(namespace) => format!("system:serviceaccount:{namespace}:{name}"),
                None => name.to_owned(),
            };
            let rights = all.entry(user).or_default();
            for place in places {
                allowed(&rules, place, rights);
            }
        }
    };
    for binding in items(&format!("{RBAC}/clusterrolebindings")) {
        give(&binding, &PLACES);
    }
    for binding in items(&format!("{RBAC}/rolebindings")) {
        let place = PLACES.into_iter().find(|place| binding["metadata"]["namespace"] == *place);
        give(&binding, place.as_slice());
    }
    all
}

/// One world: a host of its own, its users, what was made at the beginning.
struct World {
    target: Target,
    trying: Vec<Client>,
    component: Vec<u8>,
    calls: usize,
    allowed: usize,
}

impl World {
    fn start() -> Self {
        let users = tempfile::NamedTempFile::new().expect("a file");
        let lines: Vec<String> =
            TRYING.iter().map(|name| format!("t-{name},{name},{name}")).collect();
        std::fs::write(users.path(), lines.join("\n")).expect("written");
        let file = users.path().display().to_string();
        let target = Target::start(&["--token-auth-file", &file]);
        let ca = target.host.dir().join("ca.crt");
        let client = |name: &&str| {
            Client::new(&target.host.url, &ca, Some(&format!("t-{name}"))).expect("a client")
        };
        let trying = TRYING.iter().map(client).collect();
        let component = std::fs::read(guest("hello")).expect("a component");
        let mut world = Self { target, trying, component, calls: 0, allowed: 0 };
        for name in &PLACES[1..] {
            world.make("/api/v1/namespaces", &json!({"metadata": {"name": name}}));
            let accounts = format!("/api/v1/namespaces/{name}/serviceaccounts");
            world.make(&accounts, &json!({"metadata": {"name": "robot"}}));
        }
        world
    }

    fn make(&mut self, path: &str, object: &Value) {
        let answer = self.target.admin.post(path, object).expect("answered");
        assert!(answer.code == 201 || answer.code == 409, "{path}: {}", answer.body);
    }

    /// Roles and bindings at random, by the admin; `more` is a rule that the first of those who try has everywhere.
    fn populate(&mut self, chance: &mut Chance, round: usize, more: Option<&Value>) {
        for (number, place) in PLACES.iter().enumerate() {
            for of in 0..2 {
                let metadata = json!({"name": format!("r{of}-{round}")});
                let role = json!({"metadata": metadata, "rules": rules(chance)});
                if number == 0 {
                    self.make(&format!("{RBAC}/clusterroles"), &role);
                } else {
                    self.make(&format!("{RBAC}/namespaces/{place}/roles"), &role);
                }
            }
        }
        for who in TRYING.iter().chain(&HAVING) {
            for of in 0..2 {
                let place = chance.of(&PLACES);
                let name = format!("b-{who}-{of}-{round}");
                let kind =
                    if place.is_empty() || chance.often(50) { "ClusterRole" } else { "Role" };
                let subjects = json!([{"kind": "User", "apiGroup": API, "name": who}]);
                let binding = json!({"metadata": {"name": name}, "subjects": subjects,
                    "roleRef": role_ref(kind, &format!("r{of}-{round}"))});
                self.make(&bindings(place), &binding);
            }
        }
        // Whoever tries may at least try: to write roles and bindings, in one place or everywhere.
        let mut base =
            vec![json!({"apiGroups": [API, "quadrille.dev"], "resources": ["*"], "verbs": VERBS})];
        base.extend(more.cloned());
        self.make(
            &format!("{RBAC}/clusterroles"),
            &json!({"metadata": {"name": format!("base-{round}")}, "rules": base}),
        );
        let subjects = json!([{"kind": "User", "apiGroup": API, "name": TRYING[0]}]);
        let binding = json!({"metadata": {"name": format!("base-{round}")}, "subjects": subjects, "roleRef": role_ref("ClusterRole", &format!("base-{round}"))});
        self.make(&bindings(""), &binding);
    }

    fn clean(&self) {
        for place in PLACES {
            for resource in ["rolebindings", "roles"] {
                if !place.is_empty() {
                    self.target
                        .admin
                        .delete(&format!("{RBAC}/namespaces/{place}/{resource}"))
                        .expect("answered");
                }
            }
        }
        for resource in ["clusterrolebindings", "clusterroles"] {
            for item in self.target.admin.items(&format!("{RBAC}/{resource}")).expect("a list") {
                let name = item["metadata"]["name"].as_str().expect("text");
                if item["metadata"]["labels"]["kubernetes.io/bootstrapping"].is_null() {
                    self.target
                        .admin
                        .delete(&format!("{RBAC}/{resource}/{name}"))
                        .expect("answered");
                }
            }
        }
        for item in self.target.admin.items("/apis/quadrille.dev/v1/plugins").expect("a list") {
            let name = item["metadata"]["name"].as_str().expect("text");
            self.target
                .admin
                .delete(&format!("/apis/quadrille.dev/v1/plugins/{name}"))
                .expect("answered");
        }
    }

    /// A call at random by somebody who tries.
    fn try_something(&mut self, chance: &mut Chance, round: usize) {
        let who = chance.below(self.trying.len());
        let place = chance.of(&PLACES);
        let own = format!("r{}-{round}", chance.below(3));
        let (code, told) = {
            let client = &self.trying[who];
            let role = json!({"metadata": {"name": own}, "rules": rules(chance)});
            let roles = if place.is_empty() {
                format!("{RBAC}/clusterroles")
            } else {
                format!("{RBAC}/namespaces/{place}/roles")
            };
            let answer = match chance.below(10) {
                0 | 1 => client.post(&roles, &role),
                2 => client.send("PUT", &format!("{roles}/{own}"), "application/json", role.to_string().as_bytes()),
                3 => client.merge(&format!("{roles}/{own}"), &json!({"rules": rules(chance)})),
                4 => client.send("PATCH", &format!("{roles}/{own}?fieldManager=x&force=true"), "application/apply-patch+yaml",
                    json!({"apiVersion": format!("{API}/v1"), "kind": if place.is_empty() { "ClusterRole" } else { "Role" }, "metadata": {"name": own}, "rules": rules(chance)}).to_string().as_bytes()),
                5 | 6 => {
                    let kind = if place.is_empty() || chance.often(50) { "ClusterRole" } else { "Role" };
                    let name = if chance.often(20) { "cluster-admin".to_owned() } else { format!("r{}-{round}", chance.below(2)) };
                    let binding = json!({"metadata": {"generateName": "t-"}, "subjects": [subject(chance)], "roleRef": role_ref(kind, &name)});
                    client.post(&bindings(place), &binding)
                }
                7 => {
                    // A binding that is there gets another subject.
                    let name = format!("b-{}-{}-{round}", chance.of(&HAVING), chance.below(2));
                    client.merge(&format!("{}/{name}", bindings(place)), &json!({"subjects": [subject(chance)]}))
                }
                8 => {
                    let labels = json!({"rbac.authorization.k8s.io/aggregate-to-admin": "true"});
                    let label = json!({"metadata": {"labels": labels}});
                    let aggregated = json!({"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {}}]}});
                    let change = if chance.often(50) { label } else { aggregated };
                    client.merge(&format!("{RBAC}/clusterroles/{own}"), &change)
                }
                _ => client.send("PUT", &format!("/apis/quadrille.dev/v1/plugins/p{round}/component?grant=all"), "application/wasm", &self.component),
            };
            let answer = answer.expect("answered");
            (answer.code, answer.body)
        };
        assert!(code < 500, "{told}");
        self.calls += 1;
        self.allowed += usize::from(code < 300);
    }

    /// What somebody has now that neither they nor those who try had; what plugins are granted is somebody's too.
    fn gained(&self, before: &BTreeMap<String, Rights>) -> Vec<String> {
        let tried: Rights =
            TRYING.iter().filter_map(|name| before.get(*name)).flatten().copied().collect();
        let mut gained = Vec::new();
        for (user, rights) in everybody(&self.target.admin) {
            let own = before.get(&user);
            let new = rights.iter().filter(|right| {
                !tried.contains(*right) && !own.is_some_and(|own| own.contains(*right))
            });
            gained.extend(new.map(|right| format!("{user}: {right:?}")));
        }
        for plugin in self.target.admin.items("/apis/quadrille.dev/v1/plugins").expect("a list") {
            for grant in plugin["spec"]["grants"].as_array().into_iter().flatten() {
                let rules = json!([{"apiGroups": [grant["group"]], "resources": [grant["resource"]], "verbs": grant["verbs"]}]);
                let mut rights = Rights::new();
                allowed(&rules, "", &mut rights);
                gained.extend(
                    rights
                        .difference(&tried)
                        .map(|right| format!("{}: {right:?}", plugin["metadata"]["name"])),
                );
            }
        }
        gained
    }

    fn round(&mut self, seed: u64, round: usize, more: Option<&Value>) -> Vec<String> {
        let mut chance = Chance(seed);
        self.populate(&mut chance, round, more);
        let before = everybody(&self.target.admin);
        for _ in 0..40 {
            self.try_something(&mut chance, round);
        }
        let gained = self.gained(&before);
        self.clean();
        gained
    }
}

fn bindings(place: &str) -> String {
    if place.is_empty() {
        return format!("{RBAC}/clusterrolebindings");
    }
    format!("{RBAC}/namespaces/{place}/rolebindings")
}

#[test]
fn no_sequence_of_allowed_calls_yields_a_right_that_nobody_gave() {
    let mut world = World::start();
    let rounds = if is_full() { 200 } else { 12 };
    let first =
        std::env::var("QUADRILLE_DOOR_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    for round in 0..rounds {
        let seed = first + u64::try_from(round).expect("small");
        let gained = world.round(seed, round, None);
        assert!(gained.is_empty(), "QUADRILLE_DOOR_SEED={seed}: {}", gained.join("\n"));
    }
    eprintln!(
        "{rounds} sequences, {} calls, {} of them allowed, 0 rights gained",
        world.calls, world.allowed
    );
    assert!(world.allowed * 20 > world.calls, "hardly anything was allowed");
    // The same search finds the way that `escalate` opens.
    let escalate = json!({"apiGroups": [API], "resources": ["*"], "verbs": ["escalate", "bind"]});
    let found = (0..5).any(|round| {
        !world
            .round(900 + round, 5_000 + usize::try_from(round).expect("small"), Some(&escalate))
            .is_empty()
    });
    assert!(found, "the search does not see an escalation where there is one");
    world.target.assert_unharmed(256 << 20);
}

#[test]
fn a_plugin_gets_no_more_than_whoever_loads_it_has() {
    let users = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(users.path(), "t-loader,loader,1\n").expect("written");
    let file = users.path().display().to_string();
    let target = Target::start(&["--token-auth-file", &file]);
    let component = guest("hello");
    let asked = target.admin.load("asked", &component).expect("it loads")["spec"]["grants"].clone();
    let all = asked.as_array().expect("grants").clone();
    let give = |name: &str, rules: &Value| {
        let metadata = json!({"name": name});
        let made = target
            .admin
            .post(&format!("{RBAC}/clusterroles"), &json!({"metadata": metadata, "rules": rules}));
        assert_eq!(made.expect("answered").code, 201);
        let subjects = json!([{"kind": "User", "apiGroup": API, "name": "loader"}]);
        let binding = json!({"metadata": metadata, "subjects": subjects, "roleRef": role_ref("ClusterRole", name)});
        assert_eq!(target.admin.post(&bindings(""), &binding).expect("answered").code, 201);
    };
    give(
        "loads",
        &json!([{"apiGroups": ["quadrille.dev"], "resources": ["plugins", "plugins/component"], "verbs": VERBS}]),
    );
    let ca = target.host.dir().join("ca.crt");
    let loader = Client::new(&target.host.url, &ca, Some("t-loader")).expect("a client");
    let upload = |plugin: &str| {
        loader.upload(plugin, &std::fs::read(&component).expect("bytes")).expect("answered")
    };
    let is_refused = |word: &str| {
        let refused = upload("own");
        let message = refused.body["message"].as_str().unwrap_or_default();
        assert!(refused.code == 403 && message.contains(word), "{}", refused.body);
    };
    // The component brings a definition, which is not for everybody to make.
    is_refused("customresourcedefinitions");
    give(
        "defines",
        &json!([{"apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"], "verbs": ["create", "patch"]}]),
    );
    is_refused("not currently held");
    // What somebody else has granted is not to be used by other code, or with other settings.
    let other = "/apis/quadrille.dev/v1/plugins/asked";
    for change in [
        json!({"digest": format!("sha256:{}", "0".repeat(64))}),
        json!({"config": {"a": "b"}}),
        json!({"grants": [{"group": "", "resource": "secrets", "verbs": ["get"]}]}),
    ] {
        assert_eq!(
            loader.merge(other, &json!({"spec": change})).expect("answered").code,
            403,
            "{change}"
        );
    }
    for change in [
        json!({"spec": {"suspended": true}}),
        json!({"metadata": {"labels": {"a": "b"}}}),
        json!({"spec": {"grants": []}}),
    ] {
        assert_eq!(loader.merge(other, &change).expect("answered").code, 200, "{change}");
    }
    // With exactly what is asked for, and no more, it loads.
    let rules: Vec<Value> = all
        .iter()
        .map(|grant| json!({"apiGroups": [grant["group"]], "resources": [grant["resource"]], "verbs": grant["verbs"]}))
        .collect();
    give("has", &rules.into());
    let loaded = upload("own");
    assert_eq!(loaded.code, 200, "{}", loaded.body);
    target.assert_unharmed(256 << 20);
}
