//! The files of a world: the application's configuration after the upgrade, its backup, and the load balancer's.

use std::fs;
use std::path::{Path, PathBuf};

use super::info::WorldInfo;
use super::seed::service;
use crate::sandbox::services::Colour;
use crate::sandbox::{SandboxError, store};

/// How many agents have a configuration file of their own.
const CONFIGURED: usize = 24;

/// The file that the upgrade added.
const ADDED: &str = "base-agent-v2.yaml";

/// The template of the service discovery's configuration.
const DISCOVERY: &str = "\
# Where the agents find each other's services.
upstream agent-services {
{% for server in servers %}
    server {{ server }};
{% endfor %}
}
";

/// Writes everything anew.
pub(super) fn seed(info: &WorldInfo) -> Result<(), SandboxError> {
    let app = info.root.join("opt/sutazaiapp");
    store::remove_folder(&info.root)?;
    for folder in ["deployment", "backup/agent-configs", "agents/configs", "logs"] {
        store::folder(&app.join(folder))?;
    }
    let (live, backup) = (app.join("agents/configs"), app.join("backup/agent-configs"));
    for number in 1..=info.agents.min(CONFIGURED) {
        let name = format!("{}.yaml", service(number));
        write(&backup.join(&name), &agent(number, Colour::Blue))?;
        write(&live.join(&name), &agent(number, Colour::Green))?;
    }
    let shared = "log_level: info\nmetrics_port: 9090\n";
    write(&backup.join("shared.yaml"), shared)?;
    write(&live.join("shared.yaml"), shared)?;
    write(&backup.join(".environment"), "AGENT_CLASS=BaseAgent\n")?;
    write(&live.join(".environment"), "AGENT_CLASS=BaseAgentV2\n")?;
    write(&live.join(ADDED), "class: BaseAgentV2\nmodel: tinyllama\n")?;
    write(&app.join("logs/deployment_20250801.log"), "deployed BaseAgentV2 2.0.0\n")?;
    load_balancer(info)
}

fn agent(number: usize, colour: Colour) -> String {
    let model = match colour {
        Colour::Blue => "",
        Colour::Green => "model: tinyllama\nconnection_pool: 4\n",
    };
    format!("name: {}\nbase_version: {}\n{model}", service(number), colour.version())
}

/// The load balancer's configuration file of the upstream and the proof.
pub(super) fn upstream_file(info: &WorldInfo) -> PathBuf {
    info.root.join("etc/nginx/conf.d/agents.conf")
}

/// The load balancer's configuration file of where agents find each other's services.
pub(super) fn discovery_file(info: &WorldInfo) -> PathBuf {
    info.root.join("etc/nginx/conf.d/agent-discovery.conf")
}

fn load_balancer(info: &WorldInfo) -> Result<(), SandboxError> {
    let root = info.root.display();
    for folder in ["etc/nginx/conf.d", "etc/nginx/templates", "run", "var/log/nginx"] {
        store::folder(&info.root.join(folder))?;
    }
    let main = format!(
        "# The load balancer of the sandbox.\n\
         worker_processes 1;\n\
         error_log \"{root}/var/log/nginx/error.log\" notice;\n\
         pid \"{root}/run/nginx.pid\";\n\n\
         events {{\n    worker_connections 512;\n}}\n\n\
         http {{\n    \
             access_log off;\n    \
             include conf.d/*.conf;\n\n    \
             server {{\n        \
                 listen {};\n\n        \
                 location / {{\n            \
                     proxy_pass http://agents;\n        \
                 }}\n        \
                 location /agents/ {{\n            \
                     proxy_pass http://agent-services;\n        \
                 }}\n    \
             }}\n\n    \
             server {{\n        \
                 listen {};\n\n        \
                 location / {{\n            \
                     proxy_pass http://orchestrator;\n        \
                 }}\n    \
             }}\n\
         }}\n",
        WorldInfo::host_of(&info.load_balancer),
        info.orchestrator_front,
    );
    write(&info.nginx_conf, &main)?;
    write(&info.root.join("etc/nginx/templates/agent-discovery.conf.tpl"), DISCOVERY)?;
    write(
        &discovery_file(info),
        &format!(
            "upstream agent-services {{ server {}; }}\n\
             server {{ listen {}; location / {{ return 200 \"deployed-green\"; }} }}\n",
            info.green,
            WorldInfo::host_of(&info.discovery_proof),
        ),
    )?;
    write(
        &orchestrator_file(info),
        &format!(
            "# Who answers behind the front, and the proof that this file is live.\n\
             upstream orchestrator {{ server {}; }}\n\
             server {{ listen {}; location / {{ return 200 \"deployed-new\"; }} }}\n",
            info.orchestrator_new, info.orchestrator_proof,
        ),
    )?;
    write(
        &upstream_file(info),
        &format!(
            "# Who answers for the agents, and the proof that this file is live.\n\
             upstream agents {{ server {}; }}\n\
             server {{ listen {}; location / {{ return 200 \"deployed-green\"; }} }}\n",
            info.green,
            WorldInfo::host_of(&info.proof),
        ),
    )
}

/// The configuration file of the upstream behind the new orchestrator's front.
pub(super) fn orchestrator_file(info: &WorldInfo) -> PathBuf {
    info.root.join("etc/nginx/conf.d/orchestrator.conf")
}

/// Puts new addresses in the place of former ones, when a port was taken while the world did not run.
pub(super) fn readdress(former: &WorldInfo, info: &WorldInfo) -> Result<(), SandboxError> {
    let pairs = [
        (&former.blue, &info.blue),
        (&former.green, &info.green),
        (&former.load_balancer, &info.load_balancer),
        (&former.proof, &info.proof),
        (&former.discovery_proof, &info.discovery_proof),
        (&former.orchestrator_old, &info.orchestrator_old),
        (&former.orchestrator_new, &info.orchestrator_new),
        (&former.orchestrator_front, &info.orchestrator_front),
        (&former.orchestrator_proof, &info.orchestrator_proof),
    ];
    let files = [upstream_file(info), discovery_file(info), orchestrator_file(info)];
    for file in [info.nginx_conf.clone()].into_iter().chain(files) {
        let mut text = fs::read_to_string(&file).map_err(SandboxError::file("read", &file))?;
        // In two passes, so that a port that changed its owner is not replaced twice.
        for (index, (from, _)) in pairs.iter().enumerate() {
            text =
                text.replace(&format!("{};", WorldInfo::host_of(from)), &format!("\u{0}{index};"));
        }
        for (index, (_, to)) in pairs.iter().enumerate() {
            text = text.replace(&format!("\u{0}{index};"), &format!("{};", WorldInfo::host_of(to)));
        }
        write(&file, &text)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), SandboxError> {
    fs::write(path, text).map_err(SandboxError::file("write", path))
}
