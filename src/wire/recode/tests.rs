use super::*;
use std::{collections::VecDeque, convert::Infallible, task::Waker};

/// Frames that are there already; it is pending after them, unless it has ended.
#[derive(Default)]
struct Frames {
    frames: VecDeque<Frame<Bytes>>,
    ended: bool,
}

impl Frames {
    fn of(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        Self {
            frames: pieces.into_iter().map(Frame::data).collect(),
            ended: true,
        }
    }

    fn and(mut self, status: &'static str) -> Self {
        let trailers =
            HeaderMap::from_iter([(Status::GRPC_STATUS, http::HeaderValue::from_static(status))]);
        self.frames.push_back(Frame::trailers(trailers));
        self
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None if self.ended => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.frames.is_empty()
    }
}

fn next(body: &mut Recode<Frames>) -> Poll<Option<Result<Frame<Bytes>, Malformed>>> {
    let mut nobody = Context::from_waker(Waker::noop());
    let frame = Pin::new(body).poll_frame(&mut nobody);
    frame.map(|frame| {
        frame.map(|frame| {
            frame.map_err(|error| match error {
                RecodeError::Malformed(malformed) => malformed,
                RecodeError::Body(never) => match never {},
            })
        })
    })
}

/// The data, whether there were trailers, and how it ended.
fn all(mut body: Recode<Frames>) -> (Vec<Bytes>, bool, Result<(), Malformed>) {
    let (mut data, mut trailers) = (Vec::new(), false);
    loop {
        let ended = body.is_end_stream();
        match next(&mut body) {
            Poll::Ready(Some(Ok(frame))) => {
                assert!(!ended, "a body that has ended has a frame");
                match frame.into_data() {
                    Ok(bytes) => data.push(bytes),
                    Err(_) => trailers = true,
                }
            }
            Poll::Ready(end) => {
                assert!(next(&mut body).map(|frame| frame.is_none()).is_ready());
                return (data, trailers, end.map_or(Ok(()), |end| end.map(drop)));
            }
            Poll::Pending => panic!("the body has ended"),
        }
    }
}

fn words() -> Vec<Bytes> {
    ["one one one", "", "three three three"]
        .map(|word| Framed::plain(word.as_bytes()).into_bytes())
        .to_vec()
}

const BOTH: [Compression; 2] = [Compression::Gzip, Compression::Zstd];

#[test]
fn messages_are_compressed_and_decompressed_wherever_frames_cut_them() {
    for compression in BOTH {
        for size in [1, 2, 7, 1000] {
            let cut = |bytes: Vec<Bytes>| {
                let bytes = bytes.concat();
                Frames::of(
                    bytes
                        .chunks(size)
                        .map(Bytes::copy_from_slice)
                        .collect::<Vec<_>>(),
                )
            };
            let (squeezed, trailers, end) =
                all(Recode::compress(cut(words()).and("0"), Some(compression)));
            assert_eq!((squeezed.len(), trailers, end), (3, true, Ok(())));
            let flags: Vec<_> = squeezed.iter().map(|message| message[0]).collect();
            assert_eq!(flags, [1, 0, 1], "{compression}");
            let back = Recode::decompress(cut(squeezed).and("0"), Some(compression), 100);
            assert_eq!(all(back), (words(), true, Ok(())), "{compression}: {size}");
        }
    }
}

#[test]
fn a_message_passes_as_soon_as_it_is_whole() {
    let mut message =
        Framed::squeezed(Bytes::from_static(b"message"), Compression::Zstd).into_bytes();
    let end = message.split_off(8);
    let mut body = Recode::decompress(Frames::default(), Some(Compression::Zstd), 100);
    assert!(next(&mut body).is_pending());
    body.body.frames.push_back(Frame::data(message));
    assert!(next(&mut body).is_pending());
    body.body.frames.push_back(Frame::data(end));
    assert!(matches!(next(&mut body), Poll::Ready(Some(Ok(frame))) if frame.is_data()));
    assert!(next(&mut body).is_pending());
}

#[test]
fn a_cut_message_is_told_unless_a_status_tells_why() {
    let cut = || Frames::of([Bytes::from_static(&[1, 0, 0, 0, 9, 1])]);
    let decompress = |body| all(Recode::decompress(body, Some(Compression::Gzip), 100));
    let truncated = Err(Malformed::Truncated { missing: 8 });
    assert_eq!(decompress(cut()), (Vec::new(), false, truncated.clone()));
    assert_eq!(decompress(cut().and("0")), (Vec::new(), false, truncated));
    assert_eq!(decompress(cut().and("14")), (Vec::new(), true, Ok(())));
}

#[test]
fn a_malformed_message_ends_the_body() {
    let body = || {
        Frames::of([
            words().concat().into(),
            Bytes::from_static(&[1, 0, 0, 0, 0]),
        ])
    };
    let (data, trailers, end) = all(Recode::decompress(
        body().and("0"),
        Some(Compression::Gzip),
        100,
    ));
    assert_eq!((data, trailers), (words(), false));
    assert!(matches!(end, Err(Malformed::Damaged { .. })), "{end:?}");
    let (_, _, end) = all(Recode::compress(body(), Some(Compression::Gzip)));
    assert_eq!(end, Err(Malformed::Flag(1)));
}

#[test]
fn without_an_encoding_a_body_passes_untouched() {
    let pieces = || ["no", "messages"].map(Bytes::from);
    for body in [
        Recode::compress(Frames::of(pieces()).and("0"), None),
        Recode::decompress(Frames::of(pieces()).and("0"), None, 1),
    ] {
        assert_eq!(all(body), (pieces().to_vec(), true, Ok(())));
    }
}
