use crate::wire::frame::{self, DATA, HEADERS, PING, SETTINGS, WINDOW_UPDATE};
use crate::wire::rewrite::{Rewriter, Sent, Withheld};
use bytes::BytesMut;
use fastrand::Rng;
use h2::Reason;

fn frames(frames: &[(u8, u8, u32, &[u8])]) -> Vec<u8> {
    let mut out = BytesMut::new();
    for (kind, flags, stream, payload) in frames {
        frame::put(&mut out, *kind, *flags, *stream, payload);
    }
    out.to_vec()
}

fn rewritten(rewriter: &mut Rewriter, bytes: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    rewriter.push(bytes, &mut out);
    rewriter.between_frames(&mut out);
    out.to_vec()
}

/// Switched in anywhere in a frame, and given pieces of any size.
#[test]
fn frames_pass_unchanged_whatever_the_pieces() {
    let all = frames(&[
        (SETTINGS, 0, 0, &[0; 12]),
        (HEADERS, 4, 1, b"abc"),
        (DATA, 0, 1, &[7; 300]),
        (DATA, 1, 3, b""),
        (PING, 0, 0, &[1; 8]),
    ]);
    let seed = fastrand::u64(..);
    let mut dice = Rng::with_seed(seed);
    for _ in 0..200 {
        let mut rewriter = Rewriter::default();
        rewriter.watch(1);
        let mut out = BytesMut::new();
        let mut rest = &all[..];
        let mut follows = dice.usize(..all.len());
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(dice.usize(1..=rest.len()));
            if follows > 0 {
                rewriter.follow(piece);
                out.extend_from_slice(piece);
            } else {
                rewriter.push(piece, &mut out);
            }
            follows = follows.saturating_sub(piece.len());
            rest = later;
        }
        assert_eq!(out, all, "seed {seed}");
        assert_eq!(rewriter.passed(), all.len() as u64, "seed {seed}");
    }
}

#[test]
fn what_is_sent_of_a_stream_is_counted_while_it_is_watched() {
    let mut rewriter = Rewriter::default();
    rewriter.watch(1);
    let bytes = frames(&[
        (HEADERS, 4, 1, b"abc"),
        (DATA, 0, 1, b"four"),
        (DATA, 0, 3, b"others"),
    ]);
    rewritten(&mut rewriter, &bytes);
    assert_eq!(rewriter.sent(1), Some(Sent::default()));
    rewriter.mark_flushed();
    let sent = Sent {
        headers: 1,
        data: 4,
    };
    assert_eq!(rewriter.sent(1), Some(sent));
    assert_eq!(rewriter.sent(3), None);
    rewriter.unwatch(1);
    assert!(rewriter.is_idle());
}

#[test]
fn padding_takes_the_place_of_the_bytes_that_stand_for_it() {
    let mut rewriter = Rewriter::default();
    rewriter.pad(1, 2);
    let out = rewritten(&mut rewriter, &frames(&[(DATA, 1, 1, b"hello...")]));
    let padded = frames(&[(DATA, 1 | frame::PADDED, 1, b"\x02hello\0\0")]);
    assert_eq!(out, padded);
}

#[test]
fn what_is_withheld_goes_out_when_nobody_withholds_it_any_more() {
    let update = frames(&[(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 9])]);
    let pong = frames(&[(PING, frame::ACK, 0, &[1; 8])]);
    let ping = frames(&[(PING, 0, 0, &[1; 8])]);
    let mut rewriter = Rewriter::default();
    rewriter.withhold(1, Withheld::WindowUpdates);
    rewriter.withhold(2, Withheld::Pongs);
    rewriter.withhold(3, Withheld::Pongs);
    let all = [update.clone(), ping.clone(), pong.clone()].concat();
    assert_eq!(rewritten(&mut rewriter, &all), ping);
    rewriter.release(1);
    assert_eq!(rewritten(&mut rewriter, &[]), update);
    rewriter.release(2);
    assert_eq!(rewritten(&mut rewriter, &[]), b"");
    rewriter.release(3);
    assert_eq!(rewritten(&mut rewriter, &[]), pong);
    assert!(rewriter.is_idle());
}

#[test]
fn nothing_goes_out_within_a_frame() {
    let data = frames(&[(DATA, 0, 1, b"hello")]);
    let mut rewriter = Rewriter::default();
    rewriter.follow(&data[..11]);
    rewriter.insert(&frame::ping(1));
    assert_eq!(rewritten(&mut rewriter, &data[11..13]), data[11..13]);
    let rest = [&data[13..], &frame::ping(1)].concat();
    assert_eq!(rewritten(&mut rewriter, &data[13..]), rest);
}

#[test]
fn a_farewell_is_replaced_once_and_mutes_later_streams() {
    let plain = frame::go_away(frame::LAST_STREAM, Reason::NO_ERROR, b"");
    let ours = frame::go_away(1, Reason::ENHANCE_YOUR_CALM, b"too_many_pings");
    let mut rewriter = Rewriter::default();
    rewriter.replace_farewell(ours.clone(), 1);
    let data = frames(&[(DATA, 0, 1, b"a")]);
    let muted = frames(&[(DATA, 0, 3, b"b")]);
    let all = [&plain[..], &plain, &muted, &data].concat();
    assert_eq!(rewritten(&mut rewriter, &all), [&ours[..], &data].concat());
}

#[test]
fn a_setting_goes_with_the_next_settings() {
    let mut rewriter = Rewriter::default();
    rewriter.set_max_streams(3);
    let settings = frames(&[
        (SETTINGS, frame::ACK, 0, b""),
        (SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1]),
    ]);
    let with = frames(&[
        (SETTINGS, frame::ACK, 0, b""),
        (SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1, 0, 3, 0, 0, 0, 3]),
    ]);
    assert_eq!(rewritten(&mut rewriter, &settings), with);
    assert!(rewriter.is_idle());
}
