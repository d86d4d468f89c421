//! Breaks good examples: bytes are flipped, cut, doubled, moved and mixed, and words of the languages are put in between.

use crate::support::dice::Dice;

/// What makes parsers stumble: numbers at their limits, openings without an end, control characters, half letters.
const WORDS: &[&[u8]] = &[
    b"18446744073709551616",
    b"-1",
    b"1e309",
    b"999999999999h",
    b"\0",
    b"\x1b[2J",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\r\n",
    b"\n",
    b"\t",
    b"{{",
    b"}}",
    b"{% for x in range(10) %}",
    b"{{ inputs.a | join(',') }}",
    b"&a [*a,*a]",
    b"!!binary ",
    b": ",
    b"- ",
    b"[[[[",
    b"{{{{",
    b"\"",
    b"'",
    b"$-1\r\n",
    b"*1000000\r\n",
    b"{\"seq\":",
    b"\xe2\x80\xae",
    b"\xee\x80\x80",
    b"\xee\x80\x81",
    b"#",
    b"|",
    b"%YAML 9.9\n---\n",
];

/// The longest input, in bytes.
const LONGEST: usize = 64 << 10;

/// A broken form of one of the examples, or of two.
pub(super) fn mutate(examples: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut input = dice.pick(examples).clone();
    for _ in 0..=dice.below(6) {
        change(&mut input, examples, dice);
        input.truncate(LONGEST);
    }
    input
}

fn change(input: &mut Vec<u8>, examples: &[Vec<u8>], dice: &mut Dice) {
    let at = dice.below(input.len() + 1);
    let length = (1 + dice.below(40)).min(input.len() - at);
    match dice.below(9) {
        0 if at < input.len() => input[at] ^= 1 << dice.below(8),
        1 if at < input.len() => input[at] = dice.byte(),
        2 => input.truncate(at),
        3 => drop(input.drain(at..at + length)),
        4 => {
            let part = input[at..at + length].to_vec();
            let times = 1 + dice.below(200);
            let to = dice.below(input.len() + 1);
            let _removed = input.splice(to..to, part.repeat(times)).count();
        }
        5 => {
            let other = dice.pick(examples);
            let from = dice.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        6 => {
            let lines: Vec<&[u8]> = input.split_inclusive(|byte| *byte == b'\n').collect();
            let (one, two) = (dice.below(lines.len().max(1)), dice.below(lines.len().max(1)));
            let mut lines = lines;
            if !lines.is_empty() {
                lines.swap(one, two);
            }
            *input = lines.concat();
        }
        _ => {
            let word = dice.pick(WORDS);
            let end = if dice.below(2) == 0 { at } else { at + length };
            let _removed = input.splice(at..end, word.iter().copied()).count();
        }
    }
}
