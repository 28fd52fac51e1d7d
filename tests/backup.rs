//! The real binary: backups while it serves, a damaged store that is refused with what to do about it, repaired and put back.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use quadrille_tests::{Client, TestHost, eventually};
use serde_json::{Value, json};

const HOST: &str = env!("CARGO_BIN_EXE_quadrille");
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn put(client: &Client, name: &str, n: u64) {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
        "data": {"n": n.to_string()}});
    let path = format!("{MAPS}/{name}?fieldManager=test&force=true");
    let body = serde_json::to_vec(&map).expect("JSON");
    let answer = client.send("PATCH", &path, "application/apply-patch+yaml", &body);
    let answer = answer.expect("answered");
    assert!(answer.code < 300, "{}: {}", answer.code, answer.body);
}

/// All `ConfigMaps` of the default namespace, and the revision of the list.
fn maps(client: &Client) -> (Vec<Value>, u64) {
    let list = client.get(MAPS).expect("answered").body;
    let revision = list["metadata"]["resourceVersion"].as_str().expect("a revision");
    (list["items"].as_array().expect("items").clone(), revision.parse().expect("a number"))
}

/// Runs a command of the binary; its exit code, stdout and stderr.
fn quadrille(args: &[&str]) -> (i32, String, String) {
    let output = Command::new(HOST).args(args).output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn a_backup_of_a_host_under_load_is_one_revision_and_watches_do_not_travel_back() {
    let mut host = TestHost::start(HOST).expect("the host starts");
    let client = host.client().expect("a client");
    for n in 0..50 {
        put(&client, &format!("map-{n}"), 0);
    }
    let dir = tempfile::tempdir().expect("a directory");
    let ended = AtomicBool::new(false);
    let backups: Vec<(String, Value)> = std::thread::scope(|scope| {
        // Every transaction is one object, so a list at the backup's revision is what it has to hold.
        scope.spawn(|| {
            for n in 1.. {
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                put(&client, &format!("map-{}", n % 50), n);
            }
        });
        let taken = (0..5).map(|n| {
            let file = dir.path().join(format!("backup-{n}"));
            let told = host.cli(&["backup", path(&file), "-o", "json"]).expect("a backup");
            let told: Value = serde_json::from_str(&told).expect("JSON");
            let revision = told["revision"].as_str().expect("a revision").to_owned();
            let exact = format!("{MAPS}?resourceVersion={revision}&resourceVersionMatch=Exact");
            let list = client.get(&exact).expect("answered");
            assert_eq!(list.code, 200, "{}", list.body);
            (path(&file).to_owned(), list.body["items"].clone())
        });
        let taken = taken.collect();
        ended.store(true, Ordering::SeqCst);
        taken
    });
    let (_, newest) = maps(&client);
    let again = host.cli(&["backup", &backups[0].0]).expect_err("nothing is written over");
    assert!(again.to_string().contains("never written over"), "{again}");
    let (code, _, told) = quadrille(&["store", "check", path(host.dir())]);
    assert!(code == 1 && told.contains("in use"), "{told}");
    host.kill().expect("it was running");
    for (file, expected) in &backups {
        let (code, out, told) = quadrille(&["store", "restore", file, path(host.dir())]);
        assert!(code == 1 && told.contains("exists"), "{out}{told}");
        fs::remove_dir_all(host.dir().join("store")).expect("removed");
        let (code, out, told) = quadrille(&["store", "restore", file, path(host.dir())]);
        assert_eq!(code, 0, "{out}{told}");
        host.spawn().expect("it starts on what was put back");
        let client = host.client().expect("a client");
        let (items, revision) = maps(&client);
        assert_eq!(&Value::Array(items), expected);
        assert!(revision > newest, "{revision} is behind everything that was issued");
        let watch = format!("{MAPS}?watch=true&resourceVersion={newest}&timeoutSeconds=5");
        let answer = client.get(&watch).expect("answered");
        let gone = answer.code == 410 || answer.body["object"]["code"] == 410;
        assert!(gone, "a watch from before: {} {}", answer.code, answer.body);
        put(&client, "after", 1);
        host.kill().expect("it was running");
    }
}

/// What of a directory is open to others: the certificate of the authority is for everybody.
fn open_to_others(dir: &Path) -> Vec<String> {
    let mut open = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(path) = left.pop() {
        let meta = fs::symlink_metadata(&path).expect("there");
        let mode = meta.permissions().mode() & 0o777;
        let public = ["ca.crt", "pid"].iter().any(|name| path == dir.join(name));
        if mode & 0o077 != 0 && !public {
            open.push(format!("{} {mode:o}", path.display()));
        }
        if meta.is_dir() {
            left.extend(fs::read_dir(&path).expect("readable").flatten().map(|entry| entry.path()));
        }
    }
    open
}

#[test]
fn what_is_put_back_is_its_owners_alone_wherever_it_is_put() {
    let host = TestHost::start(HOST).expect("the host starts");
    let parent = tempfile::tempdir().expect("a directory");
    let (file, new, old) =
        (parent.path().join("backup"), parent.path().join("in/new"), parent.path().join("old"));
    host.cli(&["backup", path(&file)]).expect("a backup");
    drop(host);
    fs::create_dir(&old).expect("made");
    for dir in [&new, &old] {
        let (code, out, told) = quadrille(&["store", "restore", path(&file), path(dir)]);
        assert_eq!(code, 0, "{out}{told}");
    }
    assert_eq!(open_to_others(&new), Vec::<String>::new());
    // Made beforehand, and open like everything in it, as an earlier version left it.
    for open in [old.clone(), old.join("store"), old.join("store/store.redb")] {
        let mode = if open.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(&open, fs::Permissions::from_mode(mode)).expect("it is ours");
    }
    let host = TestHost::start_on(HOST, Some(&old), &[]).expect("it starts");
    let left = open_to_others(&old);
    drop(host);
    assert_eq!(left, [format!("{} 644", old.join("store/store.redb").display())], "out of reach");
}

#[test]
fn a_backup_needs_the_right_to_its_path_and_to_everything() {
    let host = TestHost::start(HOST).expect("the host starts");
    let admin = host.client().expect("a client");
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "saver"}});
    let made =
        admin.post("/api/v1/namespaces/default/serviceaccounts", &account).expect("answered");
    assert_eq!(made.code, 201, "{}", made.body);
    let request =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let token = admin.post("/api/v1/namespaces/default/serviceaccounts/saver/token", &request);
    let token =
        token.expect("answered").body["status"]["token"].as_str().expect("a token").to_owned();
    let url = format!("https://{}", host_address(&host));
    let saver = Client::new(&url, &host.dir().join("ca.crt"), Some(&token)).expect("a client");
    let nobody = Client::new(&url, &host.dir().join("ca.crt"), None).expect("a client");
    let code = |client: &Client| client.get("/quadrille/backup").expect("answered").code;
    assert!([401, 403].contains(&code(&nobody)));
    assert_eq!(code(&saver), 403);
    let grant = |name: &str, rules: Value| {
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": name}, "rules": rules});
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": "saver", "namespace": "default"}]});
        for (kind, object) in [("clusterroles", role), ("clusterrolebindings", binding)] {
            let made = admin.post(&format!("{rbac}/{kind}"), &object).expect("answered");
            assert_eq!(made.code, 201, "{}", made.body);
        }
    };
    grant("ask", json!([{"nonResourceURLs": ["/quadrille/*"], "verbs": ["get"]}]));
    assert_eq!(code(&saver), 403, "the path alone leads to no Secrets");
    grant("read", json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get"]}]));
    eventually("both rights are enough", || {
        let found = code(&saver);
        anyhow::ensure!(found == 200, "{found}");
        Ok(())
    });
}

