//! Runbooks for the crash loop: groups of steps whose end state does not depend on their order, shuffled by a seed.

/// Numbers that a seed decides.
pub(crate) struct Seeded(u64);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit` (`SplitMix64`).
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mixed = mixed ^ (mixed >> 31);
        usize::try_from(mixed % limit as u64).expect("it is below a usize")
    }
}

/// Steps that belong together, in their order. Each group touches something of its own.
const GROUPS: [&str; 11] = [
    "
      - id: stop-one
        docker.stop: {project: ollama-optimized, services: [agent-001], grace: 1s}
      - id: start-one
        docker.start: {project: ollama-optimized, services: [agent-001]}
",
    "
      - id: swap-two
        docker.swap: {project: ollama-optimized, services: [agent-002], image: \"{{ environment.legacy_image }}\", grace: 1s}
      - id: start-two
        docker.start: {project: ollama-optimized, services: [agent-002]}
",
    "
      - id: scale-three
        docker.scale: {project: ollama-optimized, services: {agent-003: 2}, grace: 1s}
",
    "
      - id: scale-legacy
        docker.scale: {project: legacy, services: {agent-003: 0}, grace: 1s}
",
    "
      - id: switch
        loadbalancer.switch: {upstream: agents, to: blue}
",
    "
      - id: lock
        file.lock: {path: /opt/sutazaiapp/deployment/.rollback-in-progress}
      - id: write
        file.write: {path: /opt/sutazaiapp/deployment/note.txt, content: \"rolled back\\n\"}
      - id: unlock
        file.unlock: {path: /opt/sutazaiapp/deployment/.rollback-in-progress}
",
    "
      - id: copy
        file.copy-tree: {from: /opt/sutazaiapp/backup/agent-configs, to: /opt/sutazaiapp/agents/configs}
",
    "
      - id: remove
        file.remove: {path: /opt/sutazaiapp/logs/deployment_20250801.log}
",
    "
      - id: once-script
        verify: {within: 200ms}
        script.run: {argv: [\"[ROOT]/once.sh\", once], undo: [\"[ROOT]/undo.sh\", once]}
      - id: checked-script
        script.run: {argv: [\"[ROOT]/once.sh\", checked], check: [\"[ROOT]/check.sh\", checked], undo: [\"[ROOT]/undo.sh\", checked]}
",
    "
      - id: once-post
        verify: {within: 200ms}
        http.call: {method: POST, url: \"[COUNTER]/once\", undo: {method: DELETE, url: \"[COUNTER]/once\"}}
      - id: put
        http.call: {method: PUT, url: \"[COUNTER]/put\", undo: {method: DELETE, url: \"[COUNTER]/put\"}}
",
    "
      - id: tell
        optional: true
        verify: {within: 200ms}
        notify.slack: {text: rolling back}
      - id: ask
        manual.confirm:
          - {item: It is quiet}
          - {item: The lock may be gone, probe: {docker.expect: {project: legacy, healthy: {at_least: 1}}}}
",
];

/// A runbook of every kind of step, in an order of its own.
pub(crate) fn mixed(seed: u64) -> String {
    let mut seeded = Seeded::new(seed);
    let mut groups = GROUPS.to_vec();
    for index in (1..groups.len()).rev() {
        groups.swap(index, seeded.below(index + 1));
    }
    let at_once = |group: &str| group.replacen("\n        ", "\n        after: []\n        ", 1);
    let mut phases = [String::new(), String::new()];
    for group in groups {
        let group = if seeded.below(3) == 0 { at_once(group) } else { group.to_owned() };
        phases[seeded.below(2)].push_str(group.trim_start_matches('\n'));
    }
    let [first, second] = phases;
    format!(
        "version: 1
name: mixed-{seed}
scenario: partial
subject: mixed
inputs:
  reason: {{type: string, default: none}}
targets:
  proved: {{within: 1h, reached_by: proof/legacy-runs}}
phases:
  - id: first
    steps:
{first}  - id: second
    steps:
{second}  - id: proof
    steps:
      - id: legacy-runs
        docker.expect: {{project: legacy, healthy: {{at_least: 2}}}}
"
    )
}
