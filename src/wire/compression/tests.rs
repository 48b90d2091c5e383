use super::*;
use proptest::prelude::*;
use std::{io, iter};

const BOTH: [Compression; 2] = [Compression::Gzip, Compression::Zstd];
const LIMIT: usize = 4 << 20;

fn squeezed(compression: Compression, message: &[u8]) -> Vec<u8> {
    compression.compress(message, Vec::new())
}

fn is_damaged(compression: Compression, input: &[u8]) -> bool {
    matches!(compression.decompress(input, LIMIT), Err(Failure::Damaged(text)) if !text.is_empty())
}

/// Nothing, one letter, text, and noise.
fn messages() -> Vec<Vec<u8>> {
    let mut dice = fastrand::Rng::with_seed(7);
    let sizes = [
        0,
        1,
        2,
        5,
        255,
        256,
        4096,
        128 << 10,
        (128 << 10) + 1,
        1 << 20,
    ];
    sizes
        .into_iter()
        .flat_map(|size| {
            let text = b"to be or not to be, ".iter().copied().cycle().take(size);
            let noise = iter::repeat_with(|| dice.u8(..)).take(size);
            [vec![0; size], text.collect(), noise.collect()]
        })
        .collect()
}

#[test]
fn what_is_compressed_comes_back_up_to_the_limit() {
    for compression in BOTH {
        for message in messages() {
            let compressed = compression.compress(&message, b"prefix".to_vec());
            let compressed = compressed.strip_prefix(b"prefix").unwrap();
            let limit = message.len();
            assert!(
                compression.decompress(compressed, limit).unwrap() == message,
                "{compression} of {limit} bytes"
            );
            if let Some(less) = limit.checked_sub(1) {
                let failure = compression.decompress(compressed, less).unwrap_err();
                assert_eq!(failure, Failure::OverLimit, "{compression}: {limit}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_message_comes_back(pieces in prop::collection::vec((any::<[u8; 3]>(), 0..2000_usize), 0..20)) {
        let message: Vec<u8> = pieces.iter().flat_map(|(piece, times)| piece.repeat(*times)).collect();
        for compression in BOTH {
            let back = compression.decompress(&squeezed(compression, &message), message.len());
            prop_assert!(back.as_ref() == Ok(&message), "{compression}");
        }
    }
}

/// 1 GiB of zeros in a few kilobytes: a gzip member after the other, and zstd blocks of one repeated byte.
fn bomb(compression: Compression) -> Vec<u8> {
    match compression {
        Compression::Gzip => squeezed(compression, &vec![0; 1 << 20]).repeat(1 << 10),
        Compression::Zstd => {
            let window = 7 << 3; // 128 KiB
            let block = ((128_u32 << 10) << 3 | 1 << 1).to_le_bytes();
            let blocks = [block[0], block[1], block[2], 0].repeat(8 << 10);
            [&[0x28, 0xb5, 0x2f, 0xfd, 0, window], blocks.as_slice()].concat()
        }
    }
}

#[test]
fn a_bomb_is_told_at_the_limit() {
    for compression in BOTH {
        let bomb = bomb(compression);
        assert!(bomb.len() < LIMIT / 2, "{compression}: {}", bomb.len());
        for limit in [0, 1, 1000, LIMIT] {
            let failure = compression.decompress(&bomb, limit).unwrap_err();
            assert_eq!(failure, Failure::OverLimit, "{compression}: {limit}");
        }
    }
    let one_member = squeezed(Compression::Gzip, &vec![0; 32 << 20]);
    let failure = Compression::Gzip.decompress(&one_member, LIMIT);
    assert_eq!(failure.unwrap_err(), Failure::OverLimit);
}

#[test]
fn memory_follows_what_arrives() {
    for limit in [0, 1, Bounded::STEP - 1, Bounded::STEP, 100_000, LIMIT] {
        let mut endless = Bounded::new(limit);
        assert_eq!(endless.read(io::repeat(0)), Err(Failure::OverLimit));
        assert_eq!(
            (endless.bytes.len(), endless.bytes.capacity()),
            (limit + 1, limit + 1)
        );
    }
    let mut short = Bounded::new(usize::MAX);
    assert_eq!(short.read(b"short".as_slice()), Ok(()));
    assert_eq!(short.bytes.capacity(), Bounded::STEP);
}

#[test]
fn a_claim_of_more_than_the_limit_is_not_believed() {
    // One segment of 2^60 bytes, and a window of 1 TiB.
    let segment = [
        &[0x28, 0xb5, 0x2f, 0xfd, 0b1110_0000][..],
        &(1_u64 << 60).to_le_bytes(),
    ]
    .concat();
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0, 30 << 3, 1, 0, 0];
    for claim in [segment.as_slice(), &window] {
        let failure = Compression::Zstd.decompress(claim, LIMIT).unwrap_err();
        assert_eq!(failure, Failure::OverLimit);
    }
    // The least window that every decoder must have is allowed, whatever the limit is.
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3, 1, 0, 0];
    assert_eq!(Compression::Zstd.decompress(&window, 1), Ok(Vec::new()));
}

#[test]
fn members_and_frames_are_one_message() {
    for compression in BOTH {
        let two = [
            squeezed(compression, b"one "),
            squeezed(compression, b"two"),
        ]
        .concat();
        assert_eq!(compression.decompress(&two, LIMIT).unwrap(), b"one two");
        assert_eq!(compression.decompress(&two, 6), Err(Failure::OverLimit));
    }
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9];
    let frame = squeezed(Compression::Zstd, b"message");
    let both = [skippable.as_slice(), &frame, &skippable].concat();
    assert_eq!(
        Compression::Zstd.decompress(&both, LIMIT).unwrap(),
        b"message"
    );
    assert!(is_damaged(Compression::Zstd, &both[..both.len() - 1]));
}

