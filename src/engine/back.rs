//! The work of a run that takes another one back: the reverse of what that run changed.

use super::Vault;
use crate::action::{
    ActionError, ErrorKind, Evidence, Past, ResolveContext, Saved, TakeBack, Verb, Work,
};
use crate::event::SavedRecord;
use crate::plan::Back;
use crate::value::JsonText;

/// Makes the reverse of one change of `run`. `args` is a [`Back`], and `vault` has that run's private saved states.
///
/// # Errors
/// The saved state is gone or changed, or the change is not one of this program.
pub async fn take_back(
    verb: &Verb,
    args: &JsonText,
    run: &str,
    resolve: &ResolveContext,
    vault: &dyn Vault,
) -> Result<TakeBack, ActionError> {
    let back: Back = read(args)?;
    let Work::Action(action) = verb.make(&back.args, resolve)? else {
        let text = format!("take `{}` back: it changes nothing", verb.name);
        return Err(ActionError::new(ErrorKind::Invalid, text));
    };
    let SavedRecord { state, private } = read(&back.saved)?;
    let private = match &private {
        Some(reference) => Some(vault.get(reference).await?),
        None => None,
    };
    let past = Past {
        run: run.to_owned(),
        place: back.place,
        saved: Saved { state, private },
        applied: back.applied.as_ref().map(read::<Evidence>).transpose()?,
        notes: back.notes.iter().map(JsonText::value).collect(),
    };
    Ok(TakeBack::new(action, past))
}

fn read<T: serde::de::DeserializeOwned>(text: &JsonText) -> Result<T, ActionError> {
    text.read().map_err(|error| {
        let text = "read what the former run left";
        ActionError::new(ErrorKind::Invalid, text).caused_by(&error)
    })
}
