//! The items of one step, on more threads than one: they begin in their order and go on side by side.

use super::verdict;
use crate::engine::testing::{Bench, Switch, Trouble, bad, fleet, on, plan};
use crate::event::{Event, RunVerdict};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn items_begin_in_their_order() {
    let switch = |index: u64| Switch { takes_ms: index % 3, ..on(&format!("switch {index}")) };
    let names: Vec<String> = (0..200).map(|index| format!("{index:03}")).collect();
    let switches = names.iter().cloned().zip((0..200).map(switch)).collect();
    let (state, log) = Bench::new().run(plan(vec![vec![fleet("fleet", switches)]])).await;
    assert_eq!(verdict(&state).0, RunVerdict::Recovered);
    let begun: Vec<_> = log
        .records()
        .iter()
        .filter_map(|record| match &record.event {
            Event::Inspected { at, .. } => Some(at.item.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(begun, names);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_that_computes_holds_up_no_other_item() {
    let bench = Bench::new();
    let switches = vec![("1".into(), bad("a", Trouble::Computes)), ("2".into(), on("free"))];
    let (state, _) = bench.run(plan(vec![vec![fleet("fleet", switches)]])).await;
    assert_eq!(verdict(&state).0, RunVerdict::Recovered);
    assert!(bench.world().is_on("a"));
}
