//! (written by the language)
