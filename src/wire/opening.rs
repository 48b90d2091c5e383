//! The first bytes of a connection, which tell what the peer speaks when that is not HTTP/2.

use crate::address::Address;

/// What every HTTP/2 client begins with.
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What an HTTP/1 request begins with.
const METHODS: [&[u8]; 9] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"CONNECT ",
    b"OPTIONS ",
    b"TRACE ",
    b"PATCH ",
];
/// What a TLS client begins with: a record of a handshake, in any version of the last 25 years.
const CLIENT_HELLO: &[u8] = b"\x16\x03";

/// What a TLS peer answers to plaintext with: an alert, in any version.
const ALERT: &[u8] = b"\x15\x03";

/// As many bytes as a preface has, or fewer while no more have come.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    bytes: [u8; PREFACE.len()],
    length: usize,
}

impl Opening {
    /// Notes what comes next, as far as there is room. Tells whether there still is.
    pub(crate) fn note(&mut self, bytes: &[u8]) -> bool {
        let room = &mut self.bytes[self.length..];
        let noted = room.len().min(bytes.len());
        room[..noted].copy_from_slice(&bytes[..noted]);
        self.length += noted;
        noted < room.len()
    }

    /// Whether the peer said nothing at all.
    pub(crate) fn is_silent(&self) -> bool {
        self.length == 0
    }

    /// What the peer spoke instead of HTTP/2, in words. `None`, when it spoke that, or said nothing.
    pub(crate) fn foreign(&self, peer: &Address) -> Option<String> {
        let bytes = &self.bytes[..self.length];
        if bytes.is_empty() || bytes == PREFACE {
            return None;
        }
        if METHODS.iter().any(|method| bytes.starts_with(method)) {
            let end = bytes.iter().position(|byte| b"\r\n".contains(byte));
            let line = bytes[..end.unwrap_or(bytes.len())].escape_ascii();
            let more = if end.is_some() { "" } else { "…" };
            return Some(format!("an HTTP/1 request from {peer}: `{line}{more}`"));
        }
        if bytes.starts_with(CLIENT_HELLO) {
            return Some(format!(
                "a TLS ClientHello on this plaintext port from {peer}"
            ));
        }
        let (ended, shown) = (PREFACE.starts_with(bytes), bytes.escape_ascii());
        let what = if ended {
            "it ended after"
        } else {
            "it began with"
        };
        Some(format!("no HTTP/2 preface from {peer}: {what} \"{shown}\""))
    }

    /// What a client said in plaintext to our TLS, in words.
    pub(crate) fn spoke_to_tls(&self) -> Option<String> {
        let bytes = &self.bytes[..self.length];
        match bytes {
            [] | [0x14..=0x17, 0x03, ..] => None,
            // The rest of it may be on its way.
            _ if PREFACE.starts_with(bytes) => Some("it speaks HTTP/2 in plaintext".to_owned()),
            _ => Some(format!("it began with \"{}\"", bytes.escape_ascii())),
        }
    }

    /// What a server answered in plaintext to our TLS, in words.
    pub(crate) fn answered_tls(&self) -> Option<String> {
        let bytes = &self.bytes[..self.length];
        match bytes {
            [] | [0x14..=0x17, 0x03, ..] => None,
            // A frame of settings, which is what a server of HTTP/2 begins with.
            [0, _, _, 4, ..] => Some("it answers with HTTP/2 in plaintext".to_owned()),
            _ => Some(format!("it began with \"{}\"", bytes.escape_ascii())),
        }
    }

    /// Whether the peer speaks TLS, which was not expected of it.
    pub(crate) fn is_tls(&self) -> bool {
        let bytes = &self.bytes[..self.length];
        bytes.starts_with(ALERT) || bytes.starts_with(CLIENT_HELLO)
    }
}

#[cfg(test)]
mod tests {
    use crate::address::Address;
    use crate::wire::opening::{Opening, PREFACE};

    #[test]
    fn what_comes_in_pieces_is_noted_up_to_the_length_of_a_preface() {
        let peer = Address::tcp("h", 1);
        for size in 1..40 {
            let mut opening = Opening::default();
            let request = b"POST /echo.v1.Echo/Say HTTP/1.1\r\n";
            let mut pieces = request.chunks(size).enumerate();
            assert!(pieces.all(|(at, piece)| opening.note(piece) == ((at + 1) * size < 24)));
            let told = "an HTTP/1 request from h:1: `POST /echo.v1.Echo/Say H…`";
            assert_eq!(opening.foreign(&peer).as_deref(), Some(told));
        }
        let mut opening = Opening::default();
        assert_eq!(opening.foreign(&peer), None);
        assert!(!opening.note(PREFACE) && !opening.note(b"\0\0"));
        assert_eq!(opening.foreign(&peer), None);
    }
}