fn host_address(host: &TestHost) -> String {
    let text = fs::read_to_string(host.kubeconfig()).expect("readable");
    let line = text.lines().find(|line| line.contains("https://")).expect("a server");
    let at = line.find("https://").expect("there") + "https://".len();
    line[at..].trim_matches(['"', ' ', '\'']).to_owned()
}

#[test]
fn a_damaged_store_is_refused_by_name_checked_repaired_and_kept() {
    let mut host = TestHost::start(HOST).expect("the host starts");
    let client = host.client().expect("a client");
    for n in 0..200 {
        put(&client, &format!("map-{n}"), n);
    }
    let (before, newest) = maps(&client);
    assert_eq!(host.terminate().expect("it ends"), Some(0));
    let store = host.dir().join("store");
    let (code, out, told) = quadrille(&["store", "check", path(host.dir())]);
    assert!(code == 0 && out.contains("all checksums hold"), "{out}{told}");
    // A few bytes of every tenth page: inner pages and leaves of all trees.
    let file = fs::File::options().read(true).write(true).open(store.join("store.redb"));
    let file = file.expect("opens");
    let mut page = vec![0; 4096];
    for at in (8192..file.metadata().expect("there").len() - 4096).step_by(40_960) {
        file.read_exact_at(&mut page, at).expect("read");
        if page.iter().any(|byte| *byte != 0) {
            file.write_all_at(b"damaged!", at + 1000).expect("written");
        }
    }
    let (code, out, told) = quadrille(&["store", "check", path(host.dir())]);
    assert!(code == 1 && out.contains("problem: "), "{out}{told}");
    match host.spawn() {
        // What the damage left is all that is served.
        Ok(()) => {
            assert_eq!(maps(&host.client().expect("a client")).0, before);
            host.kill().expect("it was running");
        }
        Err(refused) => {
            let said = format!("{}{refused:#}", host.stderr());
            assert!(said.contains("store.redb") && said.contains("quadrille store"), "{said}");
        }
    }
    let (code, out, told) = quadrille(&["store", "repair", path(host.dir()), "-o", "json"]);
    assert_eq!(code, 0, "{out}{told}");
    let done: Value = serde_json::from_str(&out).expect("JSON");
    let told: u64 =
        ["older", "lost", "unsure"].iter().map(|of| done[*of].as_u64().unwrap_or(0)).sum();
    assert!(Path::new(done["damaged"].as_str().expect("a path")).join("store.redb").exists());
    host.spawn().expect("it starts on what was repaired");
    let (after, revision) = maps(&host.client().expect("a client"));
    assert!(revision > newest);
    let wrong: Vec<&Value> = before.iter().filter(|map| !after.contains(map)).collect();
    let names: Vec<&Value> = wrong.iter().map(|map| &map["metadata"]["name"]).collect();
    assert!(wrong.len() as u64 <= told, "{told} were told, and not as they were: {names:?}");
    assert!(after.len() <= before.len(), "{} came of {}", after.len(), before.len());
    println!(
        "{} of {} objects as they were, {told} told",
        before.len() - wrong.len(),
        before.len()
    );
}

