//! The API itself. Every scenario runs on the double and on the real control plane, with the same assertions.

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use reqwest::Method;
use rollback::sandbox::faults::Faults;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::rig::{MERGE, OPERATIONS, Rig, STRATEGIC, condition, image, revision};

scenarios! {
    a_server_says_who_it_is,
    who_is_not_known_is_refused,
    who_may_not_is_refused_with_what_is_missing,
    an_access_review_tells_what_roles_allow,
    what_is_not_there_is_not_found,
    what_is_left_out_is_added,
    what_could_not_work_is_invalid,
    a_generation_counts_what_is_wanted,
    patches_of_every_kind_change_what_they_name,
    a_test_that_fails_changes_nothing,
    an_old_version_is_a_conflict,
    a_dry_run_changes_nothing,
    scaling_goes_by_its_subresource,
    a_status_changes_alone,
    a_lease_is_made_once,
    lists_are_selected_by_labels,
    a_deployment_keeps_its_revisions,
    a_template_that_comes_back_gets_a_new_number,
    a_pause_and_its_end_are_told,
    an_undo_in_one_patch_ends_a_pause,
    a_paused_deployment_is_scaled_as_it_is,
    a_rollout_that_is_stuck_keeps_old_pods,
    a_history_has_a_limit,
    a_stateful_set_is_brought_back_by_a_revision,
    a_stateful_set_is_stuck_on_a_broken_pod,
    a_daemon_set_is_brought_back_by_a_revision,
    a_rollout_of_argo_is_kept,
    what_goes_takes_along_what_it_owns,
    the_client_library_comes_in_by_context_and_by_token,
    pods_become_ready_in_the_background,
}

/// Sends a patch as the admin, whatever comes of it.
async fn patch(rig: &Rig, path: &str, kind: &str, body: Value) -> (u16, Value) {
    rig.send("admin", Method::PATCH, path, Some((kind, &body))).await
}

async fn put(rig: &Rig, path: &str, body: &Value) -> (u16, Value) {
    rig.send("admin", Method::PUT, path, Some(("application/json", body))).await
}

/// Status, reason and message of a refusal.
fn refusal((status, answer): (u16, Value)) -> (u16, String, String) {
    assert_eq!(answer["kind"], "Status", "{answer}");
    assert_eq!((&answer["status"], &answer["code"]), (&json!("Failure"), &json!(status)));
    let text = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
    (status, text("reason"), text("message"))
}

async fn a_server_says_who_it_is(rig: &Rig) {
    let version = rig.get("/version").await;
    assert!(version["gitVersion"].as_str().expect("a version").starts_with("v1."), "{version}");
    assert_eq!(rig.send("", Method::GET, "/readyz", None).await, (200, json!("ok")));
    let apps = rig.get("/apis/apps/v1").await;
    let names = apps["resources"].as_array().expect("resources");
    for wanted in ["deployments", "deployments/scale", "statefulsets", "daemonsets/status"] {
        let found = names.iter().find(|resource| resource["name"] == wanted);
        assert_eq!(found.expect(wanted)["namespaced"], true);
    }
    assert!(rig.get("/apis").await["groups"].to_string().contains("apps/v1"));
    assert_eq!(rig.get("/api").await["versions"], json!(["v1"]));
}

async fn who_is_not_known_is_refused(rig: &Rig) {
    let pods = rig.all("pods");
    let answer = refusal(rig.send("stranger", Method::GET, &pods, None).await);
    assert_eq!(answer, (401, "Unauthorized".to_owned(), "Unauthorized".to_owned()));
    let (status, reason, message) = refusal(rig.send("", Method::GET, &pods, None).await);
    assert_eq!((status, reason.as_str()), (403, "Forbidden"));
    assert!(
        message.starts_with("pods is forbidden: User \"system:anonymous\" cannot list"),
        "{message}"
    );
    let (status, _, message) = refusal(rig.send("", Method::GET, "/apis", None).await);
    assert_eq!(status, 403);
    assert_eq!(message, "forbidden: User \"system:anonymous\" cannot get path \"/apis\"");
}

async fn who_may_not_is_refused_with_what_is_missing(rig: &Rig) {
    rig.grant(
        "viewer",
        json!([{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}]),
    )
    .await;
    let path = rig.one("deployments", "web/scale");
    let body = json!({"spec": {"replicas": 0}});
    let answer = rig.send("viewer", Method::PATCH, &path, Some((MERGE, &body))).await;
    assert_eq!(answer.1["details"], json!({"name": "web", "group": "apps", "kind": "deployments"}));
    assert_eq!(
        refusal(answer),
        (
            403,
            "Forbidden".to_owned(),
            format!(
                "deployments.apps \"web\" is forbidden: User \"viewer\" cannot patch resource \
                 \"deployments/scale\" in API group \"apps\" in the namespace \"{}\"",
                rig.namespace
            )
        )
    );
    let answer = rig.send("viewer", Method::GET, &rig.one("deployments", "web"), None).await;
    assert_eq!(refusal(answer).0, 404);
    let answer = rig.send("viewer", Method::GET, "/api/v1/nodes", None).await;
    assert_eq!(
        refusal(answer).2,
        "nodes is forbidden: User \"viewer\" cannot list resource \"nodes\" in API group \"\" at the cluster scope"
    );
}

