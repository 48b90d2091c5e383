//! The frames that one side of an HTTP/2 connection sends, followed, and rewritten where somebody asks for it.

use crate::wire::cursor::Cursor;
use crate::wire::frame::{self, HEAD, Head};
use bytes::{Buf as _, Bytes, BytesMut};
use std::collections::HashMap;

/// Frames that can be withheld.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Withheld {
    /// Answers to PING.
    Pongs,
    Settings,
    WindowUpdates,
}

/// How much of a stream was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// HEADERS frames: those of the response, and its trailers.
    pub(crate) headers: u64,
    /// Bytes in DATA frames.
    pub(crate) data: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Watched {
    written: Sent,
    flushed: Sent,
}

/// What becomes of the frames. Everything in it is exact to the frame, and streams are told apart.
#[derive(Debug, Default)]
pub(crate) struct Rewriter {
    /// Where in a frame the bytes are that passed as they were.
    cursor: Cursor,
    /// The beginning of a frame whose rest has not come.
    partial: BytesMut,
    /// All bytes that went out.
    passed: u64,
    watched: HashMap<u32, Watched>,
    /// Streams whose DATA frames end with bytes that become padding.
    padded: HashMap<u32, u8>,
    /// What is withheld, by the numbers of those who asked for it.
    withheld: Vec<(u64, Withheld)>,
    kept: Vec<(Withheld, Bytes)>,
    /// Goes into the next SETTINGS.
    max_streams: Option<u32>,
    farewell: Farewell,
    /// Of streams above this nothing goes out.
    muted_above: Option<u32>,
    /// Goes out between two frames.
    extra: BytesMut,
}

/// What becomes of GOAWAY.
#[derive(Debug, Default)]
enum Farewell {
    #[default]
    Passes,
    /// This goes out in the place of the next, no other after it, and nothing of streams above this one.
    Replaced(Bytes, u32),
    Said,
}

impl Rewriter {
    /// Whether the bytes may pass as they are.
    pub(crate) fn is_idle(&self) -> bool {
        let quiet = self.watched.is_empty() && self.padded.is_empty() && self.withheld.is_empty();
        let silent = matches!(self.farewell, Farewell::Passes) && self.muted_above.is_none();
        let nothing = self.extra.is_empty() && self.partial.is_empty() && self.kept.is_empty();
        quiet && silent && nothing && self.max_streams.is_none()
    }

    /// Follows bytes that passed as they are.
    pub(crate) fn follow(&mut self, mut bytes: &[u8]) {
        self.passed += bytes.len() as u64;
        while !bytes.is_empty() {
            let gone = self.cursor.step(bytes);
            bytes = &bytes[gone..];
        }
    }

    /// Rewrites bytes, which follow those before.
    pub(crate) fn push(&mut self, mut bytes: &[u8], out: &mut BytesMut) {
        let before = out.len();
        while !bytes.is_empty() && !self.cursor.is_between_frames() {
            let gone = self.cursor.step(bytes);
            out.extend_from_slice(&bytes[..gone]);
            bytes = &bytes[gone..];
        }
        self.partial.extend_from_slice(bytes);
        while let Some((head, payload)) = self.next_frame() {
            self.rewrite(head, &payload, out);
        }
        self.passed += (out.len() - before) as u64;
    }

    /// What goes out between two frames, if this is where the bytes are.
    pub(crate) fn between_frames(&mut self, out: &mut BytesMut) {
        if self.partial.is_empty() && self.cursor.is_between_frames() {
            self.passed += self.extra.len() as u64;
            out.extend_from_slice(&self.extra.split());
        }
    }

    fn next_frame(&mut self) -> Option<(Head, BytesMut)> {
        let head = Head::parse(*self.partial.first_chunk::<HEAD>()?);
        if self.partial.len() < HEAD + head.length {
            return None;
        }
        self.partial.advance(HEAD);
        Some((head, self.partial.split_to(head.length)))
    }

