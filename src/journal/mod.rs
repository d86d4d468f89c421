//! The durable record of runs: an append-only file of events per run, the folder around it, and who may write.
//!
//! [`Journal`] takes [events](crate::event::Event), gives them their place in a hash chain and acknowledges them once they are
//! on disk; only then do subscribers see them. [`read`] brings them back after a crash, [`salvage()`] after damage,
//! and [`Follower`] while another process is still writing. A [`Store`] holds one [`Run`] folder per run, and
//! [`LockDir`] lets one run at a time touch a subject. The engine decides what is recorded and when;
//! nothing here knows what an event means, except which ones announce a change (`docs/design/journal.md`).

mod ack;
mod control;
mod error;
mod files;
mod follow;
mod holder;
mod line;
mod lock;
mod logfile;
mod measured;
mod memory;
mod owner;
mod pieces;
mod reader;
mod run;
mod salvage;
mod saved;
mod store;
mod writer;

#[cfg(test)]
mod tests;

pub use ack::Ack;
pub use control::{Request, Taken};
pub use error::JournalError;
pub use follow::Follower;
pub use holder::Holder;
pub use lock::{LeftElsewhere, Lock, LockDir, LockError};
pub use memory::MemoryLog;
pub use owner::{Owner, OwnerFile};
pub use reader::{History, Tail, contains_head, read};
pub use run::Run;
pub use salvage::{Damage, Salvaged, salvage};
pub use store::{Listing, Store, Summary};
pub use writer::Journal;
