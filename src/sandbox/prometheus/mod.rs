//! A Prometheus double: the HTTP API of Prometheus 2.42 over series that somebody sets.
//!
//! It does not evaluate PromQL. [`query`] finds its answers so: a selector (`name`, `name{label="value"}`) gives the series with that
//! name and these labels, `time() - timestamp(SELECTOR)` their ages, a number itself, a text in quotes itself; every other query is refused as
//! Prometheus refuses one that it cannot parse. So an environment of the sandbox names metrics where that of production has expressions.
//!
//! [`store`] holds the series. One that was *set* has its value from that moment on, as if it were scraped all the time; one that was
//! *recorded* has the samples it was given, which are seen for five minutes as in a real server. [`api`] speaks HTTP.
//! `tests/adapters/prometheus` holds the answers against a real server.

mod api;
mod query;
mod store;

pub use store::{NewValue, Prometheus, Rule};
