//! The real Prometheus, and samples in it: written with the times that a test needs, so that nothing waits for a scrape.
//!
//! Remote write 0.1.0 (<https://prometheus.io/docs/concepts/remote_write_spec/>): a `WriteRequest` of protocol buffers, compressed by
//! snappy. Both are simple enough to be written by hand here: snappy may say everything literally.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use super::server_variable;

/// The address of the server that `scripts/servers` has started.
pub(crate) fn url() -> String {
    server_variable(&["ROLLBACK_TEST_PROMETHEUS"])
}

/// A label value that no other test has.
pub(crate) fn own_label() -> String {
    Uuid::new_v4().simple().to_string()
}

/// Milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "samples carry the time of the real clock")]
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    i64::try_from(since.as_millis()).expect("it fits for some ages")
}

/// A value that was there for some time, up to now: every quarter of a minute, or every four minutes when it lasted for hours, which any
/// look sees (a sample is found for five minutes).
pub(crate) fn steady(value: f64, lasting: Duration) -> Vec<(i64, f64)> {
    let now = now();
    let every = if lasting < Duration::from_secs(3600) { 15 } else { 240 };
    let steps = i64::try_from(lasting.as_secs() / every + 1).expect("some days");
    let every = i64::try_from(every * 1000).expect("a short time");
    (0..=steps).rev().map(|step| (now - step * every, value)).collect()
}

/// Writes samples of one series, oldest first: `name{label="value"}` as pairs, the name under `__name__`.
pub(crate) async fn write(labels: &[(&str, &str)], samples: &[(i64, f64)]) {
    let mut labels = labels.to_vec();
    labels.sort_unstable();
    let mut series = Vec::new();
    for (name, value) in labels {
        let pair = [field(1, name.as_bytes()), field(2, value.as_bytes())].concat();
        series.extend(field(1, &pair));
    }
    for (at, value) in samples {
        let mut sample = vec![1 << 3 | 1];
        sample.extend(value.to_le_bytes());
        sample.push(2 << 3);
        sample.extend(varint(u64::try_from(*at).expect("after 1970")));
        series.extend(field(2, &sample));
    }
    let answer = reqwest::Client::new()
        .post(format!("{}/api/v1/write", url()))
        .header("content-encoding", "snappy")
        .header("content-type", "application/x-protobuf")
        .header("x-prometheus-remote-write-version", "0.1.0")
        .body(literal_snappy(&field(1, &series)))
        .send()
        .await
        .expect("Prometheus answers");
    let status = answer.status();
    assert!(status.is_success(), "{status}: {}", answer.text().await.unwrap_or_default());
}

/// A length-delimited field of a message.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    field.extend(varint(content.len() as u64));
    field.extend(content);
    field
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).expect("seven bits");
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// The snappy block format with literals alone, each of at most sixty bytes.
fn literal_snappy(content: &[u8]) -> Vec<u8> {
    let mut block = varint(content.len() as u64);
    for chunk in content.chunks(60) {
        block.push(u8::try_from((chunk.len() - 1) << 2).expect("sixty bytes at most"));
        block.extend(chunk);
    }
    block
}
