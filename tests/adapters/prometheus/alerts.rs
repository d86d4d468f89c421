//! Questions about alerts.

use serde_json::json;

use super::rig::Rig;
use crate::support::HANG;

pub(super) async fn an_alert_is_told_while_it_fires(rig: Rig) {
    let port = rig.port();
    let ours = json!({"labels": {"test": rig.label}});
    let until = async |letter: char| {
        let asked = async {
            loop {
                let (found, text) = port.ask("prometheus.alerts", ours.clone()).await;
                if found == letter {
                    return text;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(HANG, asked).await.expect("rules are evaluated every second")
    };
    // A rule that was never evaluated says nothing, so a new server needs a moment.
    assert_eq!(until('y').await, "no alert fires, 1 rule evaluated");
    rig.write("rollback_test_alert", "1", &[(0, 1.0)]).await;
    let fires = until('n').await;
    assert!(fires.starts_with("firing: RollbackTest{") && fires.contains(&rig.label), "{fires}");
    let wanted = json!({"firing": true, "labels": {"test": rig.label}});
    assert_eq!(port.ask("prometheus.alerts", wanted).await, ('y', fires));
    // Of others nothing is said, and what is excepted leaves nothing that could be quiet.
    let others = json!({"labels": {"test": "another"}});
    assert_eq!(port.ask("prometheus.alerts", others).await.0, 'y');
    let except = json!({"except": ["RollbackTest"]});
    let none = port.ask("prometheus.alerts", except).await;
    assert_eq!(none, ('?', "the server has no alerting rule".to_owned()));
    rig.write("rollback_test_alert", "1", &[(-1, 0.0)]).await;
    until('y').await;
}