#[test]
fn what_is_no_store_is_refused_at_once_and_by_name() {
    let mut host = TestHost::start(HOST).expect("the host starts");
    put(&host.client().expect("a client"), "map", 1);
    assert_eq!(host.terminate().expect("it ends"), Some(0));
    let store = host.dir().join("store");
    let names = ["store.redb", "store-0.wal", "store-1.wal"];
    for name in names {
        let (file, kept) = (store.join(name), host.dir().join("kept"));
        fs::rename(&file, &kept).expect("moved");
        let cases: [(&str, &dyn Fn()); 5] = [
            ("missing", &|| {}),
            ("empty", &|| fs::write(&file, b"").expect("written")),
            ("text", &|| fs::write(&file, b"not a store\n").expect("written")),
            ("a directory", &|| fs::create_dir(&file).expect("made")),
            ("a pipe", &|| {
                let made = Command::new("mkfifo").arg(&file).status().expect("runs");
                assert!(made.success());
            }),
        ];
        for (what, make) in cases {
            make();
            let mut child = Command::new(HOST);
            child.args(["serve", "--listen", "127.0.0.1:0", "--data-dir", path(host.dir())]);
            let mut child = child.stderr(std::process::Stdio::piped()).spawn().expect("starts");
            let status = eventually(&format!("{name} is {what}: it ends"), || {
                anyhow::ensure!(child.try_wait()?.is_some(), "it still runs");
                Ok(child.wait()?)
            });
            let mut said = String::new();
            let stderr = child.stderr.as_mut().expect("piped");
            std::io::Read::read_to_string(stderr, &mut said).expect("text");
            let named = said.contains(name) && !said.contains("panicked");
            assert!(status.code() == Some(1) && named, "{name} is {what}: {status}: {said}");
            if file.is_dir() {
                fs::remove_dir(&file).expect("removed");
            } else if fs::symlink_metadata(&file).is_ok() {
                fs::remove_file(&file).expect("removed");
            }
        }
        fs::rename(&kept, &file).expect("moved back");
    }
    host.spawn().expect("it starts on what it was");
    assert_eq!(
        maps(&host.client().expect("a client")).0.len(),
        2,
        "the map and the root certificate"
    );
}

/// A host that is about to start has locked its directory, and has not opened the store yet.
#[test]
fn a_directory_that_a_host_is_starting_on_is_neither_repaired_nor_restored() {
    let mut host = TestHost::start(HOST).expect("the host starts");
    put(&host.client().expect("a client"), "map", 1);
    assert_eq!(host.terminate().expect("it ends"), Some(0));
    let (dir, aside) = (host.dir().to_owned(), host.dir().join("aside"));
    let file = dir.join("backup");
    let (code, out, told) = quadrille(&["store", "backup", path(&file), path(&dir)]);
    assert_eq!(code, 0, "{out}{told}");
    let lock = fs::File::options().write(true).open(dir.join("lock")).expect("there");
    lock.try_lock().expect("nobody has it");
    for repaired in [dir.clone(), dir.join("store")] {
        let (code, out, told) = quadrille(&["store", "repair", path(&repaired)]);
        assert!(code == 1 && told.contains("in use"), "{out}{told}");
    }
    fs::rename(dir.join("store"), &aside).expect("moved");
    let (code, out, told) = quadrille(&["store", "restore", path(&file), path(&dir)]);
    assert!(code == 1 && told.contains("in use"), "{out}{told}");
    assert!(!dir.join("store").exists(), "nothing is left of the attempt");
    // Closing is not enough: a child of another test that is just being made has the file open too, and the lock with it.
    lock.unlock().expect("given back");
    drop(lock);
    let (code, out, told) = quadrille(&["store", "restore", path(&file), path(&dir)]);
    assert_eq!(code, 0, "{out}{told}");
    host.spawn().expect("it starts on what was restored");
    assert_eq!(maps(&host.client().expect("a client")).0.len(), 2);
}
