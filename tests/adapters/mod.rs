//! The adapters against doubles and real servers, with the same assertions.

mod docker;
