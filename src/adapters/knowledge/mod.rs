//! Knowledge bases: rows with embeddings that agents search, and whether the search is still good.
//!
//! Setting rows aside, deleting them, making them anew beside and bringing them back is the work of `postgres`; this adapter has the two questions
//! that decide about it. Nothing here changes anything.
//!
//! - [`connection`] is the block `knowledge` of the environment. [`wire`] sends one request to one of its services, [`embeddings`] asks an
//!   `OpenAI`-compatible one for vectors, [`rest`] a `PostgREST` for a search.
//! - [`stored`] is what rows there are: documents, chunks, dimensions, models. [`search`] finds rows by a vector.
//! - [`compare`] holds the rows against those of a backup, [`expect`] asks labelled queries ([`labelled`]) and measures recall.

mod compare;
mod connection;
mod embeddings;
mod expect;
mod labelled;
mod rest;
mod search;
mod stored;
mod wire;

use crate::action::{Connection, System, Verb};
use connection::KnowledgeConnection;

/// The system `knowledge` and its verbs.
pub(super) fn system() -> System {
    let services =
        Connection::of::<KnowledgeConnection>("Embeddings and search of a knowledge base")
            .reached_by(|connections| Box::pin(embeddings::reach(connections)));
    System {
        name: "knowledge",
        summary: "Retrieval from a knowledge base with embeddings",
        connections: vec![services],
        verbs: vec![Verb::of::<expect::Expect>(), Verb::of::<compare::Compare>()],
    }
}
