use std::fs;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};

use super::*;
use crate::sandbox::client::{ask, send};
use crate::sandbox::nginx;

async fn world(agents: usize) -> (tempfile::TempDir, World) {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { agents, speed: 100.0, ..Options::default() };
    let world = World::start(dir.path(), options).await.unwrap();
    (dir, world)
}

fn nginx(world: &World, arguments: &[&str]) -> nginx::Outcome {
    let conf = world.info().nginx_conf.to_string_lossy().into_owned();
    let mut all = vec!["-c".to_owned(), conf];
    all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    nginx::command(&all)
}

#[tokio::test]
async fn a_new_world_is_deployed_green() {
    let (_dir, world) = world(131).await;
    let status = world.status().await.unwrap();
    for project in ["ollama-optimized", "legacy"] {
        let fleet = &status.containers[project];
        assert_eq!((fleet["running"], fleet["healthy"]), (131, 131), "{project}");
    }
    assert_eq!(status.images["ollama/agent:2.0.0"], 131);
    let green = &status.load_balancer;
    assert_eq!((green.http, green.agents), (200, Some(131)));
    assert_eq!(green.colour.as_deref(), Some("green"));
    assert_eq!(status.green.version.as_deref(), Some("2.0.0"));
    assert_eq!(status.blue.version.as_deref(), Some("1.0.0"));
    assert_eq!(status.proof.as_deref(), Some("deployed-green"));
    assert_eq!((status.effects_total, status.chat.len()), (0, 0));
    assert_eq!(status.redis["metrics:base-agent-v2"], 5 * 131);
    assert_eq!(status.redis["metrics:base-agent-v2-baseline"], 131);
    let file = |name: &str| status.files.get(&format!("opt/sutazaiapp/{name}"));
    assert!(file("backup/agent-configs/.environment").is_some());
    assert!(file("agents/configs/base-agent-v2.yaml").is_some());
    assert!(file("backup/agent-configs/base-agent-v2.yaml").is_none());
    let (old, new) =
        (file("backup/agent-configs/agent-001.yaml"), file("agents/configs/agent-001.yaml"));
    assert!(old.is_some() && new.is_some() && old != new);
    assert_eq!(nginx(&world, &["-t"]).code, 0, "{}", nginx(&world, &["-t"]).stderr);
    let again = world.status().await.unwrap();
    assert_eq!(again, status, "looking changes nothing");
}

#[tokio::test]
async fn the_services_tell_what_the_agents_can_do() {
    let (_dir, world) = world(2).await;
    let get = async |path: &str| {
        let (status, text) =
            ask(Method::GET, &world.info().green, path, String::new()).await.unwrap();
        (status.as_u16(), serde_json::from_str::<serde_json::Value>(&text).unwrap())
    };
    let expected = serde_json::json!({
        "status": "ok", "version": "2.0.0", "colour": "green", "agents": 2});
    assert_eq!(get("/health-check").await, (200, expected));
    world.engine().stop("ollama-optimized-agent-001-1", None).await.unwrap();
    let system = get("/api/system/health").await.1;
    assert_eq!(system["status"], "degraded");
    assert_eq!(system["agents"]["running"], 1);
    world.engine().stop("ollama-optimized-agent-002-1", None).await.unwrap();
    let (status, body) = get("/health").await;
    assert_eq!((status, &body["status"]), (503, &serde_json::json!("degraded")));
    assert_eq!(world.status().await.unwrap().load_balancer.http, 503);
}

#[tokio::test]
async fn the_load_balancer_moves_to_blue_and_back_with_a_reset() {
    let (_dir, world) = world(2).await;
    let before = world.status().await.unwrap();
    let info = world.info();
    let conf = info.root.join("etc/nginx/conf.d/agents.conf");
    let text = fs::read_to_string(&conf).unwrap();
    fs::write(&conf, text.replace(&info.green, &info.blue).replace("deployed-green", "run-1"))
        .unwrap();
    assert_eq!(nginx(&world, &["-s", "reload"]).code, 0);
    let live = async { while world.status().await.unwrap().proof.as_deref() != Some("run-1") {} };
    tokio::time::timeout(std::time::Duration::from_secs(20), live).await.unwrap();
    world.engine().stop("ollama-optimized-agent-001-1", None).await.unwrap();
    let lock = info.root.join("opt/sutazaiapp/deployment/.rollback-in-progress");
    fs::write(&lock, "run-1").unwrap();
    let after = world.status().await.unwrap();
    assert_eq!(after.load_balancer.colour.as_deref(), Some("blue"));
    assert_eq!(after.effects["loadbalancer reload"], 1);
    assert_eq!(after.effects["stop ollama-optimized/agent-001"], 1);
    assert_eq!(after.containers["ollama-optimized"]["exited"], 1);
    assert!(after.files.contains_key("opt/sutazaiapp/deployment/.rollback-in-progress"));
    world.reset().await.unwrap();
    assert_eq!(world.status().await.unwrap(), before);
}

