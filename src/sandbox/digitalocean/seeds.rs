//! What an account holds at first.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::account::Holdings;
use super::agents::{Agent, Function, Route};
use super::apps::App;
use super::deployments::{Deployment, Fate, Phase};
use super::records::{Domain, Record};
use crate::clock;

/// The specialists behind the orchestrator, in the order in which they are paused.
const SPECIALISTS: [&str; 4] =
    ["odoo-developer-agent", "finance-ssc-expert", "bi-architect", "devops-engineer"];
/// What the names of other apps end with that look almost like theirs.
const LOOKALIKES: [&str; 3] = ["-staging", "-2", "-old"];
/// How many lines the log of each has.
const LINES: usize = 300;

/// The first state of an account.
#[derive(Debug, Clone, Default)]
pub struct Seed(Holdings);

impl Seed {
    /// The four specialists, the orchestrator that sends them questions, and so many other apps that there are `apps` of them, among
    /// which the lookalikes; and the domain under which the orchestrator is reached.
    pub fn orchestrator(apps: usize) -> Self {
        let mut seed = Self::default();
        let lookalikes =
            SPECIALISTS.iter().flat_map(|name| LOOKALIKES.map(|suffix| format!("{name}{suffix}")));
        let orchestrator = ["multi-agent-orchestrator".to_owned()];
        let named =
            SPECIALISTS.map(str::to_owned).into_iter().chain(lookalikes).chain(orchestrator);
        // The specialists do not stand together, nor all on the first page of a list.
        let mut names: Vec<String> = (1..=apps).map(|number| format!("app-{number:03}")).collect();
        for (place, name) in named.enumerate().take(apps) {
            let place = (place * 73) % apps;
            let free = (place..apps).chain(0..place).find(|at| names[*at].starts_with("app-"));
            if let Some(free) = free {
                names[free] = name;
            }
        }
        for name in names {
            seed = seed.app(&name);
        }
        seed.domain("insightpulseai.net").agents()
    }

    /// With an app of two versions, of which the newer serves.
    #[must_use]
    pub fn app(mut self, name: &str) -> Self {
        self.0.apps.push(app(name));
        self
    }

    /// With a domain whose `agent` points to the orchestrator.
    #[must_use]
    pub fn domain(mut self, name: &str) -> Self {
        let records = [
            ("NS", "@", "ns1.digitalocean.com", 1800),
            ("NS", "@", "ns2.digitalocean.com", 1800),
            ("NS", "@", "ns3.digitalocean.com", 1800),
            ("A", "@", "192.0.2.10", 1800),
            ("CNAME", "agent", "multi-agent-orchestrator.ondigitalocean.app", 60),
            ("TXT", "@", "v=spf1 -all", 1800),
        ];
        let records = records.map(|(kind, name, data, ttl)| {
            self.0.serial += 1;
            let [kind, name, data] = [kind, name, data].map(str::to_owned);
            Record { id: self.0.serial, kind, name, data, ttl }
        });
        self.0.domains.push(Domain { name: name.to_owned(), records: records.to_vec() });
        self
    }

    /// With the orchestrator's agents, their routes and a function.
    #[must_use]
    pub fn agents(mut self) -> Self {
        let specialists: Vec<Agent> = SPECIALISTS.map(agent).into();
        let route = |child: &Agent| Route {
            uuid: id(),
            child: child.uuid.clone(),
            name: format!("route_to_{}", child.name.replace('-', "_")),
            if_case: format!("the question is one for {}", child.name),
        };
        let function = Function {
            uuid: id(),
            name: "search_knowledge_base".to_owned(),
            description: "Searches the documents of all agents".to_owned(),
            faas_name: "knowledge/search".to_owned(),
            faas_namespace: "fn-3f1d".to_owned(),
            input_schema: json!({"parameters": [{"name": "query", "in": "query", "schema": {"type": "string"}}]}),
            output_schema: json!({"type": "object"}),
        };
        let routes = specialists.iter().map(route).collect();
        let mut orchestrator = agent("multi-agent-orchestrator");
        for name in SPECIALISTS {
            orchestrator.instruction.push_str(&format!(" Leave what is for {name} to it."));
        }
        self.0.agents = vec![Agent { routes, functions: vec![function], ..orchestrator }];
        self.0.agents.extend(specialists);
        self
    }

    pub(super) fn holdings(self) -> Holdings {
        self.0
    }
}

fn id() -> String {
    uuid::Uuid::new_v4().to_string()
}

fn agent(name: &str) -> Agent {
    Agent {
        uuid: id(),
        name: name.to_owned(),
        instruction: format!("You are {name}. Answer from your documents alone."),
        settings: json!({
            "description": format!("The agent {name}"), "temperature": 0.2, "top_p": 0.9, "k": 5, "max_tokens": 512,
            "region": "tor1", "tags": ["orchestrator"],
        }),
        routes: Vec::new(),
        functions: Vec::new(),
    }
}

/// The specification of an app in one of its versions, with a field that the description does not know.
fn spec(name: &str, tag: &str) -> Value {
    json!({
        "name": name,
        "region": "nyc",
        "services": [{
            "name": "agent", "http_port": 8080, "instance_count": 1, "instance_size_slug": "apps-s-1vcpu-1gb",
            "image": {"registry_type": "DOCR", "repository": name, "tag": tag},
            "envs": [
                {"key": "MODEL", "scope": "RUN_TIME", "value": "gpt-4o-mini"},
                {"key": "API_KEY", "scope": "RUN_TIME", "type": "SECRET", "value": format!("EV[1:{name}:c2VjcmV0]")},
            ],
        }],
        "x_future_feature": {"ratio": 1.25, "of": [1, null, {"deep": "kept"}]},
    })
}

fn app(name: &str) -> App {
    let day = Duration::from_secs(24 * 3600);
    let ago = |days: u32| clock::now() - day * days;
    let deployed = |at: Timestamp, tag: &str, phase: Phase| {
        let mut deployment = Deployment::begin(at, "manual", spec(name, tag), Fate::Active);
        deployment.phase = phase;
        deployment
    };
    let active = deployed(ago(1), "2.0.0", Phase::Active);
    let created_at = ago(30);
    App {
        id: id(),
        spec: active.spec.clone(),
        created_at,
        updated_at: active.created_at,
        active: Some(active.id.clone()),
        deployments: vec![active, deployed(created_at, "1.0.0", Phase::Superseded)],
        pinned: None,
        before_rollback: None,
        verdict: json!({}),
        fate: Fate::Active,
        log: (1..=LINES).map(|line| format!("{line:04} answered a question")).collect(),
        log_places: None,
    }
}