async fn an_access_review_tells_what_roles_allow(rig: &Rig) {
    let rules = json!([{
        "apiGroups": ["apps"], "resources": ["deployments", "deployments/scale"], "resourceNames": ["web"],
        "verbs": ["patch"],
    }]);
    rig.grant("deployer", rules).await;
    let asked = async |user: &str, verb: &str, below: &str, name: &str| {
        let attributes = json!({
            "namespace": rig.namespace, "verb": verb, "group": "apps", "resource": "deployments",
            "subresource": below, "name": name,
        });
        rig.review(user, attributes).await
    };
    assert_eq!(asked("deployer", "patch", "scale", "web").await["allowed"], true);
    let reason = asked("deployer", "patch", "", "web").await["reason"].to_string();
    assert!(reason.contains("RBAC: allowed by RoleBinding"), "{reason}");
    assert_eq!(asked("deployer", "patch", "", "api").await, json!({"allowed": false}));
    assert_eq!(asked("deployer", "delete", "", "web").await, json!({"allowed": false}));
    assert_eq!(asked("nobody", "patch", "", "web").await, json!({"allowed": false}));
    assert_eq!(asked("admin", "delete", "", "web").await["allowed"], true);
}

async fn what_is_not_there_is_not_found(rig: &Rig) {
    let get = async |path: &str| rig.send("admin", Method::GET, path, None).await;
    let answer = get(&rig.one("deployments", "web")).await;
    assert_eq!(answer.1["details"], json!({"name": "web", "group": "apps", "kind": "deployments"}));
    let expected = "deployments.apps \"web\" not found".to_owned();
    assert_eq!(refusal(answer), (404, "NotFound".to_owned(), expected));
    let expected = "the server could not find the requested resource".to_owned();
    let (status, reason, message) = refusal(get(&rig.all("gadgets")).await);
    assert_eq!((status, reason, message), (404, "NotFound".to_owned(), expected));
    let unknown = get("/apis/example.com/v1/namespaces/a/gadgets").await;
    assert_eq!(unknown, (404, json!("404 page not found\n")));
    let list = rig.get("/apis/apps/v1/namespaces/nowhere/deployments").await;
    assert_eq!(list["items"], json!([]));
    let body = json!({"metadata": {"name": "lock"}});
    let path = "/apis/coordination.k8s.io/v1/namespaces/nowhere/leases";
    let answer = rig.send("admin", Method::POST, path, Some(("application/json", &body))).await;
    assert_eq!(refusal(answer).2, "namespaces \"nowhere\" not found");
}

async fn what_is_left_out_is_added(rig: &Rig) {
    for plural in ["deployments", "statefulsets", "daemonsets"] {
        let made = rig.workload(plural, plural, &["app:1"]).await;
        let spec = &made["spec"];
        match plural {
            "deployments" => assert_eq!(
                spec["strategy"],
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
            ),
            "statefulsets" => assert_eq!(
                spec["updateStrategy"],
                json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
            ),
            _ => assert_eq!(
                spec["updateStrategy"],
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}})
            ),
        }
        assert_eq!(spec["revisionHistoryLimit"], 10, "{plural}");
        assert_eq!(
            spec["template"],
            json!({
                "metadata": {"creationTimestamp": null, "labels": {"app": plural}},
                "spec": {
                    "containers": [{
                        "name": "main", "image": "app:1", "resources": {}, "imagePullPolicy": "IfNotPresent",
                        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                    }],
                    "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
                    "securityContext": {}, "schedulerName": "default-scheduler",
                },
            }),
            "{plural}"
        );
    }
}

async fn what_could_not_work_is_invalid(rig: &Rig) {
    rig.workload("deployments", "web", &["app:1"]).await;
    let path = rig.one("deployments", "web");
    let invalid = async |body: Value| {
        let (status, reason, message) = refusal(patch(rig, &path, MERGE, body).await);
        assert_eq!((status, reason.as_str()), (422, "Invalid"));
        message
    };
    assert_eq!(
        invalid(json!({"spec": {"replicas": -1}})).await,
        "Deployment.apps \"web\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"
    );
    let message = invalid(json!({"spec": {"selector": {"matchLabels": {"app": "api"}}, "template": {"metadata": {"labels": {"app": "api"}}}}})).await;
    assert!(message.contains("spec.selector: Invalid value"), "{message}");
    assert!(message.contains("field is immutable"), "{message}");
    let message =
        invalid(json!({"spec": {"template": {"metadata": {"labels": {"app": "api"}}}}})).await;
    assert!(message.contains("`selector` does not match template `labels`"), "{message}");
    let message = invalid(json!({"spec": {"template": {"spec": {"containers": []}}}})).await;
    assert!(message.contains("spec.template.spec.containers: Required value"), "{message}");
    let answer = patch(rig, &path, "text/plain", json!({})).await;
    assert_eq!(refusal(answer).0, 415);
}

