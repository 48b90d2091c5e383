//! Reading X.509 certificates ([RFC 5280](https://www.rfc-editor.org/rfc/rfc5280#section-4.1)).

use std::{fmt, fmt::Write as _, net::IpAddr};
use time::OffsetDateTime;
use yasna::{
    ASN1Error, ASN1ErrorKind, ASN1Result, BERReader, BERReaderSeq, Tag,
    models::{ObjectIdentifier, TaggedDerValue},
    tags,
};

/// What a certificate says.
pub(super) struct Parsed {
    pub(super) subject: DistinguishedName,
    pub(super) issuer: DistinguishedName,
    /// Without the zero that makes it positive.
    pub(super) serial: Vec<u8>,
    pub(super) names: Vec<Name>,
    pub(super) not_before: OffsetDateTime,
    pub(super) not_after: OffsetDateTime,
    pub(super) is_authority: bool,
    pub(super) usages: Vec<ObjectIdentifier>,
    /// The algorithm of its key, in DER.
    pub(super) key: Vec<u8>,
}

/// One of the subject's alternative names.
pub(super) enum Name {
    Dns(String),
    Email(String),
    Ip(IpAddr),
    Uri(String),
}

impl Parsed {
    pub(super) fn read(der: &[u8]) -> ASN1Result<Self> {
        yasna::parse_der(der, |certificate| {
            certificate.read_sequence(|parts| {
                let told = parts.next().read_sequence(to_be_signed)?;
                let _signature_algorithm = parts.next().read_der()?;
                let _signature = parts.next().read_bitvec_bytes()?;
                Ok(told)
            })
        })
    }

    /// What is malformed in an extension is no reason to tell nothing of the rest.
    fn extend(&mut self, id: &ObjectIdentifier, value: &[u8]) {
        match id.components()[..] {
            [2, 5, 29, 17] => self.names = yasna::parse_der(value, names).unwrap_or_default(),
            [2, 5, 29, 19] => {
                self.is_authority = yasna::parse_der(value, authority).unwrap_or(false)
            }
            [2, 5, 29, 37] => {
                let usages =
                    |reader: BERReader<'_, '_>| reader.collect_sequence_of(|part| part.read_oid());
                self.usages = yasna::parse_der(value, usages).unwrap_or_default();
            }
            _ => {}
        }
    }
}

fn to_be_signed(parts: &mut BERReaderSeq<'_, '_>) -> ASN1Result<Parsed> {
    let _version =
        parts.read_optional(|part| part.read_tagged(Tag::context(0), |part| part.read_u8()))?;
    let (mut serial, _) = parts.next().read_bigint_bytes()?;
    if let [0, _, ..] = serial[..] {
        serial.remove(0);
    }
    let _signature_algorithm = parts.next().read_der()?;
    let issuer = DistinguishedName::read(parts.next())?;
    let (not_before, not_after) = parts
        .next()
        .read_sequence(|dates| Ok((date(dates.next())?, date(dates.next())?)))?;
    let subject = DistinguishedName::read(parts.next())?;
    let key = parts.next().read_sequence(|key| {
        let algorithm = key.next().read_der()?;
        key.next().read_bitvec_bytes()?;
        Ok(algorithm)
    })?;
    for unique_identifier in [1, 2] {
        let tag = Tag::context(unique_identifier);
        parts.read_optional(|part| {
            part.read_tagged_implicit(tag, |part| part.read_bitvec_bytes())
        })?;
    }
    let mut parsed = Parsed {
        subject,
        issuer,
        serial,
        names: Vec::new(),
        not_before,
        not_after,
        is_authority: false,
        usages: Vec::new(),
        key,
    };
    parts.read_optional(|part| {
        let extension = |part: BERReader<'_, '_>| {
            part.read_sequence(|parts| {
                let id = parts.next().read_oid()?;
                parts.read_default(false, |part| part.read_bool())?;
                parsed.extend(&id, &parts.next().read_bytes()?);
                Ok(())
            })
        };
        part.read_tagged(Tag::context(3), |part| part.read_sequence_of(extension))
    })?;
    Ok(parsed)
}

