//! The program towards terminals, signals, full disks, hostile paths and its own bugs.

mod approvals;
mod crash;
mod deadlines;
mod disk;
mod hostile;
mod prompts;
mod signals;
mod stopped;
mod streams;
mod windows;
