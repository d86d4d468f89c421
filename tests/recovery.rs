//! A run that is killed comes back: nothing is lost, nothing that must not be repeated is done twice.
//!
//! The oracle is never the journal, always the world's own side: the sandbox's state, its ledger of effects, a script's
//! ledger and a counting server ([`rig`]). [`crash`] kills the program at its numbered points, [`orphan`] while a
//! child of its own runs; [`journal`] is about what a resumed run accepts, [`subject`] and [`elsewhere`] about who may go on, [`steps`]
//! about single steps of the shipped runbooks, [`taken_back`] about changes that a failure takes back, [`reverse`] and [`revert`] about whole runs that are taken back. [`staging`] kills runs at random instants on real servers.

mod crash;
mod elsewhere;
mod journal;
mod messages;
mod orphan;
mod reverse;
mod revert;
mod rig;
mod runbooks;
mod staging;
mod steps;
mod subject;
mod taken_back;
