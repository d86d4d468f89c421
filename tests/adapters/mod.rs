//! The adapters against the real servers, and against the doubles, with the same assertions.

mod digitalocean;
mod dns;
mod docker;
mod kubernetes;
mod loadbalancer;
mod mail;
mod postgres;
mod prometheus;
mod redis;
