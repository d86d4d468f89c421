//! The knowledge of the world's agents: what they know, and the services around it.
//!
//! [`corpus`] has the documents, [`toy`] makes vectors of texts. [`embeddings`] is a double of `OpenAI`'s embeddings, [`postgrest`] one of the search
//! that Supabase has before a database, and [`reindex`] stands for the script that indexes documents anew.

pub mod corpus;
pub mod embeddings;
pub mod postgrest;
pub mod reindex;
pub mod toy;

pub use embeddings::Embeddings;
pub use postgrest::Postgrest;
