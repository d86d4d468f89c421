//! The sandbox's engine with the images that the real engine has: the same names, the same presets.

use std::path::Path;

use bollard::models::HealthConfig;
use rollback::sandbox::docker::model::{BEHAVIOUR, Config, Image, Labels, Network};
use rollback::sandbox::docker::{Engine, Setup, routes};
use rollback::sandbox::ledger::Ledger;
use rollback::sandbox::wire::{Front, open_unix};
use serde_json::Value;
use tempfile::TempDir;

use super::rig::{BROKEN, NEW, OLD, Rig, STUBBORN};

/// How many times as fast as a real engine it works.
pub(super) const SPEED: u32 = 10;

const NETWORK: &str = "rollback-test_default";

/// Starts a double of its own.
pub(super) fn start() -> Rig {
    let folder = TempDir::new().expect("the temporary folder is writable");
    let engine = engine(folder.path());
    let socket = folder.path().join("docker.sock");
    let front = Front { faults: None, handler: routes::handler(engine), refuse: routes::refuse };
    let door = open_unix(&socket, front).expect("the double listens");
    let host = format!("unix://{}", socket.display());
    Rig::new(host, Some(NETWORK.to_owned()), Box::new((door, folder)))
}

fn engine(folder: &Path) -> std::sync::Arc<Engine> {
    let ledger = Ledger::open(&folder.join("effects.log")).expect("the ledger is writable");
    let setup = Setup { dir: folder.join("docker"), speed: f64::from(SPEED), ledger };
    let engine = Engine::open(setup).expect("the double opens");
    let images = vec![
        image(1, OLD, agent(&["VERSION=1.0.0", "MODEL=small", "LEGACY=yes"], 1)),
        image(2, NEW, agent(&["VERSION=2.0.0", "MODEL=large", "FEATURES=new"], 2)),
        image(3, STUBBORN, behaving("ignores-sigterm")),
        image(4, BROKEN, behaving("exits-at-start")),
    ];
    let networks = vec![network("bridge", 17), network(NETWORK, 18)];
    engine.seed(images, networks, Vec::new()).expect("the double takes its images");
    engine
}

fn image(number: u8, name: &str, config: Config) -> Image {
    Image {
        id: format!("sha256:{}", number.to_string().repeat(64)),
        tags: vec![name.to_owned()],
        digests: Vec::new(),
        created: "2026-01-01T00:00:00Z".to_owned(),
        config,
    }
}

fn agent(variables: &[&str], interval: i64) -> Config {
    let check = HealthConfig {
        test: Some(vec!["CMD".to_owned(), "/bin/wget".to_owned()]),
        interval: Some(interval * 1_000_000_000),
        ..HealthConfig::default()
    };
    let check = serde_json::to_value(check).expect("a health check is plain data");
    let Value::Object(check) = check else { unreachable!("a struct is an object") };
    Config {
        env: Some(variables.iter().map(|variable| format!("AGENT_{variable}")).collect()),
        cmd: Some(vec!["/bin/sh".to_owned(), "/agent.sh".to_owned()]),
        healthcheck: Some(check),
        ..Config::default()
    }
}

fn behaving(behaviour: &str) -> Config {
    Config {
        cmd: Some(vec!["/bin/sh".to_owned()]),
        labels: Some(Labels::from([(BEHAVIOUR.to_owned(), behaviour.to_owned())])),
        ..Config::default()
    }
}

fn network(name: &str, subnet: u8) -> Network {
    Network {
        id: subnet.to_string().repeat(32),
        name: name.to_owned(),
        created: "2026-01-01T00:00:00Z".to_owned(),
        labels: Labels::new(),
        subnet,
    }
}