/// Asks the world's cluster as the user of its runbooks, with a merge patch if there is a body.
async fn ask_cluster(world: &World, method: Method, path: &str, body: &str) -> (u16, String) {
    let token = fs::read_to_string(&world.info().kubernetes_token).unwrap();
    let host = WorldInfo::host_of(&world.info().kubernetes);
    let request = axum::http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", host)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/merge-patch+json")
        .body(body.to_owned().into())
        .unwrap();
    let answer = crate::sandbox::client::send(host, request).await.unwrap();
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn the_cluster_is_stuck_in_a_rollout_and_can_be_brought_back() {
    let (dir, world) = world(1).await;
    let before = world.status().await.unwrap();
    let stuck = DeploymentStatus {
        name: "ollama/ollama-integration".to_owned(),
        image: "ollama/integration:2.0.0".to_owned(),
        revision: "2".to_owned(),
        paused: false,
        replicas: 4,
        updated: 2,
        available: 3,
    };
    assert_eq!(before.deployments, std::slice::from_ref(&stuck));
    let path = "/apis/apps/v1/namespaces/ollama/deployments/ollama-integration";
    let body = r#"{"spec":{"template":{"spec":{"containers":[{"name":"integration","image":"legacy/integration:1.0.0"}]}}}}"#;
    assert_eq!(ask_cluster(&world, Method::PATCH, path, body).await.0, 200);
    assert_eq!(ask_cluster(&world, Method::DELETE, path, "").await.0, 403);
    // On its way the rollout has as many pods as are wanted, and one of the old ones beside them.
    let back = async {
        loop {
            let (_, text) = ask_cluster(&world, Method::GET, path, "").await;
            let deployment: serde_json::Value = serde_json::from_str(&text).unwrap();
            let counts = ["replicas", "updatedReplicas", "availableReplicas"];
            if counts.iter().all(|count| deployment["status"][count] == 4) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), back).await.unwrap();
    let after = world.status().await.unwrap();
    let effect = "kubernetes patch deployments ollama/ollama-integration";
    assert_eq!((after.effects[effect], after.effects_total), (1, 1), "controllers are not counted");
    world.close().await;
    let options = Options { agents: 1, speed: 100.0, ..Options::default() };
    let world = World::start(dir.path(), options).await.unwrap();
    assert_eq!(world.status().await.unwrap().deployments, after.deployments);
    world.reset().await.unwrap();
    assert_eq!(world.status().await.unwrap().deployments, [stuck]);
}

#[tokio::test]
async fn a_world_is_private_and_keeps_its_addresses_or_mends_them() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let options = Options { agents: 1, speed: 100.0, ..Options::default() };
    let first = World::start(dir.path(), options.clone()).await.unwrap();
    let file = WorldInfo::path(dir.path());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(WorldInfo::read(dir.path()).unwrap(), *first.info());
    let former = first.info().clone();
    first.close().await;
    let first = World::start(dir.path(), options.clone()).await.unwrap();
    assert_eq!(*first.info(), former);
    // The first world holds its ports, so that the second has to find others.
    let second = World::start(dir.path(), options).await.unwrap();
    assert_ne!(second.info().load_balancer, first.info().load_balancer);
    let status = second.status().await.unwrap();
    assert_eq!(status.load_balancer.colour.as_deref(), Some("green"));
    assert_eq!(status.proof.as_deref(), Some("deployed-green"));
    let conf = fs::read_to_string(second.info().root.join("etc/nginx/conf.d/agents.conf")).unwrap();
    assert!(conf.contains(&format!("upstream agents {{ server {}; }}", second.info().green)));
}

