//! What plugins leave on objects: nothing, whatever becomes of them or of the host.

mod support;

use std::path::Path;
use std::time::Duration;

use quadrille_component::{LogLine, PluginUpload};
use quadrille_guests::Guest;
use quadrille_kit::Supervisor;
use quadrille_registry::{Action, Body, DeleteOptions, Reason};
use serde_json::{Value, json};

use support::{TestHost, has_version, stamps};

const MARK: &str = "guest.example/mark";

/// A guest that keeps a finalizer on its config maps, and refuses to clean up after them.
fn marks() -> Vec<u8> {
    Guest { finalizer: MARK.to_owned(), ..Guest::default() }.build()
}

fn count_marked(host: &TestHost) -> usize {
    count_marked_of(host, 5)
}

fn count_marked_of(host: &TestHost, maps: usize) -> usize {
    (0..maps).filter(|at| host.map(&format!("m{at}")).to_string().contains(MARK)).count()
}

/// A host whose plugin keeps finalizers on five config maps.
async fn host_with_marks(dir: &Path) -> TestHost {
    let host = TestHost::start(dir).await;
    host.load("p", marks()).await;
    for at in 0..5 {
        host.create_map(&format!("m{at}")).await;
    }
    host.eventually("all are marked", |host| count_marked(host) == 5).await;
    host
}

/// Nobody else would ever take these marks away.
async fn delete_leaves_nothing(host: TestHost, dir: &Path) {
    host.eventually("the plugin goes", |host| host.plugin("p").is_none()).await;
    let files = || std::fs::read_dir(dir.join("components")).expect("it is there").count();
    host.eventually("its files go", |_| files() == 0).await;
    assert_eq!(count_marked(&host), 0);
    assert!(runs_nothing(&host), "nothing of it runs");
    host.stop().await;
}