#[test]
fn what_is_cut_garbled_or_followed_by_garbage_is_damaged() {
    for compression in BOTH {
        let whole = squeezed(compression, b"a message, a message, another message");
        for length in 0..whole.len() {
            assert!(
                is_damaged(compression, &whole[..length]),
                "{compression}: {length}"
            );
        }
        for garbage in [b"x".as_slice(), b"garbage after it"] {
            let longer = [whole.as_slice(), garbage].concat();
            assert!(
                is_damaged(compression, &longer),
                "{compression}: {garbage:?}"
            );
        }
        // Both end with a checksum or a length.
        let mut other = whole.clone();
        *other.last_mut().unwrap() ^= 1;
        assert!(is_damaged(compression, &other), "{compression}");
        assert!(
            is_damaged(compression, b"neither gzip nor zstd"),
            "{compression}"
        );
    }
}

/// What the decoders make of hostile input is theirs; that they come back is ours.
#[test]
fn mutated_input_is_no_panic() {
    let mut dice = fastrand::Rng::with_seed(42);
    let message: Vec<u8> = messages().concat().into_iter().step_by(97).collect();
    for compression in BOTH {
        let whole = squeezed(compression, &message);
        for _ in 0..300 {
            let mut input = whole.clone();
            for _ in 0..dice.usize(1..8) {
                let reach = 1 << dice.u32(3..16);
                let at = dice.usize(..input.len().min(reach));
                input[at] = dice.u8(..);
            }
            if let Ok(read) = compression.decompress(&input, LIMIT) {
                assert!(read.len() <= LIMIT);
            }
        }
    }
}

#[test]
fn names_are_read_from_headers() {
    let headers = |name: HeaderName, values: &[&'static str]| -> HeaderMap {
        let values = values.iter().map(|value| HeaderValue::from_static(value));
        values.map(|value| (name.clone(), value)).collect()
    };
    let declared = |values: &[&'static str]| Compression::declared(&headers(GRPC_ENCODING, values));
    assert_eq!(declared(&[]), Ok(None));
    assert_eq!(declared(&["identity"]), Ok(None));
    assert_eq!(declared(&["gzip"]), Ok(Some(Compression::Gzip)));
    assert_eq!(declared(&["zstd"]), Ok(Some(Compression::Zstd)));
    for unknown in ["br", "GZIP", "gzip,zstd", ""] {
        assert_eq!(declared(&[unknown]), Err(Unknown(unknown.to_owned())));
    }
    let table: [(&[&'static str], bool, bool); 6] = [
        (&[], false, false),
        (&["identity"], false, false),
        (&["gzip"], true, false),
        (&["identity, gzip ,zstd"], true, true),
        (&["identity", "zstd"], false, true),
        (&["xgzip,zstdx"], false, false),
    ];
    for (values, gzip, zstd) in table {
        let headers = headers(GRPC_ACCEPT_ENCODING, values);
        let accepted = BOTH.map(|compression| compression.is_accepted(&headers));
        assert_eq!(accepted, [gzip, zstd], "{values:?}");
    }
    let own = HeaderMap::from_iter([(GRPC_ACCEPT_ENCODING, ACCEPTED)]);
    for compression in BOTH {
        assert!(compression.is_accepted(&own), "{compression}");
        assert_eq!(
            Compression::parse(compression.name()),
            Ok(Some(compression))
        );
        assert_eq!(compression.header(), compression.to_string());
    }
}
