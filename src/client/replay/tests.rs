use super::*;
use std::sync::{
    OnceLock,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tonic::Code;

type Fed = Result<&'static str, Status>;

/// A stream of requests that is fed by the test. It tells its end only by ending.
struct Stream(UnboundedReceiver<Fed>);

impl Body for Stream {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Frames> {
        let data = |text: &'static str| Frame::data(Bytes::from_static(text.as_bytes()));
        self.0.poll_recv(cx).map(|fed| fed.map(|fed| fed.map(data)))
    }
}

fn stream(limit: usize) -> (Kept, UnboundedSender<Fed>) {
    let (feed, fed) = unbounded_channel();
    (Kept::new(tonic::body::Body::new(Stream(fed)), limit), feed)
}

/// A body that is there.
fn there(pieces: &[&'static str]) -> tonic::body::Body {
    let pieces = pieces.iter();
    let pieces = pieces.map(|text| Bytes::from_static(text.as_bytes()));
    tonic::body::Body::new(Whole {
        pieces: pieces.collect(),
    })
}

/// A task that counts how often it is woken.
#[derive(Default)]
struct Task(AtomicUsize);

impl std::task::Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Task {
    fn woken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn poll(body: &mut tonic::body::Body, task: &Arc<Task>) -> Poll<Frames> {
    let waker = Waker::from(Arc::clone(task));
    Pin::new(body).poll_frame(&mut Context::from_waker(&waker))
}

/// What comes next, in words.
fn next(body: &mut tonic::body::Body) -> String {
    match poll(body, &Arc::default()) {
        Poll::Pending => "pending".to_owned(),
        Poll::Ready(None) => "end".to_owned(),
        Poll::Ready(Some(Err(status))) => format!("failed: {}", status.message()),
        Poll::Ready(Some(Ok(frame))) => {
            let data = frame.into_data().expect("there are no trailers");
            String::from_utf8(data.to_vec()).expect("it is text")
        }
    }
}

/// All that comes until it ends, fails, or has to wait.
fn all(body: &mut tonic::body::Body) -> String {
    let mut words = vec![next(body)];
    while !["pending", "end", "failed"].contains(&words[words.len() - 1].split(':').next().unwrap())
    {
        words.push(next(body));
    }
    words.join(" ")
}

fn kept_bytes(kept: &Kept) -> usize {
    kept.lock().pieces.iter().map(Bytes::len).sum()
}

const SUPERSEDED: &str = "failed: another attempt sends this request";

#[test]
fn a_request_is_sent_from_its_beginning_as_often_as_it_has_to_be() {
    let (kept, feed) = stream(100);
    for (round, piece) in ["a", "b", "c"].into_iter().enumerate() {
        feed.send(Ok(piece)).unwrap();
        let expected = ["a pending", "a b pending", "a b c pending"][round];
        assert_eq!(all(&mut kept.reader()), expected);
        assert!(kept.is_repeatable() && !kept.is_whole());
    }
    drop(feed);
    for _ in 0..3 {
        assert_eq!(all(&mut kept.reader()), "a b c end");
        assert!(kept.is_repeatable() && kept.is_whole());
    }
}

#[test]
fn a_reader_that_is_followed_by_another_fails_and_does_not_end() {
    let (kept, feed) = stream(100);
    feed.send(Ok("a")).unwrap();
    let (mut first, mut second) = (kept.reader(), kept.reader());
    assert_eq!(next(&mut first), SUPERSEDED);
    assert_eq!(next(&mut first), "end", "once is enough");
    assert_eq!(next(&mut second), "a");
    let mut third = kept.reader();
    assert_eq!(next(&mut second), SUPERSEDED);
    drop(feed);
    assert_eq!(all(&mut third), "a end");
}

#[test]
fn readers_of_a_whole_request_go_on_side_by_side() {
    let kept = Kept::new(there(&["a", "b", "c"]), 3);
    assert!(!kept.is_whole(), "nothing has passed");
    assert_eq!(all(&mut kept.reader()), "a b c end");
    assert!(kept.is_whole());
    let (mut one, mut other) = (kept.reader(), kept.reader());
    assert_eq!((next(&mut one), next(&mut other)), ("a".into(), "a".into()));
    assert_eq!(next(&mut one), "b");
    let mut late = kept.reader();
    kept.commit();
    assert_eq!(all(&mut other), "b c end");
    assert_eq!(all(&mut one), "c end");
    assert_eq!(all(&mut late), "a b c end");
}

#[test]
fn what_is_over_the_limit_is_sent_and_everything_freed_at_once() {
    for (limit, lost) in [(3, false), (2, true), (0, true)] {
        let (kept, feed) = stream(limit);
        let mut reader = kept.reader();
        for piece in ["a", "b", "c"] {
            feed.send(Ok(piece)).unwrap();
            assert_eq!(all(&mut reader), format!("{piece} pending"));
        }
        assert_eq!(kept.is_repeatable(), !lost, "{limit}");
        assert_eq!(kept_bytes(&kept), if lost { 0 } else { 3 }, "{limit}");
        if lost {
            assert_eq!(kept.lock().pieces.capacity(), 4, "for one that passes");
            assert_eq!(next(&mut kept.reader()), SUPERSEDED);
        }
        drop(feed);
        assert!(!kept.is_whole(), "nobody has seen the end");
        let expected = if lost { "end" } else { "a b c end" };
        let mut reader = if lost { reader } else { kept.reader() };
        assert_eq!(all(&mut reader), expected);
        assert_eq!(kept.is_whole(), !lost);
    }
}

#[test]
fn committing_frees_what_was_read_and_keeps_nothing_more() {
    let (kept, feed) = stream(100);
    for piece in ["a", "b", "c"] {
        feed.send(Ok(piece)).unwrap();
    }
    assert_eq!(all(&mut kept.reader()), "a b c pending");
    let mut reader = kept.reader();
    assert_eq!(next(&mut reader), "a");
    kept.commit();
    assert!(!kept.is_repeatable());
    assert_eq!(kept_bytes(&kept), 2, "`b` and `c` are to be sent yet");
    assert_eq!(next(&mut reader), "b");
    assert_eq!(kept_bytes(&kept), 1);
    assert_eq!(next(&mut kept.reader()), SUPERSEDED, "which harms nobody");
    feed.send(Ok("d")).unwrap();
    assert_eq!(all(&mut reader), "c d pending");
    assert_eq!(kept_bytes(&kept), 0);
    drop(feed);
    assert_eq!(all(&mut reader), "end");
    assert!(!kept.is_whole());
}

#[test]
fn what_is_committed_before_it_is_sent_is_only_sent_once() {
    let kept = Kept::new(there(&["a", "b"]), 100);
    kept.commit();
    let mut reader = kept.reader();
    assert_eq!(all(&mut reader), "a b end");
    assert_eq!(kept_bytes(&kept), 0);
    assert!(!kept.is_repeatable() && !kept.is_whole());
}

#[test]
fn a_request_that_fails_fails_its_reader_and_cannot_be_repeated() {
    let (kept, feed) = stream(100);
    feed.send(Ok("a")).unwrap();
    feed.send(Err(Status::new(Code::DataLoss, "half a message")))
        .unwrap();
    let mut reader = kept.reader();
    assert_eq!(all(&mut reader), "a failed: half a message");
    assert_eq!(next(&mut reader), "end");
    assert!(!kept.is_repeatable() && !kept.is_whole());
    assert_eq!(kept_bytes(&kept), 0);
    assert!(feed.is_closed(), "the stream is dropped");
}

#[test]
fn a_unary_request_says_that_it_ends_and_how_long_it_is() {
    let empty = Kept::new(tonic::body::Body::empty(), 100);
    assert!(empty.is_whole() && empty.reader().is_end_stream());

    let kept = Kept::new(there(&["ab"]), 100);
    let mut first = kept.reader();
    assert_eq!(first.size_hint().exact(), Some(2));
    assert!(!first.is_end_stream());
    assert_eq!(next(&mut first), "ab");
    assert!(
        first.is_end_stream() && kept.is_whole(),
        "without another poll"
    );
    assert_eq!(first.size_hint().exact(), Some(0));

    let mut second = kept.reader();
    assert_eq!(second.size_hint().exact(), Some(2));
    assert!(!second.is_end_stream());
    assert_eq!(next(&mut second), "ab");
    assert!(second.is_end_stream());
}

#[test]
fn a_stream_that_is_sent_again_has_at_least_what_was_sent() {
    let (kept, feed) = stream(100);
    feed.send(Ok("abc")).unwrap();
    feed.send(Ok("de")).unwrap();
    assert_eq!(all(&mut kept.reader()), "abc de pending");
    let mut reader = kept.reader();
    assert_eq!(next(&mut reader), "abc");
    let hint = reader.size_hint();
    assert_eq!((hint.lower(), hint.upper()), (2, None));
    assert!(!reader.is_end_stream());
}

#[test]
fn the_wake_is_the_current_readers() {
    let (kept, feed) = stream(100);
    let (old, new) = (Arc::<Task>::default(), Arc::<Task>::default());
    let mut first = kept.reader();
    assert!(poll(&mut first, &old).is_pending());
    let mut second = kept.reader();
    assert_eq!(old.woken(), 1, "to learn that it is over");
    assert!(poll(&mut second, &new).is_pending());
    assert!(matches!(poll(&mut first, &old), Poll::Ready(Some(Err(_)))));
    feed.send(Ok("a")).unwrap();
    assert_eq!((old.woken(), new.woken()), (1, 1));
    assert_eq!(all(&mut second), "a pending");
}

/// A stream that has its reader superseded while it polls.
struct Meddler {
    kept: Arc<OnceLock<Kept>>,
    successor: Arc<Mutex<Option<tonic::body::Body>>>,
    task: Arc<Task>,
    /// What comes of the poll; it panics when there is nothing.
    fed: Option<Poll<Option<Fed>>>,
}

impl Body for Meddler {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Frames> {
        let mut reader = self.kept.get().expect("it is set").reader();
        assert!(
            poll(&mut reader, &self.task).is_pending(),
            "the source is away"
        );
        *self.successor.lock().unwrap() = Some(reader);
        let data = |text: &'static str| Frame::data(Bytes::from_static(text.as_bytes()));
        let fed = self.fed.take().expect("a panic");
        fed.map(|fed| fed.map(|fed| fed.map(data)))
    }
}

#[test]
fn what_a_superseded_reader_gets_out_of_the_stream_is_its_successors() {
    let failed = || Some(Err(Status::internal("broken")));
    let panicked = "failed: the stream of requests panicked: a panic";
    let cases = [
        (Some(Poll::Ready(Some(Ok("a")))), "a", SUPERSEDED),
        (Some(Poll::Ready(None)), "end", "end"),
        (Some(Poll::Ready(failed())), "failed: broken", SUPERSEDED),
        (None, panicked, SUPERSEDED),
    ];
    // The second limit is passed by what comes.
    for limit in [100, 0] {
        for (fed, successors, own) in cases.clone() {
            let task = Arc::<Task>::default();
            let (shared, successor) = (Arc::<OnceLock<Kept>>::default(), Arc::default());
            let meddler = Meddler {
                kept: Arc::clone(&shared),
                successor: Arc::clone(&successor),
                task: Arc::clone(&task),
                fed,
            };
            let kept = Kept::new(tonic::body::Body::new(meddler), limit);
            shared.set(kept.clone()).unwrap();
            assert_eq!(next(&mut kept.reader()), own, "{successors}");
            assert_eq!(task.woken(), 1, "{successors}");
            let mut successor = successor.lock().unwrap().take().unwrap();
            assert_eq!(next(&mut successor), successors);
        }
    }
}

#[test]
fn a_stream_that_waits_comes_back_to_the_successor() {
    let task = Arc::<Task>::default();
    let (shared, successor) = (Arc::<OnceLock<Kept>>::default(), Arc::default());
    let meddler = Meddler {
        kept: Arc::clone(&shared),
        successor: Arc::clone(&successor),
        task: Arc::clone(&task),
        fed: Some(Poll::Pending),
    };
    let kept = Kept::new(tonic::body::Body::new(meddler), 100);
    shared.set(kept.clone()).unwrap();
    assert_eq!(next(&mut kept.reader()), SUPERSEDED);
    assert_eq!(task.woken(), 1);
    assert!(kept.lock().source.is_some());
    assert!(kept.is_repeatable());
}

/// Whatever happens in whatever order: nobody reads anything but the request from its beginning.
#[test]
fn no_reader_misses_or_repeats_a_piece() {
    for seed in 0..2000 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let pieces = &["a", "b", "c", "d", "e", "f", "g", "h"][..dice.usize(0..=8)];
        let limit = dice.usize(0..=8);
        let (kept, feed) = stream(limit);
        let mut feed = Some(feed);
        let mut fed = pieces.iter();
        let mut readers = vec![(kept.reader(), 0)];
        let mut current = 0;
        for _ in 0..60 {
            match dice.u8(0..20) {
                0..4 => match (&feed, fed.next()) {
                    (Some(feed), Some(piece)) => feed.send(Ok(piece)).unwrap(),
                    _ => feed = None,
                },
                4 if kept.is_repeatable() => {
                    if !kept.is_whole() {
                        current = readers.len();
                    }
                    readers.push((kept.reader(), 0));
                }
                5 if dice.u8(0..5) == 0 => kept.commit(),
                _ => {
                    let index = dice.usize(0..readers.len());
                    let (reader, read) = &mut readers[index];
                    let word = next(reader);
                    match word.as_str() {
                        "pending" => assert_eq!(index, current, "seed {seed}"),
                        SUPERSEDED => assert_ne!(index, current, "seed {seed}"),
                        "end" => {}
                        piece => {
                            assert_eq!(piece, pieces[*read], "seed {seed}");
                            *read += 1;
                        }
                    }
                }
            }
        }
        drop(feed);
        let (reader, read) = &mut readers[current];
        let rest = fed.as_slice().len();
        let rest = pieces[*read..pieces.len() - rest].iter();
        let expected: Vec<_> = rest.chain(&["end"]).copied().collect();
        assert_eq!(all(reader), expected.join(" "), "seed {seed}");
    }
}

#[test]
fn the_debug_text_has_no_bytes_of_the_request() {
    let kept = Kept::new(there(&["secret"]), 100);
    assert_eq!(all(&mut kept.reader()), "secret end");
    assert_eq!(format!("{kept:?}"), "Kept(6 bytes, at most 100)");
}