/// Years until 2049 have two digits, those after it four.
fn date(reader: BERReader<'_, '_>) -> ASN1Result<OffsetDateTime> {
    match reader.lookahead_tag()? {
        tags::TAG_UTCTIME => Ok(*reader.read_utctime()?.datetime()),
        _ => Ok(*reader.read_generalized_time()?.datetime()),
    }
}

fn names(reader: BERReader<'_, '_>) -> ASN1Result<Vec<Name>> {
    let names = reader.collect_sequence_of(|part| part.read_tagged_der())?;
    Ok(names.iter().filter_map(Name::read).collect())
}

fn authority(reader: BERReader<'_, '_>) -> ASN1Result<bool> {
    reader.read_sequence(|parts| {
        let is_authority = parts.read_default(false, |part| part.read_bool())?;
        parts.read_optional(|part| part.read_u64())?;
        Ok(is_authority)
    })
}

impl Name {
    /// None of the names that hosts and callers have not.
    fn read(name: &TaggedDerValue) -> Option<Self> {
        let text = || String::from_utf8(name.value().to_vec()).ok();
        Some(match name.tag().tag_number {
            1 => Self::Email(text()?),
            2 => Self::Dns(text()?),
            6 => Self::Uri(text()?),
            7 => Self::Ip(ip(name.value())?),
            _ => return None,
        })
    }

    pub(super) fn is(&self, text: &str) -> bool {
        match self {
            Self::Dns(name) => name.eq_ignore_ascii_case(text),
            Self::Email(name) | Self::Uri(name) => name == text,
            Self::Ip(ip) => text.parse() == Ok(*ip),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) | Self::Email(name) | Self::Uri(name) => f.write_str(name),
            Self::Ip(ip) => write!(f, "{ip}"),
        }
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| v6()).ok()
}

/// Who somebody is: attributes in sets of mostly one, from the country down to the person.
pub(super) struct DistinguishedName(Vec<Vec<(ObjectIdentifier, TaggedDerValue)>>);

impl DistinguishedName {
    fn read(reader: BERReader<'_, '_>) -> ASN1Result<Self> {
        let attribute = |reader: BERReader<'_, '_>| {
            reader.read_sequence(|parts| {
                Ok((parts.next().read_oid()?, parts.next().read_tagged_der()?))
            })
        };
        let sets = reader.collect_sequence_of(|set| set.collect_set_of(attribute))?;
        match sets.iter().any(Vec::is_empty) {
            true => Err(ASN1Error::new(ASN1ErrorKind::Invalid)),
            false => Ok(Self(sets)),
        }
    }

    pub(super) fn common_name(&self) -> Option<String> {
        let mut attributes = self.0.iter().flatten();
        let is_common_name = |id: &ObjectIdentifier| id.components()[..] == [2, 5, 4, 3];
        let (_, value) = attributes.find(|(id, _)| is_common_name(id))?;
        Some(String::from_utf8_lossy(value.value()).into_owned())
    }
}

