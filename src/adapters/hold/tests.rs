//! What a hold takes, and what it is made into.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::action::contract::{self, World};
use crate::action::{ActionError, Answer, Connections, ErrorKind, Hold, Registry, Work};
use crate::secret::Secrets;

fn registry() -> Registry {
    let others = [crate::adapters::script::system(), crate::adapters::manual::system()];
    Registry::new(others.into_iter().chain([super::system()]).collect())
}

async fn make(args: Value) -> Result<Hold, ActionError> {
    let connections = Connections::new("test", HashMap::new(), Arc::new(Secrets::default()));
    let mut work = contract::make(registry(), connections, "hold.while", args).await?;
    match (work.pop(), work.is_empty()) {
        (Some((_, Work::Hold(hold))), true) => Ok(hold),
        _ => panic!("not a single hold"),
    }
}

fn gate(item: &str, program: &str) -> Value {
    json!({"item": item, "probe": {"script.expect": {"argv": [program]}}})
}

#[tokio::test]
async fn a_hold_is_a_time_with_gates() {
    let args = json!({
        "for": "24h", "every": "5m", "tolerate": "10m",
        "gates": [gate("Error rate", "true"), gate("Cost", "false")],
    });
    let hold = make(args).await.expect("valid");
    let minutes = |count: u64| Duration::from_secs(60 * count);
    assert_eq!(
        (hold.lasting, hold.every, hold.tolerate),
        (minutes(24 * 60), minutes(5), minutes(10))
    );
    let told = hold.describe();
    assert!(told.starts_with("hold for 1d, and ask every 5m: Error rate: "), "{told}");
    let cx = World::new("run-1").context(Duration::from_secs(30));
    let answers = [&hold.gates[0], &hold.gates[1]].map(|gate| gate.probe.answer(&cx));
    let [rate, cost] = answers;
    assert!(matches!(rate.await.expect("asked"), Answer::Yes { .. }));
    assert!(matches!(cost.await.expect("asked"), Answer::No { .. }));
}

#[tokio::test]
async fn without_gates_the_time_alone_counts() {
    let hold = make(json!({"for": "300ms"})).await.expect("valid");
    assert!(hold.gates.is_empty());
    assert_eq!(hold.describe(), "wait for 300ms");
}

#[test]
fn a_plan_knows_how_long_it_takes() {
    let registry = registry();
    let verb = registry.verb("hold.while").expect("it is registered");
    let lasts = verb.lasts.expect("it says how long it takes");
    assert_eq!(lasts(json!({"for": "24h"})), Some(Duration::from_secs(86_400)));
    assert_eq!(lasts(json!({"for": "soon"})), None);
}

#[tokio::test]
async fn what_could_never_be_meant_is_refused() {
    let two = json!([gate("x", "true"), gate("x", "true")]);
    let probing = |call: Value| json!({"for": "1h", "gates": [{"item": "x", "probe": call}]});
    for (args, part) in [
        (json!({"for": "24h", "every": "1s"}), "10,000 looks"),
        (json!({"for": "1h", "every": "10ms"}), "shorter than 100ms"),
        (json!({"for": "1h", "tolerate": "1h"}), "no shorter than `for`"),
        (json!({"for": "1h", "gates": two}), "two gates \"x\""),
        (json!({"for": "1h", "gates": [gate(" ", "true")]}), "`item` is empty"),
        (json!({"for": "1h", "gates": [{"item": "x"}]}), "missing field `probe`"),
        (json!({"every": "5m"}), "missing field `for`"),
        (probing(json!({})), "exactly one verb"),
        (probing(json!({"script.run": {"argv": ["true"]}})), "does not only ask"),
        (probing(json!({"manual.confirm": [{"item": "y"}]})), "does not only ask"),
        (probing(json!({"hold.while": {"for": "1s"}})), "does not only ask"),
        (probing(json!({"no.such": {}})), "find the probe `no.such`"),
    ] {
        let error = make(args).await.err().expect("refused");
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.message.contains(part), "{error}");
    }
}