#[tokio::test]
async fn faults_are_set_and_cleared_while_the_world_runs() {
    let (_dir, world) = world(1).await;
    let control = WorldInfo::host_of(&world.info().control);
    let call = async |method: Method, path: &str, body: &str| {
        let (status, text) = ask(method, control, path, body.to_owned()).await.unwrap();
        (status.as_u16(), text)
    };
    let (status, text) = call(Method::POST, "/faults", "chat:reset\nblue:error=500\n").await;
    assert_eq!((status, text.as_str()), (200, r#"["chat:reset","blue:error=500"]"#));
    assert_eq!(call(Method::POST, "/faults", "chat:silence\nchat:nonsense").await.0, 400);
    assert_eq!(world.faults().list().len(), 2);
    assert_eq!(world.status().await.unwrap().blue.http, 500);
    assert_eq!(call(Method::DELETE, "/faults?double=chat", "").await.1, r#"["blue:error=500"]"#);
    assert_eq!(call(Method::DELETE, "/faults", "").await.1, "[]");
    assert_eq!(world.status().await.unwrap().blue.http, 200);
    assert_eq!(call(Method::GET, "/messages", "").await.1, "[]");
    let (_, ping) = call(Method::GET, "/ping", "").await;
    assert_eq!(ping, format!("{{\"pid\":{}}}", std::process::id()));
    assert_eq!(call(Method::POST, "/down", "").await.0, 202);
    world.ended().await;
}

#[tokio::test]
async fn the_agents_name_leads_to_the_new_orchestrator_and_a_reset_brings_it_back() {
    let (dir, world) = world(1).await;
    let ours = "agent.insightpulseai.net. 5 CNAME orchestrator.insightpulseai.net.".to_owned();
    let names = world.status().await.unwrap().names;
    assert!(names.contains(&ours), "{names:?}");
    assert!(
        names.iter().any(|line| line.starts_with("wr2azp5dsl6mu6xvxtpglk5v.agents.do-ai.run. "))
    );
    let secret = fs::read_to_string(&world.info().dns_key_file).unwrap();
    assert!(!secret.is_empty() && !world.info().dns_resolver.is_empty());
    let elsewhere = ["elsewhere.example.".to_owned()];
    world.names().publish("agent.insightpulseai.net.", 60, "CNAME", &elsewhere).unwrap();
    let moved = world.status().await.unwrap().names;
    assert!(!moved.contains(&ours) && moved.iter().any(|line| line.contains("elsewhere")));
    world.close().await;
    let options = Options { agents: 1, speed: 100.0, ..Options::default() };
    let world = World::start(dir.path(), options).await.unwrap();
    let kept = world.status().await.unwrap().names;
    assert!(kept.iter().any(|line| line.contains("elsewhere")), "{kept:?}");
    world.reset().await.unwrap();
    assert_eq!(world.status().await.unwrap().names, names);
}

/// One port at two addresses, as one name may lead to either; the front of the new orchestrator is nginx.
#[tokio::test]
async fn both_orchestrators_answer_with_what_they_are() {
    let (dir, world) = world(1).await;
    let info = world.info().clone();
    let port = |address: &str| address.rsplit_once(':').map(|(_, port)| port.to_owned());
    assert_eq!(port(&info.orchestrator_old), port(&info.orchestrator_front));
    assert!(info.orchestrator.ends_with(&port(&info.orchestrator_front).unwrap()));
    let status = world.status().await.unwrap();
    let version = |name: &str| status.orchestrators[name].version.clone().unwrap_or_default();
    assert_eq!(["old", "new", "front"].map(version), ["2.0.0", "3.0.0", "3.0.0"]);
    let say = async |address: &str, message: &str| {
        let body = serde_json::json!({"message": message, "conversation_id": "t"}).to_string();
        let request = Request::post("/chat")
            .header("host", address)
            .header("content-type", "application/json")
            .body(Body::from(body))
            .unwrap();
        let answer = send(address, request).await.unwrap();
        let (status, body) = (answer.status(), to_bytes(answer.into_body(), 4096).await.unwrap());
        (status.as_u16(), serde_json::from_slice::<serde_json::Value>(&body).unwrap())
    };
    let (status, answer) = say(&info.orchestrator_old, "What is your version?").await;
    assert_eq!((status, &answer["version"]), (200, &"2.0.0".into()));
    assert!(answer["response"].as_str().unwrap().contains("2.0.0"), "{answer}");
    let question = "Generate BIR Form 1601-C for January 2025";
    let (_, answer) = say(&info.orchestrator_front, question).await;
    assert_eq!(answer["handled_by"], "finance-ssc-expert");
    let (_, answer) = say(&info.orchestrator_old, question).await;
    assert_eq!(answer["handled_by"], "orchestrator");
    world.close().await;

    // Where they were before.
    let world = World::start(dir.path(), Options::default()).await.unwrap();
    assert_eq!(world.info().orchestrator_old, info.orchestrator_old);
    assert_eq!(world.info().orchestrator, info.orchestrator);
}

#[tokio::test]
async fn the_account_has_more_apps_than_a_page_and_remembers_what_was_done() {
    let (dir, world) = world(1).await;
    let before = world.status().await.unwrap().account;
    assert_eq!((before.apps, before.archived.len(), before.unsettled.len()), (230, 0, 0));
    assert_eq!(before.routes.len(), 4);
    let agent = "CNAME agent.insightpulseai.net 60 multi-agent-orchestrator.ondigitalocean.app";
    assert!(before.records.iter().any(|record| record == agent), "{:?}", before.records);
    world.account().tamper("bi-architect", |app| app.spec["maintenance"]["archive"] = true.into());
    let host = WorldInfo::host_of(&world.info().digitalocean);
    let (status, _) = ask(Method::GET, host, "/v2/apps", String::new()).await.unwrap();
    assert_eq!(status.as_u16(), 401, "nobody comes in without the token");
    world.close().await;
    let options = Options { agents: 1, speed: 100.0, ..Options::default() };
    let world = World::start(dir.path(), options).await.unwrap();
    let after = world.status().await.unwrap().account;
    assert_eq!(after.records, before.records);
    world.reset().await.unwrap();
    assert_eq!(world.status().await.unwrap().account, before);
}