/// As [RFC 4514](https://www.rfc-editor.org/rfc/rfc4514) writes it.
impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, set) in self.0.iter().rev().enumerate() {
            for (inner, (id, value)) in set.iter().enumerate() {
                match (place, inner) {
                    (0, 0) => {}
                    (_, 0) => f.write_char(',')?,
                    _ => f.write_char('+')?,
                }
                match (keyword(id), text(value)) {
                    (Some(keyword), Some(text)) => {
                        write!(f, "{keyword}=")?;
                        escape(f, text)?;
                    }
                    _ => {
                        write!(f, "{id}=#")?;
                        yasna::construct_der(|writer| writer.write_tagged_der(value))
                            .iter()
                            .try_for_each(|byte| write!(f, "{byte:02X}"))?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Those of the [RFC](https://www.rfc-editor.org/rfc/rfc4514#section-3), and two that certificates have beside them.
fn keyword(id: &ObjectIdentifier) -> Option<&'static str> {
    Some(match id.components()[..] {
        [2, 5, 4, 3] => "CN",
        [2, 5, 4, 5] => "SERIALNUMBER",
        [2, 5, 4, 6] => "C",
        [2, 5, 4, 7] => "L",
        [2, 5, 4, 8] => "ST",
        [2, 5, 4, 9] => "STREET",
        [2, 5, 4, 10] => "O",
        [2, 5, 4, 11] => "OU",
        [0, 9, 2342, 19200300, 100, 1, 1] => "UID",
        [0, 9, 2342, 19200300, 100, 1, 25] => "DC",
        [1, 2, 840, 113549, 1, 9, 1] => "EMAILADDRESS",
        _ => return None,
    })
}

fn text(value: &TaggedDerValue) -> Option<&str> {
    match value.tag() {
        tags::TAG_UTF8STRING
        | tags::TAG_PRINTABLESTRING
        | tags::TAG_IA5STRING
        | tags::TAG_TELETEXSTRING => std::str::from_utf8(value.value()).ok(),
        _ => None,
    }
}

fn escape(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let last = text.char_indices().next_back().map(|(place, _)| place);
    for (place, char) in text.char_indices() {
        match char {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => write!(f, "\\{char}")?,
            '#' if place == 0 => f.write_str("\\#")?,
            ' ' if place == 0 || Some(place) == last => f.write_str("\\ ")?,
            '\0'..='\x1f' | '\x7f' => write!(f, "\\{:02X}", u32::from(char))?,
            _ => f.write_char(char)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(sets: &[&[(&[u64], Tag, &str)]]) -> DistinguishedName {
        let attribute = |&(id, tag, text): &(&[u64], Tag, &str)| {
            let value = TaggedDerValue::from_tag_and_bytes(tag, text.as_bytes().to_vec());
            (ObjectIdentifier::from_slice(id), value)
        };
        let sets = sets.iter().map(|set| set.iter().map(attribute).collect());
        DistinguishedName(sets.collect())
    }

    const O: &[u64] = &[2, 5, 4, 10];
    const CN: &[u64] = &[2, 5, 4, 3];
    const UTF8: Tag = tags::TAG_UTF8STRING;

    #[test]
    fn names_are_written_as_the_rfc_has_them() {
        let dc: &[u64] = &[0, 9, 2342, 19200300, 100, 1, 25];
        let ou: &[u64] = &[2, 5, 4, 11];
        let unknown: &[u64] = &[1, 3, 6, 1, 4, 1, 1466, 0];
        let ia5 = tags::TAG_IA5STRING;
        // Examples of RFC 4514, section 4.
        let domain = [(dc, ia5, "net")];
        let example = [(dc, ia5, "example")];
        for (sets, text) in [
            (
                [
                    &domain[..],
                    &example,
                    &[(ou, UTF8, "Sales"), (CN, UTF8, "J.  Smith")],
                ],
                r"OU=Sales+CN=J.  Smith,DC=example,DC=net",
            ),
            (
                [
                    &domain[..],
                    &example,
                    &[(CN, UTF8, r#"James "Jim" Smith, III"#)],
                ],
                r#"CN=James \"Jim\" Smith\, III,DC=example,DC=net"#,
            ),
            (
                [&domain[..], &example, &[(CN, UTF8, "Before\rAfter")]],
                r"CN=Before\0DAfter,DC=example,DC=net",
            ),
            (
                [
                    &domain[..],
                    &example,
                    &[(unknown, tags::TAG_OCTETSTRING, "Hi")],
                ],
                r"1.3.6.1.4.1.1466.0=#04024869,DC=example,DC=net",
            ),
        ] {
            assert_eq!(name(&sets).to_string(), text);
        }
        let edges = name(&[&[(O, UTF8, " # ")], &[(CN, UTF8, "#1")], &[(CN, UTF8, " ")]]);
        assert_eq!(edges.to_string(), r"CN=\ ,CN=\#1,O=\ #\ ");
        assert_eq!(edges.common_name().as_deref(), Some("#1"));
        assert_eq!(name(&[]).to_string(), "");
    }

    #[test]
    fn cut_bytes_are_an_error_and_never_a_panic() {
        let der = crate::tls::Authority::new().server(["a.test", "10.0.0.1"]);
        let der = der.certificate().der().to_vec();
        assert!(Parsed::read(&der).is_ok());
        for length in 0..der.len() {
            assert!(Parsed::read(&der[..length]).is_err(), "{length} bytes");
        }
        // Each byte in turn is another one: whatever comes of it, it comes back.
        for place in 0..der.len() {
            for flipped in [0x01, 0x80, 0xff] {
                let mut bent = der.clone();
                bent[place] ^= flipped;
                let _ = Parsed::read(&bent);
            }
        }
    }
}
