//! A change that is taken back: what whoever looks meets before it and after it.

use std::time::Duration;

use rollback::action::{
    Action, Evidence, Past, Present, Readiness, Saved, StepContext, TakeBack, Verdict,
};
use tokio::time::sleep;

/// Undoes twice. Before that it is nothing that somebody else has made, and afterwards it is as it was at first, where that can be seen at all.
pub(crate) async fn undo_twice(
    action: &dyn Action,
    saved: &Saved,
    applied: Option<&Evidence>,
    cx: impl Fn() -> StepContext,
) {
    let left = action.present(&cx(), saved, applied).await.expect("it can be looked at");
    assert_ne!(left, Present::Other);
    for time in ["undo", "undo again"] {
        action.undo(&cx(), saved, applied).await.expect(time);
        let back = action.present(&cx(), saved, applied).await.expect("it can be looked at");
        assert!(matches!(back, Present::AsBefore | Present::Unseen), "{time}: {back:?}");
    }
}

/// Takes a change back as the revert of its run does. Returns what there was before, and what there is afterwards.
pub(crate) async fn reverted(
    action: Box<dyn Action>,
    (saved, applied): (Saved, Option<Evidence>),
    cx: impl Fn() -> StepContext,
) -> (Present, Present) {
    let (run, place, notes) = (cx().run().to_owned(), cx().place().to_owned(), Vec::new());
    let back = TakeBack::new(action, Past { run, place, saved, applied, notes });
    let left = back.look(&cx()).await.expect("it can be looked at");
    let found = back.inspect(&cx()).await.expect("it can be looked at");
    assert!(matches!(found, Readiness::Needed { .. }), "nobody has begun it: {found:?}");
    let undone = back.apply(&cx(), &Saved::default()).await.expect("it can be taken back");
    let proof = cx();
    while let Verdict::NotYet { observed } =
        back.verify(&proof, &undone).await.expect("it can be verified")
    {
        assert!(!proof.remaining().is_zero(), "{observed}");
        sleep(Duration::from_millis(20)).await;
    }
    (left, back.look(&cx()).await.expect("it can be looked at"))
}
