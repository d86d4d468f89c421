//! `--lock`: what a lock that a run of another machine has left means.

use clap::{Args, ValueEnum};

use crate::journal::LeftElsewhere;

/// Which locks keep a run from starting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Respected {
    /// Every one, also what a run of another machine has left in a folder that both use
    All,
    /// Those of live runs on this machine
    None,
}

/// `--lock`.
#[derive(Debug, Clone, Args)]
pub(super) struct LockArgs {
    /// Which locks to respect: `none` passes over one that another machine has left, when nothing runs there any more
    #[arg(long = "lock", value_name = "WHICH", help_heading = "Run")]
    respected: Option<Respected>,
}

impl LockArgs {
    /// What to think of a lock that a run of another machine has left.
    pub(super) fn left_elsewhere(&self) -> LeftElsewhere {
        match self.respected {
            Some(Respected::None) => LeftElsewhere::IsOver,
            Some(Respected::All) | None => LeftElsewhere::MayBeAlive,
        }
    }
}
