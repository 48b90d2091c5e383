use crate::net::shape::{Distortion, Lane, Load, OnHit, ROOM};
use bytes::BytesMut;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn latency(by: Duration) -> Distortion {
    Distortion::Latency(Box::new(move || by))
}

fn slices(size: usize, between: Duration) -> Distortion {
    Distortion::Slices { size, between }
}

fn nothing() -> OnHit {
    Box::new(|| None)
}

/// Counts its calls.
fn counting(count: &Arc<AtomicU32>) -> OnHit {
    let count = Arc::clone(count);
    Box::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
        None
    })
}

fn add(lane: &mut Lane, id: u64, after: u64, distortion: Distortion) {
    lane.add((id, id), after, distortion, nothing());
}

fn offer(lane: &mut Lane, bytes: &[u8], now: Instant) {
    lane.offer(BytesMut::from(bytes), now);
}

/// What passes by now, piece by piece. What is hit takes effect at once.
fn passed(lane: &mut Lane, now: Instant) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    loop {
        lane.advance(now);
        if let Some((serial, on_hit)) = lane.take_hit() {
            assert!(on_hit().is_none(), "nothing is held in these tests");
            lane.effect(serial, now);
        } else if let Some(piece) = lane.front() {
            let piece = piece.to_vec();
            lane.pass(piece.len());
            pieces.push(piece);
        } else {
            return pieces;
        }
    }
}

/// All that passes in time, with the milliseconds at which it does.
fn timed(lane: &mut Lane, start: Instant) -> Vec<(u128, Vec<u8>)> {
    let mut pieces = Vec::new();
    let mut now = start;
    loop {
        let at = now.duration_since(start).as_millis();
        pieces.extend(passed(lane, now).into_iter().map(|piece| (at, piece)));
        match lane.next_due() {
            Some(due) => now = due,
            None => return pieces,
        }
    }
}

fn at(ms: u128, piece: &[u8]) -> (u128, Vec<u8>) {
    (ms, piece.to_vec())
}

#[test]
fn nothing_added_passes_everything() {
    let (mut lane, now) = (Lane::default(), Instant::now());
    assert!(lane.is_idle());
    offer(&mut lane, b"ab", now);
    offer(&mut lane, b"c", now);
    assert_eq!(passed(&mut lane, now), [b"ab".to_vec(), b"c".to_vec()]);
    assert!(lane.is_idle() && lane.is_empty());
}

#[test]
fn latency_delays_each_piece_by_itself() {
    let (mut lane, now) = (Lane::default(), Instant::now());
    add(&mut lane, 1, 0, latency(ms(100)));
    offer(&mut lane, b"a", now);
    assert!(passed(&mut lane, now).is_empty());
    offer(&mut lane, b"b", now + ms(1));
    assert_eq!(timed(&mut lane, now), [at(100, b"a"), at(101, b"b")]);
}

#[test]
fn jitter_keeps_the_order() {
    let (mut lane, now) = (Lane::default(), Instant::now());
    let mut delays = [30, 10, 50].map(ms).into_iter();
    let delay = move || delays.next().unwrap_or_default();
    add(&mut lane, 1, 0, Distortion::Latency(Box::new(delay)));
    for piece in [b"a", b"b", b"c", b"d"] {
        offer(&mut lane, piece, now);
    }
    let expected = [at(30, b"a"), at(30, b"b"), at(50, b"c"), at(50, b"d")];
    assert_eq!(timed(&mut lane, now), expected);
}

/// One that waited for its turn is late where it goes next, too.
#[test]
fn two_jitters_add_up() {
    let (mut lane, now) = (Lane::default(), Instant::now());
    for (id, delays) in [(1, [30, 10]), (2, [5, 30])] {
        let mut delays = delays.map(ms).into_iter();
        let delay = move || delays.next().unwrap_or_default();
        add(&mut lane, id, 0, Distortion::Latency(Box::new(delay)));
    }
    offer(&mut lane, b"a", now);
    offer(&mut lane, b"b", now);
    assert_eq!(timed(&mut lane, now), [at(35, b"a"), at(60, b"b")]);
}

