//! Names and record data in one spelling each: lower case, without the dot at the end, so that two of them are the same when their texts are.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use hickory_proto::rr::rdata::{A, AAAA, CNAME, TXT};
use hickory_proto::rr::{Name, RData, RecordType};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::value::brief;

/// The longest name in its written form, without the dot at the end (RFC 1035 section 2.3.4: 255 octets on the wire).
const LONGEST_NAME: usize = 253;
/// The longest label (RFC 1035 section 2.3.4).
const LONGEST_LABEL: usize = 63;
/// The longest string within a TXT record (RFC 1035 section 3.3).
const LONGEST_STRING: usize = 255;
/// The longest text that is accepted for a TXT record: what any provider takes.
const LONGEST_TEXT: usize = 2048;

/// A type of records.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(rename = "DnsRecordType")]
pub(super) enum Kind {
    /// The name is another one's.
    Cname,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Texts.
    Txt,
}

impl Kind {
    /// The name of the type.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Cname => "CNAME",
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Txt => "TXT",
        }
    }

    /// The type on the wire.
    pub(super) fn on_the_wire(self) -> RecordType {
        match self {
            Self::Cname => RecordType::CNAME,
            Self::A => RecordType::A,
            Self::Aaaa => RecordType::AAAA,
            Self::Txt => RecordType::TXT,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A domain name, absolute, in lower case, shown without the dot at its end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct DomainName(String);

impl DomainName {
    /// Reads a name as people write it: `Agent.Example.net.` is `agent.example.net`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let complain = |why: &str| Err(format!("`{}` is no domain name: {why}", shortened(text)));
        if name.is_empty() {
            return complain("it is empty");
        }
        if !name.is_ascii() {
            return complain("write names with other letters in their `xn--` form");
        }
        if name.len() > LONGEST_NAME {
            return complain("it is longer than 253 characters");
        }
        for (index, label) in name.split('.').enumerate() {
            let plain = label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
            let wildcard = index == 0 && label == "*";
            if label.is_empty() || label.len() > LONGEST_LABEL || !(plain || wildcard) {
                return complain(
                    "each part between the dots has 1 to 63 letters, digits, `-` or `_`",
                );
            }
        }
        Ok(Self(name))
    }

    /// A name that came over the wire. One with other characters keeps them escaped, and is like no name that a person writes.
    pub(super) fn received(name: &Name) -> Self {
        let text = name.to_ascii().to_ascii_lowercase();
        Self(text.strip_suffix('.').unwrap_or(&text).to_owned())
    }

    /// The name without the dot at its end.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name with the dot at its end, as zone files and some providers want it.
    pub(super) fn absolute(&self) -> String {
        format!("{}.", self.0)
    }

    /// The name for the wire.
    pub(super) fn on_the_wire(&self) -> Result<Name, String> {
        let mut name = Name::from_ascii(self.absolute())
            .map_err(|error| format!("`{}` is no domain name: {error}", self.0))?;
        name.set_fqdn(true);
        Ok(name)
    }

    /// Whether it is `zone` or lies below it.
    pub(super) fn is_in(&self, zone: &Self) -> bool {
        self.0.strip_suffix(&zone.0).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// The name as seen from its zone: `agent`, or `@` for the zone itself.
    pub(super) fn within(&self, zone: &Self) -> String {
        let rest = self.0.strip_suffix(&zone.0).unwrap_or(&self.0);
        match rest.strip_suffix('.').unwrap_or(rest) {
            "" => "@".to_owned(),
            rest => rest.to_owned(),
        }
    }

    /// The name itself and those above it, without the root: where a zone may begin.
    pub(super) fn upwards(&self) -> impl Iterator<Item = Self> {
        let starts = std::iter::once(0)
            .chain(self.0.match_indices('.').map(|(dot, _)| dot + 1))
            .collect::<Vec<_>>();
        starts.into_iter().map(|start| Self(self.0[start..].to_owned()))
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for DomainName {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DomainName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

/// What one record says. Equal when the texts are: how a TXT record is cut into strings means nothing to those who read it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(into = "Written", from = "Written")]
pub(super) struct Datum {
    text: String,
    /// The strings of a TXT record that is not cut as this program would.
    cut: Option<Vec<String>>,
}

/// A datum in a journal.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Cut(Vec<String>),
}

impl From<Datum> for Written {
    fn from(datum: Datum) -> Self {
        datum.cut.map_or(Self::Text(datum.text), Self::Cut)
    }
}

impl From<Written> for Datum {
    fn from(written: Written) -> Self {
        match written {
            Written::Text(text) => Self { text, cut: None },
            Written::Cut(cut) => Self { text: cut.concat(), cut: Some(cut) },
        }
    }
}

impl PartialEq for Datum {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Datum {}

impl PartialOrd for Datum {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Datum {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Datum {
    /// Reads a value as people write it.
    pub(super) fn parse(kind: Kind, text: &str) -> Result<Self, String> {
        let text = match kind {
            Kind::Cname => DomainName::parse(text)?.0,
            Kind::A => text
                .parse::<Ipv4Addr>()
                .map_err(|_| format!("`{}` is no IPv4 address", shortened(text)))?
                .to_string(),
            Kind::Aaaa => text
                .parse::<Ipv6Addr>()
                .map_err(|_| format!("`{}` is no IPv6 address", shortened(text)))?
                .to_string(),
            Kind::Txt if text.len() > LONGEST_TEXT => {
                return Err(format!("a TXT record holds at most {LONGEST_TEXT} bytes here"));
            }
            Kind::Txt => escaped(text.as_bytes()),
        };
        Ok(Self { text, cut: None })
    }

    /// What a record says that came over the wire; `None` for one of another type.
    pub(super) fn received(kind: Kind, data: &RData) -> Option<Self> {
        let text = match (kind, data) {
            (Kind::Cname, RData::CNAME(CNAME(name))) => DomainName::received(name).0,
            (Kind::A, RData::A(address)) => address.0.to_string(),
            (Kind::Aaaa, RData::AAAA(address)) => address.0.to_string(),
            (Kind::Txt, RData::TXT(text)) => return Some(Self::strings(&text.txt_data)),
            _ => return None,
        };
        Some(Self { text, cut: None })
    }

    fn strings(strings: &[Box<[u8]>]) -> Self {
        let whole: Vec<u8> = strings.concat();
        let usual = strings.iter().map(|string| &**string).eq(usual_cut(&whole));
        let cut = (!usual).then(|| strings.iter().map(|string| escaped(string)).collect());
        Self { text: escaped(&whole), cut }
    }

    /// The record's data for the wire.
    pub(super) fn on_the_wire(&self, kind: Kind) -> Result<RData, String> {
        let unreadable = |why: &dyn fmt::Display| format!("`{}`: {why}", shortened(&self.text));
        Ok(match kind {
            Kind::Cname => RData::CNAME(CNAME(DomainName(self.text.clone()).on_the_wire()?)),
            Kind::A => RData::A(A(self.text.parse().map_err(|error| unreadable(&error))?)),
            Kind::Aaaa => RData::AAAA(AAAA(self.text.parse().map_err(|error| unreadable(&error))?)),
            Kind::Txt => {
                let whole = unescaped(&self.text);
                let strings: Vec<Vec<u8>> = match &self.cut {
                    Some(cut) => cut.iter().map(|string| unescaped(string)).collect(),
                    None => usual_cut(&whole).map(<[u8]>::to_vec).collect(),
                };
                RData::TXT(TXT::from_bytes(strings.iter().map(Vec::as_slice).collect()))
            }
        })
    }

    /// A TXT record's text as a provider's interface has it; the bytes that are no text are lost.
    pub(super) fn plain(&self) -> String {
        String::from_utf8_lossy(&unescaped(&self.text)).into_owned()
    }

    /// The datum as it stands in a message to people, in which a long text is cut.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

/// A text as this program cuts it into strings; an empty one is one empty string.
fn usual_cut(whole: &[u8]) -> impl Iterator<Item = &[u8]> {
    let empty = whole.is_empty().then_some(whole);
    empty.into_iter().chain(whole.chunks(LONGEST_STRING))
}

/// Bytes as in a zone file (RFC 1035 section 5.1): what is not printable ASCII is `\DDD`, a backslash is `\\`.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => text.push_str(&format!("\\{byte:03}")),
        }
    }
    text
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = || {
            let digits = std::str::from_utf8(tail.get(..3)?).ok()?;
            digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse::<u8>().ok())?
        };
        let (byte, length) = match (first, tail.first()) {
            (b'\\', Some(b'\\')) => (b'\\', 2),
            (b'\\', _) => digits().map_or((b'\\', 1), |byte| (byte, 4)),
            _ => (*first, 1),
        };
        bytes.push(byte);
        rest = &rest[length..];
    }
    bytes
}

/// All records of one name and type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RecordSet {
    /// How long others may keep it, in seconds.
    pub(super) ttl: u32,
    /// What the records say.
    pub(super) values: BTreeSet<Datum>,
}

impl RecordSet {
    /// How long others may keep it.
    pub(super) fn lasts(&self) -> Duration {
        Duration::from_secs(self.ttl.into())
    }

    /// The values in one line: `192.0.2.1, 192.0.2.2`.
    pub(super) fn listed(&self) -> String {
        listed(&self.values)
    }
}

/// Values in one line, the long ones cut.
pub(super) fn listed(values: &BTreeSet<Datum>) -> String {
    const LONGEST: usize = 100;
    let short = |datum: &Datum| match datum.as_str().char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &datum.as_str()[..end]),
        None => datum.as_str().to_owned(),
    };
    values.iter().map(short).collect::<Vec<_>>().join(", ")
}