async fn delete_plugin(host: &TestHost) {
    let delete = Action::Delete(DeleteOptions::default());
    host.write(("quadrille.dev", "plugins"), "", "p", delete).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_whose_host_ends_when_it_is_deleted_leaves_no_finalizer() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    host_with_marks(dir.path()).await.stop().await;
    let host = TestHost::without_manager(Duration::from_secs(1), dir.path()).await;
    delete_plugin(&host).await;
    assert_eq!(count_marked(&host), 5);
    host.stop().await;
    delete_leaves_nothing(TestHost::start(dir.path()).await, dir.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_is_deleted_before_it_is_resumed_leaves_no_finalizer() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = host_with_marks(dir.path()).await;
    host.patch_plugin("p", json!({"spec": {"suspended": true}})).await;
    host.stop().await;
    let host = TestHost::start(dir.path()).await;
    delete_plugin(&host).await;
    delete_leaves_nothing(host, dir.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_whose_grants_were_revoked_while_it_did_not_run_leaves_no_finalizer() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = host_with_marks(dir.path()).await;
    host.patch_plugin("p", json!({"spec": {"suspended": true}})).await;
    host.stop().await;
    let host = TestHost::start(dir.path()).await;
    host.patch_plugin("p", json!({"spec": {"grants": []}})).await;
    host.eventually("it is known", |host| host.status("p")["grantsGiven"] == json!([])).await;
    host.stop().await;
    let host = TestHost::start(dir.path()).await;
    delete_plugin(&host).await;
    delete_leaves_nothing(host, dir.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_version_left_goes_though_the_host_ended_before_the_next_one_came() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = host_with_marks(dir.path()).await;
    let upload = PluginUpload { keep_only: true, ..TestHost::upload("p", stamps("2")) };
    let answer = host.manager.upload(upload).await.expect("it is accepted");
    let digest = answer.pointer("/upload/digest").expect("told").clone();
    host.stop().await;
    let host = TestHost::without_manager(Duration::from_secs(1), dir.path()).await;
    host.patch_plugin("p", json!({"spec": {"digest": digest}})).await;
    host.stop().await;
    let host = TestHost::start(dir.path()).await;
    host.eventually("the marks go", |host| count_marked(host) == 0).await;
    host.eventually("the next one runs", |host| has_version(host, "m0", "2")).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_goes_though_the_file_of_an_earlier_version_is_damaged() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = TestHost::start(dir.path()).await;
    let digest = host.load("p", stamps("0")).await["status"]["digest"].clone();
    host.stop().await;
    let host = host_with_marks(dir.path()).await;
    host.stop().await;
    let hash = digest.as_str().and_then(|digest| digest.split(':').nth(1)).expect("a digest");
    for folder in ["code", "components"] {
        for entry in std::fs::read_dir(dir.path().join(folder)).expect("it is there") {
            let path = entry.expect("readable").path();
            if path.to_string_lossy().contains(hash) {
                std::fs::write(&path, b"damaged").expect("written");
            }
        }
    }
    let host = TestHost::start(dir.path()).await;
    delete_plugin(&host).await;
    delete_leaves_nothing(host, dir.path()).await;
}

/// What passed the fence of a controller before it ended is published after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_is_deleted_while_it_marks_objects_leaves_no_finalizer() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = TestHost::start(dir.path()).await;
    for at in 0..300 {
        host.create_map(&format!("m{at}")).await;
    }
    for round in 0..6 {
        host.load("p", marks()).await;
        host.eventually("some are marked", |host| count_marked_of(host, 300) > round * 30).await;
        delete_plugin(&host).await;
        host.eventually("the plugin goes", |host| host.plugin("p").is_none()).await;
        assert_eq!(count_marked_of(&host, 300), 0, "in round {round}");
    }
    host.stop().await;
}

fn runs_nothing(host: &TestHost) -> bool {
    host.runtime.stats(Some("p")).is_empty()
}

/// The same component is uploaded for a plugin whose deletion nobody has looked at yet.
async fn upload_again(host: &TestHost, component: Vec<u8>, uid: &Value) {
    let again = host.load("p", component).await;
    assert_ne!(again.pointer("/metadata/uid"), Some(uid));
    assert_eq!(again.pointer("/status/phase"), Some(&json!("Active")), "{again:#}");
    assert_eq!(again.pointer("/status/controllerCount"), Some(&json!(1)), "{again:#}");
    host.manager.download("p", None).expect("its file is here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_is_made_again_before_anybody_saw_it_go_is_another_one() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = TestHost::without_manager(Duration::from_secs(1), dir.path()).await;
    let first = host.load("p", stamps("1")).await;
    host.load("p", stamps("2")).await;
    host.manager.log("p").expect("it has one").push(LogLine::default());
    delete_plugin(&host).await;
    upload_again(&host, stamps("1"), &first["metadata"]["uid"]).await;
    host.create_map("a").await;
    host.eventually("it runs", |host| has_version(host, "a", "1")).await;
    assert_eq!(host.status("p")["versions"].as_array().map(Vec::len), Some(1));
    let files = std::fs::read_dir(dir.path().join("components")).expect("it is there").count();
    assert_eq!(files, 1, "the other version went with the other plugin");
    let lines = host.manager.log("p").expect("it has one").tail(1);
    assert_eq!(lines, [], "its log begins with it");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_left_and_is_made_again_before_anybody_saw_it_go_runs() {
    const OTHERS: &str = "test.example/hold";
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = TestHost::without_manager(Duration::from_millis(50), dir.path()).await;
    let following = Supervisor::default();
    host.follow(&following).await;
    let first = host.load("p", marks()).await;
    for at in 0..5 {
        host.create_map(&format!("m{at}")).await;
    }
    host.eventually("all are marked", |host| count_marked(host) == 5).await;
    let finalizers = json!(["quadrille.dev/release", OTHERS]);
    host.patch_plugin("p", json!({"metadata": {"finalizers": finalizers}})).await;
    delete_plugin(&host).await;
    host.eventually("it has left, and says so", |host| {
        let plugin = host.plugin("p").unwrap_or_default();
        plugin["metadata"]["finalizers"] == json!([OTHERS])
            && plugin["status"]["phase"] == "Failed"
            && plugin["status"].to_string().contains("it is being deleted")
    })
    .await;
    assert!(following.stop(Duration::from_mins(1)).await, "nobody looks any more");
    host.patch_plugin("p", json!({"metadata": {"finalizers": []}})).await;
    assert_eq!((host.plugin("p"), count_marked(&host)), (None, 0));
    upload_again(&host, marks(), &first["metadata"]["uid"]).await;
    host.eventually("all are marked again", |host| count_marked(host) == 5).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_went_while_its_history_was_lost_runs_no_more() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = TestHost::without_manager(Duration::from_secs(1), dir.path()).await;
    host.load("p", stamps("1")).await;
    delete_plugin(&host).await;
    assert!(!runs_nothing(&host), "nobody has seen it");
    // As after a history that does not go back far enough.
    host.manager.start().await;
    delete_leaves_nothing(host, dir.path()).await;
}

/// Uploads come while it goes, two at a time: whichever is accepted after it went makes it anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_is_deleted_and_uploaded_at_the_same_time_runs_in_the_end() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = TestHost::start(dir.path()).await;
    host.create_map("a").await;
    for round in 0..6 {
        let version = round.to_string();
        let component = stamps(&version);
        host.load("p", component.clone()).await;
        host.patch_plugin("p", json!({"spec": {"config": {"round": version}}})).await;
        let upload = || host.manager.upload(TestHost::upload("p", component.clone()));
        let (_gone, first, second) = tokio::join!(delete_plugin(&host), upload(), upload());
        for refused in [first, second].into_iter().filter_map(Result::err) {
            assert!(matches!(refused.reason, Reason::Conflict | Reason::NotFound), "{refused:?}");
        }
        let last = host.load("p", component).await;
        assert_eq!(last.pointer("/status/phase"), Some(&json!("Active")), "{last:#}");
        host.eventually("it runs", |host| has_version(host, "a", &version)).await;
        host.manager.download("p", None).expect("its file is here");
    }
    host.stop().await;
}

const BINDINGS: (&str, &str) =
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings");

/// Refuses every write of one of the maps.
async fn keep_m3(host: &TestHost) {
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "keep"},
        "spec": {
            "matchConstraints": {"resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["configmaps"]},
            ]},
            "validations": [{"expression": "object.metadata.name != 'm3'", "message": "m3 stays as it is"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "keep"}, "spec": {"policyName": "keep", "validationActions": ["Deny"]},
    });
    let group = "admissionregistration.k8s.io";
    let policies = (group, "validatingadmissionpolicies");
    host.write(policies, "", "keep", Action::Create(Body::from(policy))).await;
    host.write(BINDINGS, "", "keep", Action::Create(Body::from(binding))).await;
}

async fn let_go_of_m3(host: &TestHost) {
    host.write(BINDINGS, "", "keep", Action::Delete(DeleteOptions::default())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_whose_finalizers_may_not_be_taken_away_says_where_they_stay_and_goes_after_that()
{
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = host_with_marks(dir.path()).await;
    keep_m3(&host).await;
    delete_plugin(&host).await;
    host.eventually("it says where", |host| {
        let said = host.status("p").to_string();
        said.contains("configmaps/default/m3") && said.contains(MARK)
    })
    .await;
    assert_eq!(count_marked(&host), 1);
    let upload = host.manager.upload(TestHost::upload("p", marks())).await;
    assert_eq!(upload.expect_err("it goes").reason, Reason::Conflict);
    let_go_of_m3(&host).await;
    delete_leaves_nothing(host, dir.path()).await;
}

/// What is refused is tried again under the grants that were in force, also after its status was written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grants_that_were_revoked_are_remembered_until_nothing_is_left_under_them() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = host_with_marks(dir.path()).await;
    keep_m3(&host).await;
    host.stop().await;
    let host = TestHost::without_manager(Duration::from_secs(1), dir.path()).await;
    host.patch_plugin("p", json!({"spec": {"grants": []}})).await;
    delete_plugin(&host).await;
    host.stop().await;
    let host = TestHost::start(dir.path()).await;
    host.eventually("it says where", |host| host.status("p").to_string().contains("default/m3"))
        .await;
    host.stop().await;
    let host = TestHost::start(dir.path()).await;
    let_go_of_m3(&host).await;
    delete_leaves_nothing(host, dir.path()).await;
}