#[test]
fn the_longest_delay_is_no_overflow() {
    let (mut lane, now) = (Lane::default(), Instant::now());
    add(&mut lane, 1, 0, latency(Duration::MAX));
    add(&mut lane, 2, 0, slices(0, Duration::MAX));
    add(&mut lane, 3, u64::MAX, Distortion::Stall);
    offer(&mut lane, b"ab", now);
    assert!(passed(&mut lane, now).is_empty());
    lane.remove(1, now);
    assert_eq!(passed(&mut lane, now), [b"a"]);
    lane.remove(2, now);
    assert_eq!(passed(&mut lane, now), [b"b"]);
}

#[test]
fn bandwidth_takes_count_by_rate() {
    let (mut lane, now) = (Lane::default(), Instant::now());
    add(&mut lane, 1, 0, Distortion::Bandwidth(1000));
    offer(&mut lane, &[7; 333], now);
    offer(&mut lane, &[8; 667], now + ms(2));
    let pieces = timed(&mut lane, now);
    assert_eq!(pieces.last().unwrap().0, 1000);
    assert_eq!(pieces[0], at(10, &[7; 10]), "it trickles");
    let mut sent = 0;
    for (at, piece) in &pieces {
        sent += piece.len() as u128;
        assert_eq!(*at, sent);
    }
    assert_eq!(sent, 1000);

    // The way was idle, which is not made up for.
    offer(&mut lane, &[9; 10], now + ms(5000));
    assert_eq!(timed(&mut lane, now), [at(5010, &[9; 10])]);
}

#[test]
fn an_odd_bandwidth_does_not_drift() {
    let (mut lane, now) = (Lane::default(), Instant::now());
    add(&mut lane, 1, 0, Distortion::Bandwidth(7));
    for _ in 0..70 {
        offer(&mut lane, b"x", now);
    }
    assert_eq!(timed(&mut lane, now).last().unwrap().0, 10_000);
}

#[test]
fn no_bandwidth_is_a_stall() {
    let (mut lane, now) = (Lane::default(), Instant::now());
    add(&mut lane, 1, 0, Distortion::Bandwidth(0));
    offer(&mut lane, b"x", now);
    assert!(timed(&mut lane, now).is_empty());
}

#[test]
fn slices_pass_one_by_one() {
    let (mut lane, now) = (Lane::default(), Instant::now());
    add(&mut lane, 1, 1, slices(2, ms(10)));
    offer(&mut lane, b"abcdef", now);
    let expected = [at(0, b"a"), at(0, b"bc"), at(10, b"de"), at(20, b"f")];
    assert_eq!(timed(&mut lane, now), expected);

    let mut lane = Lane::default();
    add(&mut lane, 1, 0, slices(2, Duration::ZERO));
    offer(&mut lane, b"abc", now);
    assert_eq!(passed(&mut lane, now), [b"ab".to_vec(), b"c".to_vec()]);
}

#[test]
fn a_stall_holds_also_the_end_and_its_removal_lets_it_go() {
    let (mut lane, now) = (Lane::default(), Instant::now());
    add(&mut lane, 1, 3, Distortion::Stall);
    offer(&mut lane, b"ab", now);
    offer(&mut lane, b"cd", now);
    lane.end(Some(io::ErrorKind::BrokenPipe.into()), now);
    assert_eq!(passed(&mut lane, now), [b"ab".to_vec(), b"c".to_vec()]);
    assert!(lane.take_end().is_none() && lane.is_ended());
    assert_eq!(lane.next_due(), None);
    lane.remove(1, now);
    assert!(lane.take_end().is_none(), "the rest comes first");
    assert_eq!(passed(&mut lane, now), [b"d"]);
    let error = lane.take_end().flatten();
    assert_eq!(error.unwrap().kind(), io::ErrorKind::BrokenPipe);
    assert!(lane.is_idle() && !lane.is_ended());
}

