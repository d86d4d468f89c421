//! The double answers in the words of the real server.

use serde_json::Value;

use super::rig::Rig;

/// Requests whose answers are the same on every server; `M` is a metric of the test.
const REQUESTS: [&str; 15] = [
    "/-/ready",
    "/api/v1/query?query=M&time=T",
    "/api/v1/query?query=nothing_at_all&time=T",
    "/api/v1/query?query=42&time=T",
    "/api/v1/query?query=%22text%22&time=T",
    "/api/v1/query?query=time()%20-%20timestamp(M)&time=T",
    "/api/v1/query?query=M&time=yesterday",
    "/api/v1/query",
    "/api/v1/query_range?query=M&start=T&end=T&step=1",
    "/api/v1/query_range?query=7&start=T&end=T&step=1",
    "/api/v1/query_range?query=M&start=T&end=T&step=0",
    "/api/v1/query_range?query=M&start=T&end=1&step=1",
    "/api/v1/query_range?query=M&start=1&end=T&step=1",
    "/api/v1/query_range?query=M&end=T&step=1",
    "/api/v1/nothing",
];

/// Status and body. Of a refusal only the parts that a client decides by: the words of a parser are its own.
async fn ask(rig: &Rig, request: &str, time: i64) -> (u16, String) {
    let metric = rig.query("words").replace('"', "%22");
    let time = format!("{}.{:03}", time / 1000, time % 1000);
    let path = request.replace("=M", &format!("={metric}")).replace("(M)", &format!("({metric})"));
    let path = path.replace("=T", &format!("={time}"));
    let answer = reqwest::get(format!("{}{path}", rig.url)).await.expect("it answers");
    let status = answer.status().as_u16();
    let body = answer.text().await.expect("a text").replace(&rig.label, "LABEL");
    let Ok(mut body) = serde_json::from_str::<Value>(&body) else {
        return (status, if status == 200 { body } else { String::new() });
    };
    if let Some(said) = body["error"].as_str() {
        let parameter = said.split(':').next().unwrap_or_default().to_owned();
        body["error"] = parameter.into();
    }
    (status, body.to_string())
}

#[tokio::test]
async fn the_double_speaks_as_the_real_server() {
    let (real, double) = (Rig::real(), Rig::double());
    let time = crate::support::prometheus::now();
    for rig in [&real, &double] {
        for (letter, value) in [("1", 0.5), ("2", f64::INFINITY), ("3", -1.5e9), ("4", f64::NAN)] {
            rig.write("words", letter, &[(60, value)]).await;
        }
    }
    for request in REQUESTS {
        let (mut wanted, mut found) =
            (ask(&real, request, time).await, ask(&double, request, time).await);
        if request.contains("timestamp") {
            // The samples were written one after the other, so that their ages differ by some milliseconds.
            let whole = without_ages(&wanted.1);
            (wanted.1, found.1) = (whole, without_ages(&found.1));
        }
        assert_eq!(found, wanted, "{request}");
    }
}

/// The answer without the digits of its ages.
fn without_ages(body: &str) -> String {
    let mut body: Value = serde_json::from_str(body).expect("JSON");
    let series = body["data"]["result"].as_array_mut().expect("series");
    for one in series {
        let age: f64 = one["value"][1].as_str().expect("a text").parse().expect("a number");
        one["value"][1] = (age > 59.0).into();
    }
    body.to_string()
}

#[tokio::test]
async fn a_form_is_read_as_well_as_a_url() {
    for rig in [Rig::real(), Rig::double()] {
        rig.write("form", "1", &[(0, 0.5)]).await;
        let fields = [("query", rig.query("form"))];
        let url = format!("{}/api/v1/query", rig.url);
        let asked = reqwest::Client::new().post(url).form(&fields).send().await;
        let body: Value = asked.expect("it answers").json().await.expect("JSON");
        assert_eq!(body["data"]["result"][0]["value"][1], "0.5", "{body}");
    }
}

#[tokio::test]
async fn alerts_have_the_same_form() {
    let (real, double) = (Rig::real(), Rig::double());
    for rig in [&real, &double] {
        rig.write("rollback_test_alert", "1", &[(0, 1.0)]).await;
    }
    let alert = async |rig: &Rig| -> Vec<String> {
        let asked = async {
            loop {
                let url = format!("{}/api/v1/alerts", rig.url);
                let body: Value =
                    reqwest::get(url).await.expect("it answers").json().await.expect("JSON");
                let alerts = body["data"]["alerts"].as_array().expect("a list").clone();
                let ours = alerts.into_iter().find(|alert| alert["labels"]["test"] == *rig.label);
                if let Some(Value::Object(ours)) = ours {
                    assert_eq!(ours["state"], "firing");
                    assert_eq!(ours["labels"]["alertname"], "RollbackTest");
                    return ours.keys().filter(|key| *key != "activeAt").cloned().collect();
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(crate::support::HANG, asked).await.expect("it fires")
    };
    assert_eq!(alert(&double).await, alert(&real).await);
    for rig in [&real, &double] {
        rig.write("rollback_test_alert", "1", &[(-1, 0.0)]).await;
    }
}
