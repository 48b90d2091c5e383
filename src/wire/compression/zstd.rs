//! Zstandard ([RFC 8878](https://www.rfc-editor.org/rfc/rfc8878)), in Rust alone: a dev-dependency must not bring a C
//! compiler along.

use crate::panics::caught;
use crate::wire::compression::{Bounded, Failure, damaged};
use ruzstd::{
    decoding::{
        StreamingDecoder,
        errors::{FrameDecoderError, ReadFrameHeaderError},
    },
    encoding::CompressionLevel,
};

/// Appends the compressed message to what is there already.
pub(super) fn compress(message: &[u8], mut onto: Vec<u8>) -> Vec<u8> {
    ruzstd::encoding::compress(message, &mut onto, CompressionLevel::Fastest);
    onto
}

/// The message that was compressed.
pub(super) fn decompress(compressed: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
    // Its checks of its own invariants are assertions, and hostile input is what they are for.
    caught(|| unzstd(compressed, limit)).unwrap_or_else(|panic| Err(Failure::Damaged(panic)))
}

/// How far back a zstd frame may refer at least, as
/// [RFC 8878](https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1.1.2) asks of every decoder.
const WINDOW: usize = 8 << 20;

/// All frames of a message.
fn unzstd(mut rest: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
    let window = limit.max(WINDOW) as u64;
    let mut message = Bounded::new(limit);
    let mut has_frame = false;
    while !(rest.is_empty() && has_frame) {
        match StreamingDecoder::new_with_max_window_size(&mut rest, window) {
            Ok(decoder) => unframe(decoder, &mut message)?,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                let after = rest.get(length as usize..);
                rest = after.ok_or_else(|| damaged("a skippable frame is cut"))?;
            }
            // A frame of one segment claims this much content; any other asks for this much memory.
            Err(FrameDecoderError::WindowSizeTooBig { .. }) => return Err(Failure::OverLimit),
            Err(error) => return Err(damaged(error)),
        }
        has_frame = true;
    }
    Ok(message.bytes)
}

/// One frame, with the checks that the decoder leaves to its caller.
fn unframe(
    mut decoder: StreamingDecoder<&mut &[u8], ruzstd::decoding::FrameDecoder>,
    message: &mut Bounded,
) -> Result<(), Failure> {
    let before = message.bytes.len();
    message.read(&mut decoder)?;
    let length = (message.bytes.len() - before) as u64;
    let decoder = decoder.into_frame_decoder();
    // 0 stands for a size that is not told.
    let told = decoder.content_size();
    if told != 0 && told != length {
        let text = format!("a frame of {told} bytes has {length}");
        return Err(Failure::Damaged(text));
    }
    match decoder.get_checksum_from_data() {
        Some(told) if Some(told) != decoder.get_calculated_checksum() => {
            Err(damaged("the checksum is another"))
        }
        _ => Ok(()),
    }
}
