//! The port: what the engine asks of every system it drives, and what an adapter may ask in return.
//!
//! An adapter implements [`Action`] for what changes something and [`Probe`] for a read-only question,
//! and publishes both as [`Verb`]s of a [`System`]. The engine sees only this module: it names no
//! adapter, and an adapter names neither the engine nor the journal nor the terminal.

mod back;
mod connections;
mod context;
#[cfg(test)]
pub(crate) mod contract;
mod error;
mod gather;
mod nested;
mod port;
mod system;
mod verb;
mod window;

pub use back::{Past, Present, TakeBack};
pub use connections::{Connections, SystemConnection};
pub use context::{Predictions, Recorder, StepContext};
pub use error::{ActionError, ErrorKind, chain};
pub use gather::{Gather, Gathering, Piece};
pub use nested::ProbeCall;
pub use port::{
    Action, Answer, Description, Evidence, Gate, Hold, Later, Prediction, Probe, Question,
    Readiness, Repeat, Reversal, Saved, Touches, Verdict, Work,
};
pub use system::{Between, Connection, Reach, Registry, System};
pub use verb::{Ending, Inventory, Item, LastWord, ResolveContext, Verb, VerbArgs, VerbKind};
pub use window::Window;
