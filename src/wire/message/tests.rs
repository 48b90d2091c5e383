use super::*;
use proptest::prelude::*;

const LIMIT: usize = 1 << 20;

/// Cuts bytes at these places, wherever they are.
fn cut(bytes: &Bytes, places: &[usize]) -> Vec<Bytes> {
    let mut places: Vec<_> = places
        .iter()
        .map(|place| place % (bytes.len() + 1))
        .collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    let pieces = places.windows(2);
    pieces.map(|ends| bytes.slice(ends[0]..ends[1])).collect()
}

/// All messages of these pieces, up to the first that is none.
fn split(
    mut splitter: Splitter,
    pieces: Vec<Bytes>,
) -> (Vec<(Bytes, bool)>, Result<(), Malformed>) {
    let mut messages = Vec::new();
    for piece in pieces {
        splitter.push(piece);
        loop {
            match splitter.next() {
                Ok(Some(message)) => messages.push((message, splitter.was_compressed())),
                Ok(None) => break,
                Err(malformed) => return (messages, Err(malformed)),
            }
        }
    }
    let end = splitter.finish();
    (messages, end)
}

fn encoding() -> impl Strategy<Value = Option<Compression>> {
    prop::option::of(prop::sample::select(vec![
        Compression::Gzip,
        Compression::Zstd,
    ]))
}

/// Bytes that begin like messages more often than noise does.
fn wire() -> impl Strategy<Value = Vec<u8>> {
    let message = (0..3_u8, 0..40_u8, prop::collection::vec(any::<u8>(), 0..40));
    let alike = prop::collection::vec(message, 0..8).prop_map(|messages| {
        let bytes = messages.into_iter();
        bytes
            .flat_map(|(flag, length, bytes)| [vec![flag, 0, 0, 0, length], bytes].concat())
            .collect()
    });
    prop_oneof![alike, prop::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_cut_anywhere_are_the_same_messages(
        bytes in wire().prop_map(Bytes::from),
        places in prop::collection::vec(any::<usize>(), 0..10),
        encoding in encoding(),
        limit in 0..100_usize,
    ) {
        let splitter = || Splitter::new(limit).with_encoding(encoding);
        let whole = split(splitter(), vec![bytes.clone()]);
        prop_assert_eq!(split(splitter(), cut(&bytes, &places)), whole);
    }

    #[test]
    fn framed_messages_cut_anywhere_come_out_equal(
        messages in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), any::<bool>()), 0..8),
        places in prop::collection::vec(any::<usize>(), 0..10),
        encoding in encoding(),
    ) {
        let mut bytes = BytesMut::new();
        let mut expected = Vec::new();
        for (message, squeeze) in messages {
            let plain = Framed::plain(&message);
            let squeezed = encoding.filter(|_| squeeze).map(|encoding| plain.compressed(encoding));
            let is_compressed = squeezed.is_some() && !message.is_empty();
            let framed = squeezed.unwrap_or(plain);
            prop_assert_eq!(framed.payload(), &message);
            bytes.extend_from_slice(&framed.into_bytes());
            expected.push((Bytes::from(message), is_compressed));
        }
        let splitter = Splitter::new(LIMIT).with_encoding(encoding);
        prop_assert_eq!(split(splitter, cut(&bytes.freeze(), &places)), (expected, Ok(())));
    }

    #[test]
    fn an_encoded_message_is_the_message(number in any::<u64>()) {
        let framed = Framed::encode(&number);
        prop_assert_eq!(framed.payload(), number.encode_to_vec());
        let plain = Framed::plain(&number.encode_to_vec());
        prop_assert_eq!(framed.into_bytes(), plain.into_bytes());
    }
}

#[test]
fn what_is_no_message_says_why() {
    let gzip = Some(Compression::Gzip);
    let large = Framed::squeezed(vec![0; LIMIT + 1].into(), Compression::Gzip);
    let no_gzip = Bytes::from_static(&[1, 0, 0, 0, 2, b'h', b'i']);
    let table = [
        (
            None,
            Bytes::from_static(&[1, 0, 0, 0, 0]),
            Code::Internal,
            "the message is compressed, and the stream declares no grpc-encoding",
        ),
        (
            gzip,
            Bytes::from_static(&[2, 0, 0, 0, 0]),
            Code::Internal,
            "a message begins with the flag byte 2, which is neither 0 nor 1",
        ),
        (
            gzip,
            Bytes::from_static(&[1, 1, 0, 0, 0]),
            Code::ResourceExhausted,
            "a message of 16777216 bytes is over the limit of 1048576 bytes",
        ),
        (
            gzip,
            large.into_bytes(),
            Code::ResourceExhausted,
            "a gzip message decompresses to more than the limit of 1048576 bytes",
        ),
        (
            gzip,
            no_gzip.clone(),
            Code::Internal,
            "a message is not valid gzip: ",
        ),
        (
            Some(Compression::Zstd),
            no_gzip,
            Code::Internal,
            "a message is not valid zstd: ",
        ),
        (
            None,
            Bytes::from_static(&[0, 0]),
            Code::Internal,
            "the stream ended 3 bytes before the end of a message",
        ),
    ];
    for (encoding, bytes, code, text) in table {
        let splitter = Splitter::new(LIMIT).with_encoding(encoding);
        let (messages, end) = split(splitter, vec![bytes]);
        let malformed = end.unwrap_err();
        assert!(messages.is_empty(), "{text}");
        assert!(malformed.to_string().starts_with(text), "{malformed}");
        assert_eq!(malformed.code(), code, "{text}");
    }
}

#[test]
fn the_end_of_a_message_beyond_the_usual_limit_is_missed() {
    let length = crate::wire::MESSAGE_LIMIT + 2;
    let mut whole = Framed::plain(&vec![0; length]).into_bytes();
    let missing = whole.split_off(whole.len() - 1).len();
    let (_, end) = split(Splitter::new(usize::MAX), vec![whole]);
    assert_eq!(end, Err(Malformed::Truncated { missing }));
}