async fn a_generation_counts_what_is_wanted(rig: &Rig) {
    let made = rig.workload("deployments", "web", &["app:1"]).await;
    assert_eq!(made["metadata"]["generation"], 1);
    let path = rig.one("deployments", "web");
    let labelled = rig.patch(&path, MERGE, json!({"metadata": {"labels": {"a": "b"}}})).await;
    assert_eq!(labelled["metadata"]["generation"], 1);
    assert_ne!(labelled["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    let noted = rig.patch(&path, MERGE, json!({"metadata": {"annotations": {"a": "b"}}})).await;
    assert_eq!(noted["metadata"]["generation"], 2, "annotations count, for a Deployment alone");
    let same = rig.patch(&path, MERGE, json!({"spec": {"replicas": 2}})).await;
    assert_eq!(same["metadata"]["generation"], 2);
    let scaled = rig.patch(&path, MERGE, json!({"spec": {"replicas": 3}})).await;
    assert_eq!(scaled["metadata"]["generation"], 3);
    let seen = rig.observed("deployments", "web").await;
    let same = rig.patch(&path, MERGE, json!({"spec": {"replicas": 3}})).await;
    assert_eq!(same["metadata"]["generation"], seen["metadata"]["generation"]);
}

async fn patches_of_every_kind_change_what_they_name(rig: &Rig) {
    rig.workload("deployments", "web", &["app:1"]).await;
    let path = rig.one("deployments", "web");
    let template =
        |containers: Value| json!({"spec": {"template": {"spec": {"containers": containers}}}});
    // By name, and only what is given.
    let side = json!([{"name": "side", "image": "side:1", "env": [{"name": "A", "value": "1"}]}]);
    let patched = rig.patch(&path, STRATEGIC, template(side)).await;
    assert_eq!(patched["spec"]["template"]["spec"]["containers"].as_array().map(Vec::len), Some(2));
    let more = json!([{"name": "side", "env": [{"name": "B", "value": "2"}]}]);
    let patched = rig.patch(&path, STRATEGIC, template(more)).await;
    let containers = patched["spec"]["template"]["spec"]["containers"].as_array().expect("two");
    let side = containers.iter().find(|container| container["name"] == "side").expect("it stays");
    assert_eq!((&side["image"], side["env"].as_array().map(Vec::len)), (&json!("side:1"), Some(2)));
    // A list without names for its things is replaced as a whole, in a plain merge every list.
    let patched =
        rig.patch(&path, MERGE, template(json!([{"name": "main", "image": "app:2"}]))).await;
    assert_eq!(patched["spec"]["template"]["spec"]["containers"].as_array().map(Vec::len), Some(1));
    // Null takes away.
    rig.patch(&path, STRATEGIC, json!({"spec": {"paused": true}})).await;
    let patched = rig.patch(&path, STRATEGIC, json!({"spec": {"paused": null}})).await;
    assert!(patched["spec"].get("paused").is_none(), "{patched}");
    // A whole template, whatever was in it.
    let whole = json!({"spec": {"template": {
        "$patch": "replace", "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "main", "image": "app:3"}]},
    }}});
    let patched = rig.patch(&path, STRATEGIC, whole).await;
    assert_eq!(image(&patched), "app:3");
    assert_eq!(
        patched["spec"]["template"]["spec"]["dnsPolicy"], "ClusterFirst",
        "defaults are added"
    );
    // Operations.
    let operations = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "app:4"}]);
    assert_eq!(image(&rig.patch(&path, OPERATIONS, operations).await), "app:4");
}

async fn a_test_that_fails_changes_nothing(rig: &Rig) {
    let made = rig.workload("deployments", "web", &["app:1"]).await;
    let path = rig.one("deployments", "web");
    let operations = json!([
        {"op": "replace", "path": "/spec/replicas", "value": 5},
        {"op": "test", "path": "/metadata/resourceVersion", "value": "1"},
    ]);
    let answer = refusal(patch(rig, &path, OPERATIONS, operations).await);
    let expected = "the server rejected our request due to an error in our request";
    assert_eq!(answer, (422, "Invalid".to_owned(), expected.to_owned()));
    assert_eq!(rig.get(&path).await["spec"], made["spec"]);
    let operations = json!([{"op": "remove", "path": "/spec/paused"}]);
    assert_eq!(refusal(patch(rig, &path, OPERATIONS, operations).await).0, 422);
    let operations = json!([
        {"op": "test", "path": "/metadata/uid", "value": made["metadata"]["uid"]},
        {"op": "replace", "path": "/spec/replicas", "value": 3},
    ]);
    assert_eq!(rig.patch(&path, OPERATIONS, operations).await["spec"]["replicas"], 3);
}

