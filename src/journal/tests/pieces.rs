//! The first record, which is written as it is made.

use std::sync::Arc;

use super::super::line::Chain;
use super::super::pieces::PIECE;
use super::{entry, header_of};
use crate::event::Event;

#[test]
fn a_line_in_pieces_is_the_line_as_a_whole() {
    for bytes in [0, PIECE / 2, PIECE, 2 * PIECE, 5 * PIECE + 7] {
        let mut header = header_of("emergency", "staging");
        header.runbook_text = "a \"quoted\" line\n".repeat(bytes / 16).into();
        let first = entry(Event::RunStarted { header: Arc::new(header) }, 0);
        let (mut whole, mut pieces) = (Vec::new(), Vec::new());
        let (mut chain, mut other) = (Chain::START, Chain::START);
        let record = chain.seal(&first, &mut whole).expect("it can be sealed");
        assert_eq!(other.seal_first(&first, &mut pieces).expect("it can be sealed"), record);
        assert_eq!(String::from_utf8(pieces), String::from_utf8(whole), "{bytes} bytes");
        assert_eq!(other, chain);
    }
}
