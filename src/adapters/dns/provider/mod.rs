//! Where records are kept, and how they are changed there: compare, change, and leave the proof to whoever reads it back.
//!
//! [`keeper`] is what all of them can do; [`rfc2136`] signs dynamic updates, [`cloudflare`] and [`digitalocean`] speak
//! to the providers' APIs.

mod cloudflare;
mod digitalocean;
mod keeper;
mod rfc2136;

pub(super) use cloudflare::Zones;
pub(super) use digitalocean::Domains;
pub(super) use keeper::{Change, Held, Keeper, Noted};
pub(super) use rfc2136::Updates;