async fn an_old_version_is_a_conflict(rig: &Rig) {
    let old = rig.workload("deployments", "web", &["app:1"]).await;
    let path = rig.one("deployments", "web");
    rig.patch(&path, MERGE, json!({"metadata": {"labels": {"a": "b"}}})).await;
    let message = "Operation cannot be fulfilled on deployments.apps \"web\": the object has been modified; \
        please apply your changes to the latest version and try again";
    let expected = (409, "Conflict".to_owned(), message.to_owned());
    assert_eq!(refusal(put(rig, &path, &old).await), expected);
    let version = &old["metadata"]["resourceVersion"];
    let body = json!({"metadata": {"resourceVersion": version}, "spec": {"replicas": 3}});
    assert_eq!(refusal(patch(rig, &path, MERGE, body).await), expected);
    let mut new = rig.get(&path).await;
    new["spec"]["replicas"] = 3.into();
    assert_eq!(put(rig, &path, &new).await.1["spec"]["replicas"], 3);
}

async fn a_dry_run_changes_nothing(rig: &Rig) {
    let made = rig.workload("deployments", "web", &["app:1"]).await;
    let path = rig.one("deployments", "web");
    let dry = format!("{path}?dryRun=All&fieldManager=rollback");
    let tried = rig.patch(&dry, MERGE, json!({"spec": {"replicas": 7}})).await;
    assert_eq!(
        (&tried["spec"]["replicas"], &tried["metadata"]["generation"]),
        (&json!(7), &json!(2))
    );
    let after = rig.get(&path).await;
    assert_eq!(after["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    assert_eq!(after["spec"]["replicas"], 2);
    let refused = refusal(patch(rig, &dry, MERGE, json!({"spec": {"replicas": -7}})).await);
    assert_eq!(refused.0, 422);
    if let Some(double) = &rig.double {
        let dry_runs = double
            .ledger
            .effects()
            .into_keys()
            .filter(|effect| effect.contains("patch deployments "));
        assert_eq!(dry_runs.count(), 0, "what is tried is no effect");
    }
}

async fn scaling_goes_by_its_subresource(rig: &Rig) {
    rig.workload("deployments", "web", &["app:1"]).await;
    let path = rig.one("deployments", "web/scale");
    let scale = rig.get(&path).await;
    assert_eq!((&scale["kind"], &scale["spec"]), (&json!("Scale"), &json!({"replicas": 2})));
    assert_eq!(scale["status"], json!({"replicas": 2, "selector": "app=web"}));
    let scaled = rig.patch(&path, MERGE, json!({"spec": {"replicas": 0}})).await;
    assert_eq!(scaled["spec"], json!({}), "0 is left out");
    let gone = async || rig.list("pods").await.is_empty();
    rig.wait("the pods are gone", gone).await;
    let (status, reason, _) = refusal(put(rig, &path, &scale).await);
    assert_eq!((status, reason.as_str()), (409, "Conflict"), "an old scale");
    // Until the last status of the pods that are gone is written, a scale that was just read may be old, too.
    let taken = async || {
        let mut scale = rig.get(&path).await;
        scale["spec"] = json!({"replicas": 1});
        put(rig, &path, &scale).await.1["spec"] == json!({"replicas": 1})
    };
    rig.wait("a scale of now is taken", taken).await;
    assert_eq!(rig.get(&rig.one("deployments", "web")).await["spec"]["replicas"], 1);
}

async fn a_status_changes_alone(rig: &Rig) {
    rig.workload("statefulsets", "db", &["db:1"]).await;
    let body = json!({"spec": {"replicas": 9}, "status": {"collisionCount": 3}});
    let answer = rig.patch(&rig.one("statefulsets", "db/status"), MERGE, body).await;
    assert_eq!(
        (&answer["spec"]["replicas"], &answer["status"]["collisionCount"]),
        (&json!(2), &json!(3))
    );
    let body = json!({"status": {"replicas": 7}});
    let answer = rig.patch(&rig.one("statefulsets", "db"), MERGE, body).await;
    assert_eq!(
        (&answer["status"]["replicas"], &answer["metadata"]["generation"]),
        (&json!(2), &json!(1))
    );
}

async fn a_lease_is_made_once(rig: &Rig) {
    let lease = json!({"metadata": {"name": "lock"}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 30}});
    let first = rig.create(&rig.all("leases"), lease.clone()).await;
    let body = Some(("application/json", &lease));
    let answer = refusal(rig.send("admin", Method::POST, &rig.all("leases"), body).await);
    let expected = "leases.coordination.k8s.io \"lock\" already exists";
    assert_eq!(answer, (409, "AlreadyExists".to_owned(), expected.to_owned()));
    let path = rig.one("leases", "lock");
    let mut taken = first.clone();
    taken["spec"]["holderIdentity"] = "b".into();
    assert_eq!(put(rig, &path, &taken).await.0, 200);
    assert_eq!(refusal(put(rig, &path, &first).await).1, "Conflict");
    let (status, answer) = rig.send("admin", Method::DELETE, &path, None).await;
    assert_eq!((status, &answer["status"]), (200, &json!("Success")));
    assert_eq!(rig.send("admin", Method::DELETE, &path, None).await.0, 404);
}

async fn lists_are_selected_by_labels(rig: &Rig) {
    rig.workload("deployments", "web", &["app:1"]).await;
    rig.workload("deployments", "api", &["app:1"]).await;
    let names = async |query: &str| {
        let list = rig.get(&format!("{}?{query}", rig.all("replicasets"))).await;
        assert_eq!(
            (&list["kind"], &list["apiVersion"]),
            (&json!("ReplicaSetList"), &json!("apps/v1"))
        );
        list["items"].as_array().expect("a list").len()
    };
    assert_eq!(names("").await, 2);
    assert_eq!(names("labelSelector=app%3Dweb").await, 1);
    assert_eq!(names("labelSelector=app%3Dweb%2Cpod-template-hash").await, 1);
    assert_eq!(names("labelSelector=app%20in%20(web,api)").await, 2);
    assert_eq!(names("labelSelector=app!%3Dweb").await, 1);
    assert_eq!(names("fieldSelector=metadata.name%3Dnone").await, 0);
    let broken = format!("{}?labelSelector=a%20b", rig.all("replicasets"));
    assert_eq!(refusal(rig.send("admin", Method::GET, &broken, None).await).0, 400);
}

async fn a_deployment_keeps_its_revisions(rig: &Rig) {
    let web = rig.workload("deployments", "web", &["app:1", "app:2"]).await;
    assert_eq!((revision(&web), image(&web)), ("2", "app:2"));
    let mut sets = rig.list("replicasets").await;
    sets.sort_by_key(|set| revision(set).to_owned());
    let told: Vec<_> =
        sets.iter().map(|set| (revision(set), image(set), &set["spec"]["replicas"])).collect();
    assert_eq!(told, [("1", "app:1", &json!(0)), ("2", "app:2", &json!(2))]);
    for set in &sets {
        let owner = &set["metadata"]["ownerReferences"][0];
        assert_eq!((&owner["uid"], &owner["controller"]), (&web["metadata"]["uid"], &json!(true)));
        assert_eq!(
            (&owner["kind"], &owner["apiVersion"]),
            (&json!("Deployment"), &json!("apps/v1"))
        );
        let hash = &set["metadata"]["labels"]["pod-template-hash"];
        assert_eq!(hash, &set["spec"]["template"]["metadata"]["labels"]["pod-template-hash"]);
        assert_eq!(hash, &set["spec"]["selector"]["matchLabels"]["pod-template-hash"]);
        assert_eq!(set["metadata"]["name"], format!("web-{}", hash.as_str().expect("a hash")));
    }
    let status = &web["status"];
    for (field, expected) in
        [("replicas", 2), ("updatedReplicas", 2), ("readyReplicas", 2), ("availableReplicas", 2)]
    {
        assert_eq!(status[field], expected, "{field}");
    }
    assert!(status.get("unavailableReplicas").is_none(), "0 is left out");
    assert_eq!(condition(&web, "Available")["reason"], "MinimumReplicasAvailable");
    let progressing = condition(&web, "Progressing");
    assert_eq!(
        (&progressing["status"], &progressing["reason"]),
        (&json!("True"), &json!("NewReplicaSetAvailable"))
    );
    let set = sets[1]["metadata"]["name"].as_str().expect("a name");
    assert_eq!(
        progressing["message"],
        format!("ReplicaSet \"{set}\" has successfully progressed.")
    );
}

async fn a_template_that_comes_back_gets_a_new_number(rig: &Rig) {
    let before = rig.workload("deployments", "web", &["app:1", "app:2"]).await;
    rig.set_image("deployments", "web", "app:1").await;
    rig.roll_out("deployments", "web").await;
    let web = rig.get(&rig.one("deployments", "web")).await;
    assert_eq!((revision(&web), image(&web)), ("3", "app:1"));
    let generations =
        [&before, &web].map(|object| object["metadata"]["generation"].as_u64().expect("a number"));
    assert_eq!(generations[1], generations[0] + 1, "the controller's own notes do not count");
    let sets = rig.list("replicasets").await;
    assert_eq!(sets.len(), 2);
    let back = sets.iter().find(|set| image(set) == "app:1").expect("it is still there");
    assert_eq!(revision(back), "3");
    assert_eq!(back["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"], "1");
}

async fn a_pause_and_its_end_are_told(rig: &Rig) {
    rig.workload("deployments", "web", &["app:1"]).await;
    let path = rig.one("deployments", "web");
    rig.patch(&path, STRATEGIC, json!({"spec": {"paused": true}})).await;
    let paused = async || {
        let progressing = condition(&rig.get(&path).await, "Progressing").clone();
        progressing["reason"] == "DeploymentPaused" && progressing["status"] == "Unknown"
    };
    rig.wait("the pause is told", paused).await;
    rig.set_image("deployments", "web", "app:2").await;
    let web = rig.observed("deployments", "web").await;
    assert_eq!(
        (rig.list("replicasets").await.len(), revision(&web)),
        (1, "1"),
        "nothing is rolled out"
    );
    assert!(web["status"].get("updatedReplicas").is_none(), "{}", web["status"]);
    rig.patch(&path, STRATEGIC, json!({"spec": {"paused": null}})).await;
    rig.roll_out("deployments", "web").await;
    let web = rig.get(&path).await;
    assert_eq!((revision(&web), image(&web)), ("2", "app:2"));
}

async fn an_undo_in_one_patch_ends_a_pause(rig: &Rig) {
    rig.workload("deployments", "web", &["app:1", "app:2"]).await;
    let path = rig.one("deployments", "web");
    rig.patch(
        &path,
        MERGE,
        json!({"metadata": {"annotations": {"note": "kept"}}, "spec": {"paused": true}}),
    )
    .await;
    let paused = rig.observed("deployments", "web").await;
    let sets = rig.list("replicasets").await;
    let old = sets.iter().find(|set| revision(set) == "1").expect("the history");
    let mut template = old["spec"]["template"].clone();
    template["metadata"]["labels"].as_object_mut().expect("labels").remove("pod-template-hash");
    let undone = rig.patch(&path, OPERATIONS, json!([
        {"op": "test", "path": "/metadata/resourceVersion", "value": paused["metadata"]["resourceVersion"]},
        {"op": "add", "path": "/spec/paused", "value": false},
        {"op": "replace", "path": "/spec/template", "value": template},
    ])).await;
    let generation = paused["metadata"]["generation"].as_u64().expect("a number");
    assert_eq!(undone["metadata"]["generation"], generation + 1);
    assert!(undone["spec"].get("paused").is_none(), "false is left out");
    rig.roll_out("deployments", "web").await;
    let web = rig.get(&path).await;
    assert_eq!((revision(&web), image(&web)), ("3", "app:1"));
    assert_eq!(web["metadata"]["annotations"]["note"], "kept");
    assert_eq!(rig.list("replicasets").await.len(), 2, "no third template was made");
}

async fn a_paused_deployment_is_scaled_as_it_is(rig: &Rig) {
    rig.workload("deployments", "web", &["app:1"]).await;
    rig.patch(&rig.one("deployments", "web"), MERGE, json!({"spec": {"replicas": 8}})).await;
    rig.roll_out("deployments", "web").await;
    rig.set_image("deployments", "web", "app:2").await;
    // Two may be missing and two too many: six old ones are left, four new ones come.
    let counts = async || {
        let mut sets = rig.list("replicasets").await;
        sets.sort_by_key(|set| revision(set).to_owned());
        sets.iter()
            .map(|set| set["spec"]["replicas"].as_u64().unwrap_or_default())
            .collect::<Vec<_>>()
    };
    rig.wait("the rollout is in its middle", async || counts().await == [6, 4]).await;
    let path = rig.one("deployments", "web");
    rig.patch(&path, MERGE, json!({"spec": {"paused": true}})).await;
    rig.observed("deployments", "web").await;
    rig.patch(&rig.one("deployments", "web/scale"), MERGE, json!({"spec": {"replicas": 16}})).await;
    rig.wait("both grow in proportion", async || counts().await == [12, 8]).await;
    rig.patch(&rig.one("deployments", "web/scale"), MERGE, json!({"spec": {"replicas": 0}})).await;
    rig.wait("both go", async || counts().await == [0, 0]).await;
}

async fn a_rollout_that_is_stuck_keeps_old_pods(rig: &Rig) {
    rig.workload("deployments", "web", &["app:1"]).await;
    rig.set_image("deployments", "web", "broken:1").await;
    let path = rig.one("deployments", "web");
    let stuck = async || {
        rig.make_ready("broken:1").await;
        let status = rig.get(&path).await["status"].clone();
        status["updatedReplicas"] == 1 && status["replicas"] == 3
    };
    rig.wait("one new pod comes beside the old", stuck).await;
    let web = rig.get(&path).await;
    assert_eq!(
        (&web["status"]["availableReplicas"], &web["status"]["unavailableReplicas"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(condition(&web, "Progressing")["reason"], "ReplicaSetUpdated");
    // The deadline is counted from the last progress.
    rig.patch(&path, MERGE, json!({"spec": {"progressDeadlineSeconds": 1}})).await;
    let late = async || {
        let progressing = condition(&rig.get(&path).await, "Progressing").clone();
        progressing["reason"] == "ProgressDeadlineExceeded" && progressing["status"] == "False"
    };
    rig.wait("it takes too long", late).await;
}

async fn a_history_has_a_limit(rig: &Rig) {
    rig.workload("deployments", "web", &["app:1", "app:2"]).await;
    rig.patch(&rig.one("deployments", "web"), MERGE, json!({"spec": {"revisionHistoryLimit": 0}}))
        .await;
    rig.wait("the old one is removed", async || rig.list("replicasets").await.len() == 1).await;
}

/// The revisions of a workload, oldest first.
async fn history(rig: &Rig) -> Vec<Value> {
    let mut history = rig.list("controllerrevisions").await;
    history.sort_by_key(|revision| revision["revision"].as_u64());
    history
}

async fn a_stateful_set_is_brought_back_by_a_revision(rig: &Rig) {
    let set = rig.workload("statefulsets", "db", &["db:1", "db:2"]).await;
    let before = history(rig).await;
    let numbers: Vec<_> = before.iter().map(|each| each["revision"].clone()).collect();
    assert_eq!(numbers, [1, 2]);
    assert_eq!(set["status"]["currentRevision"], before[1]["metadata"]["name"]);
    assert_eq!(before[0]["metadata"]["ownerReferences"][0]["uid"], set["metadata"]["uid"]);
    assert_eq!(before[0]["metadata"]["labels"]["app"], "db");
    assert_eq!(before[0]["data"]["spec"]["template"]["$patch"], "replace");
    let data = before[0]["data"].clone();
    let undone = rig.patch(&rig.one("statefulsets", "db"), STRATEGIC, data).await;
    assert_eq!(image(&undone), "db:1");
    rig.roll_out("statefulsets", "db").await;
    let set = rig.get(&rig.one("statefulsets", "db")).await;
    assert_eq!(set["status"]["currentRevision"], before[0]["metadata"]["name"]);
    let after = history(rig).await;
    assert_eq!((after.len(), &after[1]["revision"]), (2, &json!(3)));
    assert_eq!(
        after[1]["metadata"]["name"], before[0]["metadata"]["name"],
        "it comes back under its name"
    );
    for pod in rig.list("pods").await {
        let label = &pod["metadata"]["labels"]["controller-revision-hash"];
        assert_eq!(label, &before[0]["metadata"]["name"]);
    }
}

async fn a_stateful_set_is_stuck_on_a_broken_pod(rig: &Rig) {
    rig.workload("statefulsets", "db", &["db:1"]).await;
    rig.set_image("statefulsets", "db", "broken:1").await;
    let path = rig.one("statefulsets", "db");
    let stuck = async || {
        rig.make_ready("broken:1").await;
        let status = rig.get(&path).await["status"].clone();
        status["updatedReplicas"] == 1 && status["readyReplicas"] == 1 && status["replicas"] == 2
    };
    rig.wait("the last pod is broken", stuck).await;
    rig.set_image("statefulsets", "db", "db:1").await;
    let set = rig.observed("statefulsets", "db").await;
    assert_eq!(set["status"]["updateRevision"], set["status"]["currentRevision"]);
    let images = async || {
        let pods = rig.list("pods").await;
        let images = pods.iter().map(|pod| pod["spec"]["containers"][0]["image"].clone());
        images.collect::<Vec<_>>()
    };
    assert_eq!(images().await, ["db:1", "broken:1"], "the broken pod is waited for");
    let (status, _) = rig.send("admin", Method::DELETE, &rig.one("pods", "db-1"), None).await;
    assert_eq!(status, 200);
    rig.roll_out("statefulsets", "db").await;
    assert_eq!(images().await, ["db:1", "db:1"]);
}

async fn a_daemon_set_is_brought_back_by_a_revision(rig: &Rig) {
    let set = rig.workload("daemonsets", "logs", &["log:1", "log:2"]).await;
    assert_eq!(set["status"]["numberAvailable"], set["status"]["desiredNumberScheduled"]);
    let before = history(rig).await;
    assert_eq!(before.len(), 2);
    let data = before[0]["data"].clone();
    rig.patch(&rig.one("daemonsets", "logs"), STRATEGIC, data).await;
    rig.roll_out("daemonsets", "logs").await;
    let after = history(rig).await;
    assert_eq!((after.len(), &after[1]["revision"]), (2, &json!(3)));
    assert_eq!(after[1]["metadata"]["name"], before[0]["metadata"]["name"]);
    let pods = rig.list("pods").await;
    let hash = &after[1]["metadata"]["labels"]["controller-revision-hash"];
    assert_eq!(&pods[0]["metadata"]["labels"]["controller-revision-hash"], hash);
}

async fn a_rollout_of_argo_is_kept(rig: &Rig) {
    rig.define_rollouts().await;
    let body = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"},
        "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "main", "image": "app:1"}]}}},
    });
    let made = rig.create(&rig.all("rollouts"), body).await;
    assert_eq!(made["metadata"]["generation"], 1);
    let path = rig.one("rollouts", "web");
    let aborted = rig
        .patch(&rig.one("rollouts", "web/status"), MERGE, json!({"status": {"abort": true}}))
        .await;
    assert_eq!(
        (&aborted["status"]["abort"], &aborted["metadata"]["generation"]),
        (&json!(true), &json!(1))
    );
    let template = json!({"spec": {"containers": [{"name": "main", "image": "app:0"}]}});
    let operations = json!([{"op": "replace", "path": "/spec/template", "value": template}]);
    let undone = rig.patch(&path, OPERATIONS, operations).await;
    assert_eq!((image(&undone), &undone["metadata"]["generation"]), ("app:0", &json!(2)));
    assert_eq!(undone["status"]["abort"], true);
    let (status, reason, _) =
        refusal(patch(rig, &path, STRATEGIC, json!({"spec": {"paused": true}})).await);
    assert_eq!((status, reason.as_str()), (415, "UnsupportedMediaType"));
}

async fn what_goes_takes_along_what_it_owns(rig: &Rig) {
    rig.workload("deployments", "web", &["app:1"]).await;
    let (status, answer) =
        rig.send("admin", Method::DELETE, &rig.one("deployments", "web"), None).await;
    assert_eq!((status, &answer["status"]), (200, &json!("Success")));
    let gone =
        async || rig.list("replicasets").await.is_empty() && rig.list("pods").await.is_empty();
    rig.wait("nothing is left", gone).await;
}

async fn the_client_library_comes_in_by_context_and_by_token(rig: &Rig) {
    let file = Kubeconfig::read_from(&rig.kubeconfig).expect("a kubeconfig");
    let options =
        KubeConfigOptions { context: Some("deployer".to_owned()), ..KubeConfigOptions::default() };
    let by_context = Config::from_custom_kubeconfig(file, &options).await.expect("it is sound");
    let mut by_token = Config::new(rig.url.parse().expect("an address"));
    by_token.auth_info.token = Some(rig.token("deployer").to_owned().into());
    if let Some(file) = &rig.ca_file {
        let pem = std::fs::read(file).expect("it can be read");
        let authorities =
            CertificateDer::pem_slice_iter(&pem).map(|each| each.expect("PEM").to_vec());
        by_token.root_cert = Some(authorities.collect());
    }
    let kind = GroupVersionKind::gvk("apps", "v1", "Deployment");
    let kind = ApiResource::from_gvk_with_plural(&kind, "deployments");
    for config in [by_context, by_token] {
        let client = kube::Client::try_from(config).expect("a client");
        let all: kube::Api<DynamicObject> =
            kube::Api::namespaced_with(client.clone(), &rig.namespace, &kind);
        let refused = all.get("web").await.expect_err("it may not");
        let kube::Error::Api(status) = refused else { panic!("{refused:?}") };
        assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
        assert!(client.apiserver_version().await.is_ok());
    }
}

async fn pods_become_ready_in_the_background(rig: &Rig) {
    rig.workload("deployments", "web", &["app:1"]).await;
    let kubelet = rig.kubelet("broken:1");
    rig.set_image("deployments", "web", "app:2").await;
    let path = rig.one("deployments", "web");
    let images = async || rig.get(&path).await["status"]["updatedReplicas"] == 2;
    rig.wait("it is rolled out", images).await;
    rig.set_image("deployments", "web", "broken:1").await;
    let stuck = async || {
        let status = rig.get(&path).await["status"].clone();
        status["updatedReplicas"] == 1 && status["availableReplicas"] == 2
    };
    rig.wait("the next one is not", stuck).await;
    drop(kubelet);
}

#[tokio::test]
async fn an_injected_error_is_in_the_servers_form() {
    let faults = Faults::default();
    let rig = Rig::behind(Some(faults.clone())).await;
    faults.add("kubernetes:error=503,path=/deployments,times=1".parse().expect("a fault"));
    let ask = async || rig.send("admin", Method::GET, &rig.all("deployments"), None).await;
    let (status, reason, _) = refusal(ask().await);
    assert_eq!((status, reason.as_str()), (503, "ServiceUnavailable"));
    assert_eq!(ask().await.0, 200);
}
