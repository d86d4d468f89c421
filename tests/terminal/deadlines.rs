//! Deadlines are kept by the engine, whatever a server or a child does: silence, a held pipe, a deaf ear.

use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::support::desk::Desk;

/// A server that takes connections and never says a word.
fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    let held: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            held.lock().expect("no thread has panicked").push(stream);
        }
    });
    address
}

/// What a step may take beyond its timeout of one second on a machine under load; a hang takes for ever.
const AMPLE_MS: u64 = 6000;

#[test]
fn no_verb_outlives_its_deadline() {
    let address = silent();
    let undo = r#"undo: ["true"]"#;
    let verbs = [
        format!(
            "http.call: {{method: POST, url: \"http://{address}/\", undo: {{method: DELETE, url: \"http://{address}/\"}}}}"
        ),
        format!(
            "http.call: {{method: PUT, url: \"http://{address}/\", undo: {{method: DELETE, url: \"http://{address}/\"}}}}"
        ),
        format!("http.expect: {{url: \"http://{address}/\"}}"),
        "notify.slack: {text: Hello}".to_owned(),
        "docker.expect: {project: legacy, healthy: {at_least: 1}}".to_owned(),
        "docker.stop: {project: legacy, services: [a]}".to_owned(),
        "docker.start: {project: legacy, services: [a]}".to_owned(),
        // Something that it started holds its output.
        format!("script.shell: {{run: 'sleep 600 & sleep 600', {undo}}}"),
        // The same, and it has ended itself.
        format!("script.shell: {{run: 'sleep 600 & exit 0', {undo}}}"),
        // It does not listen.
        format!(
            "script.shell: {{run: 'trap \"\" TERM INT HUP; while true; do sleep 600; done', {undo}}}"
        ),
        "script.expect: {argv: [sleep, \"600\"]}".to_owned(),
        // The command of its nginx never ends.
        "loadbalancer.switch: {upstream: agents, to: blue}".to_owned(),
        "loadbalancer.render: {template: \"{{ environment.dir }}/a.tpl\", to: \"{{ environment.dir }}/a.conf\", values: {}}".to_owned(),
        "loadbalancer.expect: {upstream: agents, side: blue}".to_owned(),
    ];
    for verb in verbs {
        let desk = Desk::new(&format!(
            "\n      - id: silent\n        timeout: 1s\n        verify: {{within: 1s}}\n        {verb}\n"
        ));
        let home = desk.world.path("home");
        desk.environment(&format!(
            "connections:\n  slack: {{webhook: {{file: hook.txt}}}}\n  docker: {{host: \"tcp://{address}\"}}\n  \
             loadbalancer:\n    nginx: {{command: [sh, -c, sleep 600], pid_file: {home}/nginx.pid}}\n    upstreams:\n      agents:\n        \
             file: {home}/agents.conf\n        sides: {{blue: [\"{address}\"], green: [\"127.0.0.1:9\"]}}\n        proof: {address}",
            home = home.display()
        ));
        desk.world.write("home/a.tpl", "# nothing\n");
        desk.world.write("home/agents.conf", "upstream agents { server 127.0.0.1:9; }\n");
        let hook =
            desk.world.write("home/environments/hook.txt", &format!("http://{address}/hook\n"));
        std::fs::set_permissions(hook, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .expect("it is ours");
        let run = desk.run();
        match run.code() {
            // Refused by the plan or the pre-flight, which have limits of their own.
            Some(4) => {
                assert!(run.stderr.contains("nothing was touched"), "{verb}: {run}");
                continue;
            }
            Some(0 | 6 | 7) => {}
            _ => panic!("{verb}: {run}"),
        }
        let at = |kind: &str| desk.events(kind).remove(0)["elapsed_ms"].as_u64().expect("a time");
        let took = at("step-ended") - at("step-started");
        assert!(took <= 2000 + AMPLE_MS, "{verb} took {took} ms: {run}");
        desk.nothing_left();
    }
}
