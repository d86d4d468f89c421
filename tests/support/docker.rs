//! The real Docker Engine, and compose projects on it made from the images in `tests/images`.
//!
//! Containers carry the labels that Docker Compose gives to its own (see "Labels" in the Compose specification),
//! which is what the docker adapter selects by.

use std::process::Command;

use uuid::Uuid;

use super::server_variable;
use super::world::finish;

/// The engine's address, as in `DOCKER_HOST`.
pub(crate) fn docker_host() -> String {
    server_variable(&["ROLLBACK_TEST_DOCKER", "DOCKER_HOST"])
}

/// Runs the docker command line against the real engine; returns what it printed.
#[track_caller]
pub(crate) fn docker<'a>(arguments: impl IntoIterator<Item = &'a str>) -> String {
    let output = finish(Command::new("docker").arg("--host").arg(docker_host()).args(arguments));
    output.expect_code(0).stdout.trim_end().to_owned()
}

/// A compose project with a name of its own; its containers are removed when it is dropped.
pub(crate) struct ComposeProject {
    name: String,
}

impl ComposeProject {
    pub(crate) fn new() -> Self {
        let id = Uuid::new_v4().simple().to_string();
        Self { name: format!("rollback-test-{}", &id[..12]) }
    }

    /// The project's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Starts `count` containers of `service`; returns their names, `PROJECT-SERVICE-1` and so on.
    pub(crate) fn start(&self, service: &str, image: &str, count: usize) -> Vec<String> {
        let start = |number: usize| {
            let name = format!("{}-{service}-{number}", self.name);
            let labels = [
                format!("com.docker.compose.project={}", self.name),
                format!("com.docker.compose.service={service}"),
                format!("com.docker.compose.container-number={number}"),
                "com.docker.compose.oneoff=False".to_owned(),
            ];
            let mut arguments = vec!["run", "--detach", "--name", &name];
            arguments.extend(labels.iter().flat_map(|label| ["--label", label.as_str()]));
            arguments.push(image);
            docker(arguments);
            name
        };
        (1..=count).map(start).collect()
    }

    /// The project's containers that run, by name.
    pub(crate) fn running(&self) -> Vec<String> {
        let filter = format!("label=com.docker.compose.project={}", self.name);
        let listed = docker(["ps", "--filter", &filter, "--format", "{{.Names}}"]);
        let mut names: Vec<_> = listed.lines().map(str::to_owned).collect();
        names.sort();
        names
    }
}

impl Drop for ComposeProject {
    /// Goes by the label, since the program under test makes containers too.
    fn drop(&mut self) {
        const REMOVE: &str = r#"left=$(docker ps --all --quiet --filter "$1") &&
            { [ -z "$left" ] || docker rm --force --volumes $left; }"#;
        let filter = format!("label=com.docker.compose.project={}", self.name);
        let removed = Command::new("sh")
            .args(["-c", REMOVE, "sh", &filter])
            .env("DOCKER_HOST", docker_host())
            .output();
        let succeeded = removed.as_ref().is_ok_and(|output| output.status.success());
        // A second panic would hide why the test failed; `scripts/servers down` removes what is left.
        assert!(succeeded || std::thread::panicking(), "failed to remove {filter}: {removed:?}");
    }
}

#[test]
fn a_project_lives_on_the_real_engine_and_ends_with_the_test() {
    let project = ComposeProject::new();
    let name = project.name().to_owned();
    let started = project.start("agent", "rollback-test/agent:2.0.0", 2);
    assert_eq!(project.running(), started);

    docker(["stop", started[0].as_str()]);
    assert_eq!(project.running(), started[1..]);
    let code = docker(["inspect", "--format", "{{.State.ExitCode}}", started[0].as_str()]);
    assert_eq!(code, "0", "the agent leaves on SIGTERM");

    drop(project);
    let filter = format!("label=com.docker.compose.project={name}");
    assert_eq!(docker(["ps", "--all", "--quiet", "--filter", &filter]), "");
}

#[test]
fn the_images_differ_in_what_an_image_presets() {
    let presets = |image: &str| {
        docker([
            "image",
            "inspect",
            "--format",
            "{{json .Config.Env}}{{json .Config.Healthcheck}}",
            image,
        ])
    };
    let (old, new) = (presets("rollback-test/agent:1.0.0"), presets("rollback-test/agent:2.0.0"));
    assert!(old.contains("AGENT_LEGACY=yes") && !new.contains("AGENT_LEGACY"), "{old}\n{new}");
    assert!(new.contains("AGENT_FEATURES=new") && !old.contains("AGENT_FEATURES"), "{old}\n{new}");
    assert!(old.contains("\"Interval\":1000000000") && new.contains("\"Interval\":2000000000"));
}
