//! A registry of verbs with the names and arguments of the real ones, and nothing behind them.
//!
//! For tests of the language and the planner, which must not depend on adapters.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::action::{
    ActionError, ErrorKind, Inventory, LastWord, Registry, ResolveContext, System, Verb, VerbArgs,
    VerbKind, Work,
};
use crate::value::{Count, Lasting};

/// All test verbs.
pub(crate) fn registry() -> Registry {
    Registry::new(vec![
        system(
            "docker",
            vec![
                Verb::of::<DockerStop>(),
                Verb::of::<DockerExpect>(),
                Verb::inventory::<DockerServices>(),
            ],
        ),
        system("kubernetes", vec![Verb::of::<KubernetesPause>(), Verb::of::<KubernetesExpect>()]),
        system("loadbalancer", vec![Verb::of::<LoadbalancerSwitch>()]),
        system("http", vec![Verb::of::<HttpExpect>()]),
        system("script", vec![Verb::of::<ScriptRun>(), Verb::of::<ScriptShell>()]),
        system(
            "file",
            vec![
                Verb::of::<FileLock>(),
                Verb::of::<FileWrite>(),
                Verb::of::<FileCopyTree>(),
                Verb::of::<FileRemove>(),
            ],
        ),
        system("notify", vec![Verb::of::<NotifySlack>()]),
        system("manual", vec![Verb::of::<ManualConfirm>()]),
    ])
}

fn system(name: &'static str, verbs: Vec<Verb>) -> System {
    System { name, summary: "A system of the tests", connections: Vec::new(), verbs }
}

macro_rules! verbs {
    ($($kind:ident $name:literal $args:ident $({ $($extra:item)* })?)+) => {$(
        #[async_trait]
        impl VerbArgs for $args {
            const NAME: &'static str = $name;
            const SUMMARY: &'static str = "Does what its name says";
            const KIND: VerbKind = VerbKind::$kind;
            const TIMEOUT: Duration = Duration::from_secs(30);
            type Item = Value;
            $($($extra)*)?

            async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Value)>, ActionError> {
                Ok(vec![(String::new(), serde_json::to_value(self).expect("plain data"))])
            }

            fn make(_: Value, _: &ResolveContext) -> Result<Work, ActionError> {
                Err(ActionError::new(ErrorKind::Invalid, "run a verb of the tests"))
            }
        }
    )+};
}

verbs! {
    Action "docker.stop" DockerStop
    Probe "docker.expect" DockerExpect
    Action "kubernetes.pause" KubernetesPause
    Probe "kubernetes.expect" KubernetesExpect
    Action "loadbalancer.switch" LoadbalancerSwitch
    Probe "http.expect" HttpExpect {
        fn validate(&self) -> Result<(), String> {
            if self.url.starts_with("http://") || self.url.starts_with("https://") {
                return Ok(());
            }
            Err(format!("`url` must begin with `http://` or `https://`, not `{}`", self.url))
        }
    }
    Action "script.run" ScriptRun
    Action "script.shell" ScriptShell
    Action "file.lock" FileLock
    Action "file.write" FileWrite
    Action "file.copy-tree" FileCopyTree
    Action "file.remove" FileRemove { const IRREVERSIBLE: Option<&'static str> = Some("the files are gone"); }
    Action "notify.slack" NotifySlack {
        const LAST_WORD: Option<LastWord> = Some(|ending| ending.text.clone().into());
    }
    Action "manual.confirm" ManualConfirm
}

/// Stops services of a compose project.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DockerStop {
    /// The compose project.
    project: String,
    /// The services; all when missing.
    services: Option<Vec<String>>,
    /// The time between the stop signal and the kill.
    grace: Option<Lasting>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DockerExpect {
    project: String,
    healthy: Count,
    services: Option<Vec<String>>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DockerServices {
    project: String,
}

#[async_trait]
impl Inventory for DockerServices {
    const NAME: &'static str = "docker.services";
    const SUMMARY: &'static str = "The services of a compose project";

    async fn list(self, _: &ResolveContext) -> Result<Vec<Value>, ActionError> {
        Ok(vec![self.project.into()])
    }
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct KubernetesPause {
    deployment: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct KubernetesExpect {
    deployment: String,
    paused: Option<bool>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LoadbalancerSwitch {
    upstream: String,
    to: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct HttpExpect {
    url: String,
    status: Option<u16>,
    #[serde(default)]
    json: BTreeMap<String, Value>,
    #[serde(default)]
    header: BTreeMap<String, String>,
    body: Option<String>,
    #[schemars(range(min = 1))]
    consecutive: Option<u32>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ScriptRun {
    #[schemars(length(min = 1))]
    argv: Vec<String>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ScriptShell {
    /// The script, as it is.
    #[schemars(extend("x-rollback" = "no-template"))]
    run: String,
    #[serde(default)]
    variables: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FileLock {
    path: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FileWrite {
    path: String,
    content: String,
    mode: Option<Mode>,
}

/// Who may read a file.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    /// The owner.
    Private,
    /// Everybody.
    Shared,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FileCopyTree {
    from: String,
    to: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FileRemove {
    path: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NotifySlack {
    text: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
struct ManualConfirm(Vec<ManualItem>);

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ManualItem {
    item: String,
    probe: Option<VerbCall>,
    #[serde(default)]
    required: bool,
}

/// One probe verb and its arguments.
#[derive(Serialize, Deserialize)]
struct VerbCall(BTreeMap<String, Value>);

impl JsonSchema for VerbCall {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ProbeCallOfTests".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "x-rollback": "probe-call"})
    }
}
