//! Agents lose a route, a function or a sentence of their instruction, and get back exactly what they had.

use rollback::action::{Action, ErrorKind};
use rollback::sandbox::digitalocean::Agent;
use serde_json::{Value, json};

use super::rig::{Port, Rig};

const ORCHESTRATOR: &str = "multi-agent-orchestrator";
const DETACH: &str = "digitalocean.detach";
const ATTACH: &str = "digitalocean.attach";
const INSTRUCT: &str = "digitalocean.instruct";

fn orchestrator(rig: &Rig) -> Agent {
    rig.account.agent(ORCHESTRATOR).expect("it is there")
}

/// Its routes and functions, but for their identifiers, which are new when they are made again.
fn links(rig: &Rig) -> Vec<String> {
    let agent = orchestrator(rig);
    let routes = agent.routes.iter().map(|it| format!("{} {} {}", it.child, it.name, it.if_case));
    let functions = agent.functions.iter().map(|it| {
        format!(
            "{} {} {} {} {}",
            it.name, it.description, it.faas_name, it.faas_namespace, it.input_schema
        )
    });
    let mut links: Vec<String> = routes.chain(functions).collect();
    links.sort();
    links
}

async fn planned(port: &Port, verb: &str, what: Value) -> Box<dyn Action> {
    let mut args = json!({ "agent": ORCHESTRATOR });
    for (name, value) in what.as_object().expect("an object") {
        args[name] = value.clone();
    }
    port.planned(verb, args).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_goes_by_either_name_and_comes_back_as_it_was() {
    let rig = Rig::new();
    let port = rig.port();
    let before = links(&rig);
    for route in ["finance-ssc-expert", "route_to_finance_ssc_expert"] {
        let detach = planned(&port, DETACH, json!({"route": route})).await;
        let (saved, _) = port.apply(&*detach).await;
        assert_eq!(orchestrator(&rig).routes.len(), 3);
        assert!(
            !saved.state.to_string().contains("question"),
            "what a model is told stays private"
        );
        // By its own name the agent is found although no route leads there.
        if route == "finance-ssc-expert" {
            let again = planned(&port, DETACH, json!({"route": route})).await;
            assert!(port.already_done(&*again).await.contains("is without"));
        }
        port.undo(&*detach, &saved).await;
        assert_eq!(links(&rig), before);
    }
    let unknown =
        port.items(DETACH, json!({"agent": ORCHESTRATOR, "route": "finance-ssc-exprt"})).await;
    let error = unknown.expect_err("there is none");
    assert!(error.hints[0].contains("`finance-ssc-expert`"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_goes_and_comes_back_as_it_was() {
    let rig = Rig::new();
    let port = rig.port();
    let before = links(&rig);
    let detach = planned(&port, DETACH, json!({"function": "search_knowledge_base"})).await;
    let (saved, _) = port.apply(&*detach).await;
    assert!(orchestrator(&rig).functions.is_empty());
    port.undo(&*detach, &saved).await;
    assert_eq!(links(&rig), before);
    let new = json!({"name": "ping", "description": "Answers", "faas_name": "p/ping", "faas_namespace": "fn-1"});
    let attach = planned(&port, ATTACH, json!({"function": new})).await;
    let (saved, _) = port.apply(&*attach).await;
    assert_eq!(orchestrator(&rig).functions.len(), 2);
    let other =
        planned(&port, ATTACH, json!({"function": {"name": "ping", "description": "Else"}})).await;
    let kept = port.needed(&*other).await;
    let error = other.apply(&port.cx(), &kept).await.expect_err("it is another");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}");
    port.undo(&*attach, &saved).await;
    assert_eq!(links(&rig), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_is_made_or_changed() {
    let rig = Rig::new();
    let port = rig.port();
    let before = links(&rig);
    let route = json!({"to": "bi-architect", "name": "to_bi", "if_case": "numbers"});
    let change = planned(&port, ATTACH, json!({ "route": route })).await;
    let (saved, _) = port.apply(&*change).await;
    assert_eq!(rig.count("change route multi-agent-orchestrator to bi-architect"), 1);
    port.undo(&*change, &saved).await;
    assert_eq!(links(&rig), before);
    let itself = json!({"to": ORCHESTRATOR, "name": "again", "if_case": "never"});
    let make = planned(&port, ATTACH, json!({ "route": itself })).await;
    let (saved, _) = port.apply(&*make).await;
    assert_eq!(orchestrator(&rig).routes.len(), 5);
    port.undo(&*make, &saved).await;
    assert_eq!(links(&rig), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_looked_after_and_what_others_did_is_kept() {
    let rig = Rig::direct();
    let port = rig.port();
    let detach = planned(&port, DETACH, json!({"route": "bi-architect"})).await;
    let saved = port.needed(&*detach).await;
    rig.fault("digitalocean:lost,path=/child_agents/,times=1");
    let error = detach.apply(&port.cx(), &saved).await.expect_err("its answer is lost");
    assert_eq!(error.kind, ErrorKind::Unknown, "{error:?}");
    assert!(port.already_done(&*detach).await.contains("is without the route"));
    assert_eq!(rig.total(), 1);
    let other = json!({"to": "bi-architect", "name": "other", "if_case": "other"});
    let attach = planned(&port, ATTACH, json!({ "route": other })).await;
    let _kept = port.apply(&*attach).await;
    let error = detach.undo(&port.cx(), &saved, None).await.expect_err("another one is there");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_that_was_taken_out_is_known_by_its_note() {
    let rig = Rig::direct();
    let port = rig.port();
    let before = orchestrator(&rig);
    let out = json!({"find": " Answer from your documents alone.", "with": ""});
    let action = planned(&port, INSTRUCT, json!({ "replace": out })).await;
    let saved = port.needed(&*action).await;
    rig.fault("digitalocean:lost,path=PUT /v2/gen-ai/agents/,times=1");
    let error = action.apply(&port.cx(), &saved).await.expect_err("its answer is lost");
    assert_eq!(error.kind, ErrorKind::Unknown, "{error:?}");
    let told = before.instruction.replace(" Answer from your documents alone.", "");
    assert_eq!(orchestrator(&rig).instruction, told);
    assert!(port.already_done(&*action).await.contains("has the instruction"));
    port.undo(&*action, &saved).await;
    assert_eq!(orchestrator(&rig), before);
    let _needed = port.needed(&*action).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instruction_is_set_or_changed_in_one_place() {
    let rig = Rig::new();
    let port = rig.port();
    let before = orchestrator(&rig);
    let fallback =
        json!({"find": "from your documents alone", "with": "without the finance expert"});
    let replace = planned(&port, INSTRUCT, json!({ "replace": fallback })).await;
    let (saved, _) = port.apply(&*replace).await;
    let told = orchestrator(&rig);
    assert!(
        told.instruction.contains("Answer without the finance expert."),
        "{}",
        told.instruction
    );
    assert_eq!(told.settings, before.settings, "the rest stays");
    assert!(port.already_done(&*replace).await.contains("has the instruction"));
    assert!(!saved.state.to_string().contains("documents"), "the text stays private");
    let whole = planned(&port, INSTRUCT, json!({"instruction": "Say that you are away."})).await;
    let (kept, _) = port.apply(&*whole).await;
    let error = replace.undo(&port.cx(), &saved, None).await.expect_err("it is not what it wrote");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}");
    port.undo(&*whole, &kept).await;
    port.undo(&*replace, &saved).await;
    assert_eq!(orchestrator(&rig), before);
    let nowhere =
        planned(&port, INSTRUCT, json!({"replace": {"find": "nothing like it", "with": ""}})).await;
    assert_eq!(port.refused(&*nowhere).await.kind, ErrorKind::Conflict);
}