#[test]
fn a_stall_holds_the_end_alone() {
    let (mut lane, now) = (Lane::default(), Instant::now());
    let hits = Arc::default();
    lane.add((1, 1), 0, Distortion::Stall, counting(&hits));
    lane.end(None, now);
    assert!(passed(&mut lane, now).is_empty() && lane.take_end().is_none());
    assert_eq!(hits.load(Ordering::Relaxed), 1);
}

#[test]
fn an_end_is_as_late_as_bytes() {
    let (mut lane, now) = (Lane::default(), Instant::now());
    add(&mut lane, 1, 0, latency(ms(5)));
    lane.end(None, now);
    assert!(passed(&mut lane, now).is_empty() && lane.take_end().is_none());
    assert!(passed(&mut lane, now + ms(5)).is_empty());
    assert!(matches!(lane.take_end(), Some(None)));
}

#[test]
fn bytes_are_counted_across_pieces() {
    let text = b"0123456789";
    for size in 1..=10 {
        let (mut lane, now) = (Lane::default(), Instant::now());
        add(&mut lane, 1, 4, Distortion::Flip { bytes: 3 });
        for piece in text.chunks(size) {
            offer(&mut lane, piece, now);
        }
        let mut expected = *text;
        expected[4..7].iter_mut().for_each(|byte| *byte ^= 0xff);
        assert_eq!(passed(&mut lane, now).concat(), expected, "{size}");
        lane.advance(now);
        assert!(lane.is_idle(), "it has done all that it can");
    }
}

#[test]
fn a_cut_comes_after_exactly_so_many_bytes() {
    for reset in [false, true] {
        for size in 1..=10 {
            let (mut lane, now) = (Lane::default(), Instant::now());
            let hits = Arc::default();
            lane.add((1, 1), 4, Distortion::Cut { reset }, counting(&hits));
            let mut came = Vec::new();
            for piece in b"0123456789".chunks(size) {
                assert_eq!(lane.cut().is_some(), came.len() == 4);
                offer(&mut lane, piece, now);
                came.append(&mut passed(&mut lane, now).concat());
            }
            assert_eq!(came, b"0123");
            assert_eq!(lane.cut(), Some(reset));
            assert_eq!(hits.load(Ordering::Relaxed), 1);
        }
    }
}

#[test]
fn a_fin_waits_for_what_is_late_and_a_reset_does_not() {
    for reset in [false, true] {
        let (mut lane, now) = (Lane::default(), Instant::now());
        add(&mut lane, 1, 0, latency(ms(100)));
        offer(&mut lane, b"ab", now);
        passed(&mut lane, now);
        add(&mut lane, 2, 0, Distortion::Cut { reset });
        offer(&mut lane, b"cd", now);
        assert!(passed(&mut lane, now).is_empty());
        assert_eq!(lane.cut(), reset.then_some(true));
        if !reset {
            assert_eq!(timed(&mut lane, now), [at(100, b"ab")]);
            assert_eq!(lane.cut(), Some(false));
        }
    }
}

#[test]
fn a_reset_counts_what_went_out() {
    let (mut lane, now) = (Lane::default(), Instant::now());
    add(&mut lane, 1, 0, latency(ms(100)));
    offer(&mut lane, b"abc", now);
    passed(&mut lane, now);
    add(&mut lane, 2, 2, Distortion::Cut { reset: true });
    assert_eq!(timed(&mut lane, now), [at(100, b"ab")]);
    assert_eq!(lane.cut(), Some(true));
}

#[test]
fn what_is_on_its_way_is_not_touched_by_what_comes_later() {
    let (mut lane, now) = (Lane::default(), Instant::now());
    add(&mut lane, 1, 0, latency(ms(100)));
    offer(&mut lane, b"ab", now);
    passed(&mut lane, now);
    add(&mut lane, 2, 1, Distortion::Flip { bytes: 1 });
    offer(&mut lane, b"cde", now);
    let came = [at(100, b"ab"), at(100, b"c"), at(100, b"\x9be")];
    let joined = |pieces: &[(u128, Vec<u8>)]| -> Vec<u8> {
        pieces.iter().flat_map(|piece| piece.1.clone()).collect()
    };
    let pieces = timed(&mut lane, now);
    assert!(pieces.iter().all(|piece| piece.0 == 100));
    assert_eq!(joined(&pieces), joined(&came));
}