/// A record set for people: `CNAME a.example.net (ttl 30s)`, or `no CNAME`.
pub(super) fn shown(kind: Kind, set: Option<&RecordSet>) -> String {
    match set {
        Some(set) => format!("{kind} {} (ttl {})", set.listed(), ttl(set.ttl)),
        None => format!("no {kind}"),
    }
}

/// A time to live for people.
pub(super) fn ttl(seconds: u32) -> String {
    if seconds == 0 { "0s".to_owned() } else { brief(Duration::from_secs(seconds.into())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_spelling() {
        let name = DomainName::parse("Agent.InsightPulseAI.net.").unwrap();
        assert_eq!(name.as_str(), "agent.insightpulseai.net");
        assert_eq!(name, DomainName::received(&name.on_the_wire().unwrap()));
        let zone = DomainName::parse("insightpulseai.net").unwrap();
        assert!(name.is_in(&zone) && zone.is_in(&zone));
        assert!(!DomainName::parse("xinsightpulseai.net").unwrap().is_in(&zone));
        assert_eq!((name.within(&zone), zone.within(&zone)), ("agent".into(), "@".into()));
        let above: Vec<String> = name.upwards().map(|name| name.to_string()).collect();
        assert_eq!(above, ["agent.insightpulseai.net", "insightpulseai.net", "net"]);
        for wrong in ["", ".", "a..b", "-é.example", "a b.example", "*.a.*.b", &"a".repeat(64)] {
            assert!(DomainName::parse(wrong).is_err(), "{wrong}");
        }
        for right in ["_acme-challenge.example.net", "*.example.net", "xn--bcher-kva.example"] {
            assert!(DomainName::parse(right).is_ok(), "{right}");
        }
    }

    #[test]
    fn data_have_one_spelling_and_survive_the_wire_and_the_journal() {
        for (kind, written, text) in [
            (Kind::Cname, "Old.Example.NET.", "old.example.net"),
            (Kind::A, "192.0.2.1", "192.0.2.1"),
            (Kind::Aaaa, "2001:DB8:0:0::1", "2001:db8::1"),
            (Kind::Txt, r#"v=spf1 "x" \ é"#, r#"v=spf1 "x" \\ \195\169"#),
            (Kind::Txt, "", ""),
        ] {
            let datum = Datum::parse(kind, written).unwrap();
            assert_eq!(datum.as_str(), text);
            let wire = datum.on_the_wire(kind).unwrap();
            assert_eq!(Datum::received(kind, &wire).unwrap(), datum);
            let journal = serde_json::to_string(&datum).unwrap();
            assert_eq!(serde_json::from_str::<Datum>(&journal).unwrap(), datum);
        }
        assert!(Datum::parse(Kind::A, "2001:db8::1").is_err());
        assert!(Datum::parse(Kind::Aaaa, "192.0.2.1").is_err());
    }

    #[test]
    fn a_text_goes_back_cut_as_it_was() {
        let data = RData::TXT(TXT::from_bytes(vec![b"ab", b"", b"c\\\xff"]));
        let datum = Datum::received(Kind::Txt, &data).unwrap();
        assert_eq!(datum.as_str(), r"abc\\\255");
        let back: Datum = serde_json::from_str(&serde_json::to_string(&datum).unwrap()).unwrap();
        assert_eq!(back.on_the_wire(Kind::Txt).unwrap(), data);

        let long = Datum::parse(Kind::Txt, &"x".repeat(300)).unwrap();
        let RData::TXT(text) = long.on_the_wire(Kind::Txt).unwrap() else { panic!("a text") };
        assert_eq!(text.txt_data.iter().map(|string| string.len()).collect::<Vec<_>>(), [255, 45]);
        assert!(long.cut.is_none());
    }
}
