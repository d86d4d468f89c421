//! The Redis serialization protocol, versions 2 and 3
//! (<https://redis.io/docs/latest/develop/reference/protocol-spec/>).

/// A command with its arguments.
pub(super) type Command = Vec<Vec<u8>>;

/// The longest command line or argument that is read, in bytes.
const LONGEST: usize = 8 << 20;
/// The most arguments of a command.
const MOST_ARGUMENTS: usize = 1 << 16;

/// Which version a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Two,
    Three,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    Status(&'static str),
    /// With its code in front: `ERR syntax error`.
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Reply>),
    Map(Vec<(Reply, Reply)>),
}

impl Reply {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Bulk(text.into().into_bytes())
    }

    pub(super) fn error(text: impl Into<String>) -> Self {
        Self::Error(text.into())
    }

    /// Appends the answer to `out`.
    pub(super) fn write(&self, protocol: Protocol, out: &mut Vec<u8>) {
        match self {
            Self::Status(text) => line(out, '+', text),
            Self::Error(text) => {
                // One line, whatever a client has sent.
                let text: String =
                    text.chars().map(|c| if matches!(c, '\r' | '\n') { ' ' } else { c }).collect();
                line(out, '-', &text);
            }
            Self::Integer(number) => line(out, ':', &number.to_string()),
            Self::Bulk(bytes) => {
                line(out, '$', &bytes.len().to_string());
                out.extend_from_slice(bytes);
                out.extend_from_slice(b"\r\n");
            }
            Self::Null if protocol == Protocol::Two => out.extend_from_slice(b"$-1\r\n"),
            Self::Null => out.extend_from_slice(b"_\r\n"),
            Self::Array(parts) => {
                line(out, '*', &parts.len().to_string());
                parts.iter().for_each(|part| part.write(protocol, out));
            }
            Self::Map(entries) => {
                match protocol {
                    Protocol::Two => line(out, '*', &(entries.len() * 2).to_string()),
                    Protocol::Three => line(out, '%', &entries.len().to_string()),
                }
                for (name, value) in entries {
                    name.write(protocol, out);
                    value.write(protocol, out);
                }
            }
        }
    }
}

fn line(out: &mut Vec<u8>, kind: char, text: &str) {
    out.extend_from_slice(format!("{kind}{text}\r\n").as_bytes());
}

/// A command as it is sent, and as the file of a keyspace has it.
pub(super) fn encode(command: &[&[u8]], out: &mut Vec<u8>) {
    Reply::Array(command.iter().map(|part| Reply::Bulk(part.to_vec())).collect())
        .write(Protocol::Two, out);
}

/// What is wrong with the input; the connection ends with it, as a real server ends it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ERR Protocol error: {0}")]
pub(super) struct Malformed(String);

impl Malformed {
    fn new(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// The first command of `input` and its length, `None` while it is incomplete.
pub(super) fn parse(input: &[u8]) -> Result<Option<(Command, usize)>, Malformed> {
    if input.first() != Some(&b'*') {
        return inline(input);
    }
    let Some((number, mut at)) = number(input, 1, "invalid multibulk length")? else {
        return Ok(None);
    };
    if number > MOST_ARGUMENTS {
        return Err(Malformed::new("invalid multibulk length"));
    }
    let mut command = Command::new();
    for _ in 0..number {
        match input.get(at) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(other) => {
                return Err(Malformed(format!("expected '$', got '{}'", char::from(*other))));
            }
        }
        let Some((length, start)) = self::number(input, at + 1, "invalid bulk length")? else {
            return Ok(None);
        };
        let Some(argument) = input.get(start..start + length) else { return Ok(None) };
        if input.len() < start + length + 2 {
            return Ok(None);
        }
        command.push(argument.to_vec());
        at = start + length + 2;
    }
    Ok(Some((command, at)))
}

/// Words on one line, as somebody types them through telnet.
fn inline(input: &[u8]) -> Result<Option<(Command, usize)>, Malformed> {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
        return if input.len() > LONGEST {
            Err(Malformed::new("too big inline request"))
        } else {
            Ok(None)
        };
    };
    let words = input.get(..end).unwrap_or_default().split(u8::is_ascii_whitespace);
    let command = words.filter(|word| !word.is_empty()).map(<[u8]>::to_vec).collect();
    Ok(Some((command, end + 1)))
}

/// A number up to the end of its line, and where the next line begins.
fn number(
    input: &[u8],
    start: usize,
    wrong: &'static str,
) -> Result<Option<(usize, usize)>, Malformed> {
    let rest = input.get(start..).unwrap_or_default();
    let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else {
        return if rest.len() > 32 { Err(Malformed::new(wrong)) } else { Ok(None) };
    };
    let digits = rest.get(..end).and_then(|digits| std::str::from_utf8(digits).ok());
    let number = digits.and_then(|digits| digits.parse().ok()).filter(|number| *number <= LONGEST);
    number.map(|number| Some((number, start + end + 2))).ok_or_else(|| Malformed::new(wrong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_read_once_it_is_complete() {
        let mut wire = Vec::new();
        encode(&[b"SET", b"a\r\nb", b""], &mut wire);
        let length = wire.len();
        for cut in 0..length {
            assert_eq!(parse(&wire[..cut]), Ok(None), "{cut}");
        }
        wire.extend_from_slice(b"*1\r\n");
        let command = vec![b"SET".to_vec(), b"a\r\nb".to_vec(), Vec::new()];
        assert_eq!(parse(&wire), Ok(Some((command, length))));
        assert_eq!(parse(b"PING  a\r\n"), Ok(Some((vec![b"PING".to_vec(), b"a".to_vec()], 9))));
    }

    #[test]
    fn nonsense_is_refused() {
        for wire in ["*x\r\n", "*1\r\n+OK\r\n", "*1\r\n$-5\r\n", "*9999999999\r\n", "*1\r\n$x\r\n"]
        {
            assert!(parse(wire.as_bytes()).is_err(), "{wire:?}");
        }
    }

    #[test]
    fn the_versions_differ_in_maps_and_nothing() {
        let map = Reply::Map(vec![(Reply::text("a"), Reply::Null)]);
        let (mut two, mut three) = (Vec::new(), Vec::new());
        map.write(Protocol::Two, &mut two);
        map.write(Protocol::Three, &mut three);
        assert_eq!(two, b"*2\r\n$1\r\na\r\n$-1\r\n");
        assert_eq!(three, b"%1\r\n$1\r\na\r\n_\r\n");
    }
}
