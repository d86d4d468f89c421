//! The knowledge adapter on a real PostgreSQL, with the double of the embeddings and both ways to search.
//!
//! [`rig`] is a knowledge base and its services. [`quality`] measures recall, [`statistics`] compares rows, [`gate`] brings rows back when the quality does not
//! hold, with many rows and while others read; [`program`] kills the whole program on the way.

mod gate;
mod pgvector;
mod program;
mod quality;
mod rig;
mod statistics;