    fn rewrite(&mut self, head: Head, payload: &[u8], out: &mut BytesMut) {
        let Head { kind, stream, .. } = head;
        if self.muted_above.is_some_and(|last| stream > last) {
            return;
        }
        if let Some(watched) = self.watched.get_mut(&stream) {
            match kind {
                frame::DATA => watched.written.data += payload.len() as u64,
                frame::HEADERS => watched.written.headers += 1,
                _ => {}
            }
        }
        if let Some(kind) = self.withholds(head) {
            let mut kept = BytesMut::new();
            frame::put(&mut kept, head.kind, head.flags, stream, payload);
            self.kept.push((kind, kept.freeze()));
            return;
        }
        match kind {
            frame::DATA if self.padded.contains_key(&stream) => {
                frame::put_padded(out, head, payload, self.padded[&stream]);
            }
            frame::GOAWAY => self.say_farewell(head, payload, out),
            frame::SETTINGS if !head.has(frame::ACK) => {
                let mut settings = payload.to_vec();
                if let Some(most) = self.max_streams.take() {
                    settings.extend(frame::max_concurrent_streams(most));
                }
                frame::put(out, kind, head.flags, stream, &settings);
            }
            _ => frame::put(out, kind, head.flags, stream, payload),
        }
    }

    fn withholds(&self, head: Head) -> Option<Withheld> {
        let kind = match head.kind {
            frame::PING if head.has(frame::ACK) => Withheld::Pongs,
            frame::SETTINGS => Withheld::Settings,
            frame::WINDOW_UPDATE => Withheld::WindowUpdates,
            _ => return None,
        };
        let asked = self.withheld.iter().any(|(_, asked)| *asked == kind);
        asked.then_some(kind)
    }

    fn say_farewell(&mut self, head: Head, payload: &[u8], out: &mut BytesMut) {
        match std::mem::take(&mut self.farewell) {
            Farewell::Passes => frame::put(out, head.kind, head.flags, head.stream, payload),
            Farewell::Replaced(farewell, last_stream) => {
                out.extend_from_slice(&farewell);
                self.farewell = Farewell::Said;
                self.muted_above = Some(last_stream);
            }
            Farewell::Said => self.farewell = Farewell::Said,
        }
    }
}

/// What is asked for.
impl Rewriter {
    /// Counts what is sent of a stream.
    pub(crate) fn watch(&mut self, stream: u32) {
        self.watched.entry(stream).or_default();
    }

    pub(crate) fn unwatch(&mut self, stream: u32) {
        self.watched.remove(&stream);
        self.padded.remove(&stream);
    }

    /// What was flushed of a stream that is watched.
    pub(crate) fn sent(&self, stream: u32) -> Option<Sent> {
        self.watched.get(&stream).map(|watched| watched.flushed)
    }

    /// Everything that went out is flushed.
    pub(crate) fn mark_flushed(&mut self) {
        for watched in self.watched.values_mut() {
            watched.flushed = watched.written;
        }
    }

    /// The DATA frames of this stream end with `padding` + 1 bytes from now on that are made padding.
    pub(crate) fn pad(&mut self, stream: u32, padding: u8) {
        self.padded.insert(stream, padding);
    }

    pub(crate) fn withhold(&mut self, id: u64, kind: Withheld) {
        self.withheld.push((id, kind));
    }

    /// What nobody else withholds goes out.
    pub(crate) fn release(&mut self, id: u64) {
        self.withheld.retain(|(asked, _)| *asked != id);
        let kept = std::mem::take(&mut self.kept);
        for (kind, frame) in kept {
            if self.withheld.iter().any(|(_, asked)| *asked == kind) {
                self.kept.push((kind, frame));
            } else {
                self.extra.extend_from_slice(&frame);
            }
        }
    }

    /// The next SETTINGS says so.
    pub(crate) fn set_max_streams(&mut self, most: u32) {
        self.max_streams = Some(most);
    }

    /// Whether a setting waits for the next SETTINGS.
    pub(crate) fn has_setting(&self) -> bool {
        self.max_streams.is_some()
    }

    /// This goes out in the place of the next GOAWAY, no other after it, and nothing of streams above the last that it
    /// tells. HEADERS of those must not come any more: they would change the table that later ones refer to.
    pub(crate) fn replace_farewell(&mut self, farewell: Bytes, last_stream: u32) {
        if matches!(self.farewell, Farewell::Passes) {
            self.farewell = Farewell::Replaced(farewell, last_stream);
        }
    }

    /// This goes out beside whatever was said, no other after it, and nothing of streams above.
    pub(crate) fn insert_farewell(&mut self, farewell: &[u8], last_stream: u32) {
        self.extra.extend_from_slice(farewell);
        self.farewell = Farewell::Said;
        let last = self.muted_above.unwrap_or(last_stream).min(last_stream);
        self.muted_above = Some(last);
    }

    /// Goes out between two frames.
    pub(crate) fn insert(&mut self, bytes: &[u8]) {
        self.extra.extend_from_slice(bytes);
    }

    /// How many bytes went out.
    pub(crate) fn passed(&self) -> u64 {
        self.passed
    }
}

#[cfg(test)]
mod tests;