#[test]
fn a_removal_undoes_one_delay_of_two() {
    let (mut lane, now) = (Lane::default(), Instant::now());
    add(&mut lane, 1, 0, latency(ms(100)));
    add(&mut lane, 2, 0, latency(ms(10)));
    for piece in [b"a", b"b"] {
        offer(&mut lane, piece, now);
    }
    assert!(passed(&mut lane, now).is_empty());
    lane.remove(1, now + ms(7));
    lane.remove(77, now);
    assert_eq!(timed(&mut lane, now + ms(7)), [at(10, b"a"), at(10, b"b")]);
}

#[test]
fn distortions_work_together_in_their_order() {
    let (mut lane, now) = (Lane::default(), Instant::now());
    add(&mut lane, 1, 0, slices(1, ms(5)));
    add(&mut lane, 2, 0, latency(ms(100)));
    add(&mut lane, 3, 1, Distortion::Flip { bytes: 1 });
    add(&mut lane, 4, 2, Distortion::Cut { reset: false });
    offer(&mut lane, b"abc", now);
    assert_eq!(timed(&mut lane, now), [at(100, b"a"), at(105, b"\x9d")]);
    assert_eq!(lane.cut(), Some(false));
}

#[test]
fn each_is_hit_once_by_the_first_byte_that_it_affects() {
    let kinds: [fn() -> Distortion; 5] = [
        || latency(ms(1)),
        || Distortion::Bandwidth(10),
        || slices(1, ms(1)),
        || Distortion::Stall,
        || Distortion::Flip { bytes: 9 },
    ];
    for (index, kind) in kinds.iter().enumerate() {
        let (mut lane, now) = (Lane::default(), Instant::now());
        let hits = Arc::default();
        lane.add((1, 1), 2, kind(), counting(&hits));
        offer(&mut lane, b"ab", now);
        assert_eq!(passed(&mut lane, now).concat(), b"ab");
        assert_eq!(hits.load(Ordering::Relaxed), 0, "{index}");
        for _ in 0..3 {
            offer(&mut lane, b"c", now);
            passed(&mut lane, now);
        }
        assert_eq!(hits.load(Ordering::Relaxed), 1, "{index}");
    }
}

#[test]
fn what_is_held_takes_effect_when_it_is_told() {
    let (mut lane, now) = (Lane::default(), Instant::now());
    add(&mut lane, 1, 1, latency(ms(10)));
    offer(&mut lane, b"ab", now);
    lane.advance(now);
    assert_eq!(lane.front(), Some(b"a".as_slice()));
    lane.pass(1);
    let (serial, _) = lane.take_hit().unwrap();
    assert!(lane.is_held(serial) && lane.take_hit().is_none());
    offer(&mut lane, b"c", now);
    lane.advance(now + ms(50));
    assert!(lane.front().is_none() && lane.next_due().is_none());
    lane.effect(serial, now + ms(50));
    assert_eq!(timed(&mut lane, now + ms(50)), [at(10, b"b"), at(10, b"c")]);
}

#[test]
fn room_is_bounded_and_given_back() {
    let (mut lane, now) = (Lane::default(), Instant::now());
    add(&mut lane, 1, 0, Distortion::Stall);
    offer(&mut lane, &vec![0; ROOM - 1], now);
    assert_eq!(lane.room(), 1);
    lane.remove(1, now);
    assert_eq!(passed(&mut lane, now).concat().len(), ROOM - 1);
    assert_eq!(lane.room(), ROOM);
    assert_eq!(Load::End(None).len(), 0);
}
