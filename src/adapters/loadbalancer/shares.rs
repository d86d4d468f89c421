//! The shares of an upstream's sides, and the weights of servers that they come to.
//!
//! nginx divides by smooth weighted round robin, in each worker for itself: every run of as many requests as the weights sum up to is
//! divided exactly. So the weights are written as small as they can be.

use indexmap::IndexMap;

use super::connection::UpstreamSettings;
use super::upstream::check_name;
use crate::action::{ActionError, ErrorKind};

/// The greatest share.
const MOST: u32 = 1000;
/// The greatest weight of a server.
const HEAVIEST: u64 = 100_000;

/// Checks what can be known without an environment.
pub(super) fn check(weights: &IndexMap<String, u32>) -> Result<(), String> {
    weights.keys().try_for_each(|side| check_name(side))?;
    if let Some((side, share)) = weights.iter().find(|(_, share)| **share > MOST) {
        return Err(format!("the share of `{side}` is {share}, and {MOST} is the most"));
    }
    if weights.values().all(|share| *share == 0) {
        return Err("no side gets anything: one share at least must be more than 0".to_owned());
    }
    Ok(())
}

/// The shares of all sides that there are, as the proof names them: `new=25,old=75`.
pub(super) fn named(weights: &IndexMap<String, u32>, settings: &UpstreamSettings) -> String {
    let share = |side: &String| format!("{side}={}", weights.get(side).copied().unwrap_or(0));
    settings.sides.keys().map(share).collect::<Vec<_>>().join(",")
}

/// The shares for people: `new 25 %, old 75 %`.
pub(super) fn told(weights: &IndexMap<String, u32>) -> String {
    let whole: u32 = weights.values().sum();
    let part = |(side, share): (&String, &u32)| {
        let percent = f64::from(*share) * 100.0 / f64::from(whole.max(1));
        format!("{side} {} %", (percent * 10.0).round() / 10.0)
    };
    weights.iter().map(part).collect::<Vec<_>>().join(", ")
}

/// The servers of all sides as nginx reads them: with a weight, or `down`.
pub(super) fn servers(
    upstream: &str,
    weights: &IndexMap<String, u32>,
    settings: &UpstreamSettings,
) -> Result<Vec<String>, ActionError> {
    for side in weights.keys() {
        let _known = settings.side(upstream, side)?;
    }
    let share = |side: &String| u64::from(weights.get(side).copied().unwrap_or(0));
    let count = |servers: &Vec<String>| servers.len() as u64;
    let used = || settings.sides.iter().filter(|(side, _)| share(side) > 0);
    let common = used().try_fold(1, |all, (_, servers)| lcm(all, count(servers)));
    let weight =
        |side: &String, servers: &Vec<String>| share(side).checked_mul(common? / count(servers));
    let parts: Option<Vec<u64>> = used().map(|(side, servers)| weight(side, servers)).collect();
    let divisor = parts.iter().flatten().copied().fold(0, gcd).max(1);
    let heaviest = parts.map(|parts| parts.into_iter().max().unwrap_or(0) / divisor);
    if heaviest.is_none_or(|heaviest| heaviest > HEAVIEST) {
        let text = format!(
            "divide upstream `{upstream}`: its sides have so many servers that no small weights come to {}",
            told(weights)
        );
        return Err(ActionError::new(ErrorKind::Invalid, text));
    }
    let written = settings.sides.iter().flat_map(|(side, servers)| {
        let weight = weight(side, servers).filter(|weight| *weight > 0);
        servers.iter().map(move |server| match weight {
            Some(weight) => format!("{server} weight={}", weight / divisor),
            None => format!("{server} down"),
        })
    });
    Ok(written.collect())
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn lcm(a: u64, b: u64) -> Option<u64> {
    a.checked_mul(b / gcd(a, b).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(sides: &[(&str, usize)]) -> UpstreamSettings {
        let servers = |side: &str, count| (1..=count).map(|n| format!("{side}:{n}")).collect();
        UpstreamSettings {
            file: "/etc/nginx/agents.conf".into(),
            sides: sides.iter().map(|(side, n)| ((*side).to_owned(), servers(side, *n))).collect(),
            proof: "127.0.0.1:8099".parse().unwrap(),
        }
    }

    fn weights(shares: &[(&str, u32)]) -> IndexMap<String, u32> {
        shares.iter().map(|(side, share)| ((*side).to_owned(), *share)).collect()
    }

    fn written(shares: &[(&str, u32)], sides: &[(&str, usize)]) -> Vec<String> {
        servers("agents", &weights(shares), &settings(sides)).expect("they can be written")
    }

    #[test]
    fn weights_are_as_small_as_they_can_be() {
        let one_each = [("new", 1), ("old", 1)];
        assert_eq!(
            written(&[("new", 50), ("old", 50)], &one_each),
            ["new:1 weight=1", "old:1 weight=1"]
        );
        assert_eq!(
            written(&[("new", 25), ("old", 75)], &one_each),
            ["new:1 weight=1", "old:1 weight=3"]
        );
        assert_eq!(written(&[("old", 7), ("new", 0)], &one_each), ["new:1 down", "old:1 weight=1"]);
        assert_eq!(written(&[("old", 7)], &one_each), ["new:1 down", "old:1 weight=1"]);
    }

    #[test]
    fn a_share_is_that_of_a_side_however_many_servers_it_has() {
        let written = written(&[("new", 50), ("old", 50)], &[("new", 1), ("old", 3)]);
        assert_eq!(
            written,
            ["new:1 weight=3", "old:1 weight=1", "old:2 weight=1", "old:3 weight=1"]
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (shares, part) in [
            (vec![], "no side gets anything"),
            (vec![("new", 0), ("old", 0)], "no side gets anything"),
            (vec![("new", 1001)], "1000 is the most"),
            (vec![("n w", 1)], "letters, digits"),
        ] {
            let problem = check(&weights(&shares)).expect_err("refused");
            assert!(problem.contains(part), "{problem}");
        }
        let error =
            servers("agents", &weights(&[("red", 1)]), &settings(&[("new", 1), ("old", 1)]));
        assert!(error.expect_err("no such side").hints[0].contains("`new`, `old`"));
        let primes = [("a", 997), ("b", 991), ("c", 983)];
        let error =
            servers("agents", &weights(&[("a", 1), ("b", 1), ("c", 1)]), &settings(&primes));
        assert!(error.expect_err("no small weights").message.contains("no small weights"));
    }

    #[test]
    fn the_shares_are_told_as_parts_of_the_whole() {
        assert_eq!(told(&weights(&[("new", 1), ("old", 2)])), "new 33.3 %, old 66.7 %");
        let named =
            named(&weights(&[("old", 75), ("new", 25)]), &settings(&[("new", 1), ("old", 1)]));
        assert_eq!(named, "new=25,old=75");
    }
}
