//! One open connection in the hands of faults.

use crate::mock::fault::{ByteEffect, Effect, GoAway, LineEffect, Placed, Strike};
use crate::net::{Distortion, Frames, OnHit, Shape, Way};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// What can be done to a connection.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) id: u64,
    pub(crate) frames: Frames,
    shape: Shape,
    orders: mpsc::UnboundedSender<Order>,
    /// What was done to it, or is about to be.
    struck: Mutex<Vec<Arc<Strike>>>,
}

/// What the task of a connection is told to do, and who waits for it to have gone out.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) duty: Duty,
    pub(crate) done: Option<oneshot::Sender<()>>,
}

#[derive(Debug)]
pub(crate) enum Duty {
    GoAway(GoAway),
    /// Look after what goes out: there is something new.
    Look,
    /// Send new SETTINGS.
    Settings,
}

pub(crate) type Orders = mpsc::UnboundedReceiver<Order>;

impl Line {
    pub(crate) fn new(id: u64, shape: Shape) -> (Arc<Self>, Orders) {
        let (orders, ordered) = mpsc::unbounded_channel();
        let line = Self {
            id,
            frames: Frames::default(),
            shape,
            orders,
            struck: Mutex::default(),
        };
        (Arc::new(line), ordered)
    }

    /// A fault happens to it that no call decides about: now, or after so many bytes.
    pub(crate) fn strike(self: &Arc<Self>, strike: Strike) {
        let strike = Arc::new(strike);
        self.lock().push(Arc::clone(&strike));
        let after = strike.fault.when.after_bytes.unwrap_or_default();
        match &strike.fault.effect {
            Effect::Line(LineEffect::Bytes(effect)) => self.distort(&strike, effect, after, true),
            _ if after == 0 => self.begin(strike),
            _ => {
                let line = Arc::downgrade(self);
                let then = move || {
                    if let Some(line) = line.upgrade() {
                        line.begin(strike);
                    }
                };
                self.frames.after(after, Box::new(then));
            }
        }
    }

    fn begin(self: &Arc<Self>, strike: Arc<Strike>) {
        // It may have been taken away before so many bytes had passed.
        if strike.fault.barrier.is_removed() {
            return;
        }
        strike.hit();
        if !strike.fault.when.held {
            self.act(&strike, None);
            return;
        }
        let line = Arc::clone(self);
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = line.orders.closed() => {}
                happens = strike.come() => if happens {
                    line.act(&strike, None);
                },
            }
        });
    }

    /// A fault happens to it now, by a call that came up to the moment. It has happened when this returns, and tells whether
    /// the connection is still there.
    pub(crate) async fn strike_now(&self, strike: Strike) -> bool {
        let (done, happened) = oneshot::channel();
        let fault = Arc::clone(&strike.fault);
        if !self.strike_with(strike, done) {
            return true;
        }
        // A connection that has ended drops it.
        let _ = happened.await;
        if let Effect::Line(LineEffect::Bytes(ByteEffect::Cut { .. })) = fault.effect {
            // Until then the call would go on, and be recorded as answered.
            return tokio::select! {
                biased;
                () = self.orders.closed() => false,
                () = fault.barrier.removed() => true,
            };
        }
        true
    }

    /// Whether a fault that lasts has begun on this connection, and so does not begin again.
    pub(crate) fn has_begun(&self, fault: &Placed) -> bool {
        begun(&self.lock(), fault)
    }

    /// Whether anything is done: not by what has begun already.
    fn strike_with(&self, strike: Strike, done: oneshot::Sender<()>) -> bool {
        let strike = Arc::new(strike);
        {
            let mut struck = self.lock();
            if begun(&struck, &strike.fault) {
                return false;
            }
            struck.push(Arc::clone(&strike));
        }
        match &strike.fault.effect {
            Effect::Line(effect @ LineEffect::Bytes(bytes)) => {
                self.distort(&strike, bytes, 0, false);
                self.settle(&strike, effect);
            }
            _ => self.act(&strike, Some(done)),
        }
        true
    }

    fn act(&self, strike: &Strike, done: Option<oneshot::Sender<()>>) {
        let Effect::Line(effect) = &strike.fault.effect else {
            return;
        };
        let id = strike.fault.id;
        let duty = match effect {
            // It is in the shape of the connection.
            LineEffect::Bytes(_) => return,
            LineEffect::GoAway(go_away) => Duty::GoAway(go_away.clone()),
            LineEffect::Insert(bytes) => {
                self.frames.insert(bytes);
                Duty::Look
            }
            LineEffect::MaxStreams(most) => {
                self.frames.ask(|rewriter| rewriter.set_max_streams(*most));
                Duty::Settings
            }
            LineEffect::Withhold(kind) => {
                self.frames.withhold(id, *kind);
                Duty::Look
            }
        };
        self.order(duty, done);
        self.settle(strike, effect);
    }

    /// It was done. What is over has its hand on the connection no more.
    fn settle(&self, strike: &Strike, effect: &LineEffect) {
        if strike.fault.barrier.is_removed() {
            // Whoever took it away may have been here before.
            self.undo(strike.fault.id);
        } else if effect.is_instant() {
            self.lock().retain(|other| !std::ptr::eq(&**other, strike));
        }
    }

    /// `comes`: whether it comes up to its moment by itself.
    fn distort(&self, strike: &Arc<Strike>, effect: &ByteEffect, after: u64, comes: bool) {
        let ways = match (strike.fault.way, effect) {
            (Some(way), _) => vec![way],
            // A connection is cut once, and a byte is in one place.
            (None, ByteEffect::Cut { .. } | ByteEffect::Flip(_)) => vec![Way::Out],
            (None, _) => vec![Way::In, Way::Out],
        };
        for way in ways {
            let hit: OnHit = match comes {
                true => {
                    let strike = Arc::clone(strike);
                    Box::new(move || {
                        strike.hit();
                        let held = strike.fault.when.held;
                        let hold = async move { strike.hold().await };
                        held.then(|| Box::pin(hold) as _)
                    })
                }
                false => Box::new(|| None),
            };
            let distortion = distortion(strike, effect);
            self.shape.add(strike.fault.id, way, after, distortion, hit);
        }
    }

    /// Undoes what a fault does to it.
    pub(crate) fn undo(&self, fault: u64) {
        let mut undone = Vec::new();
        self.lock().retain(|strike| {
            let stays = strike.fault.id != fault;
            if !stays {
                undone.push(Arc::clone(strike));
            }
            stays
        });
        self.shape.remove(fault);
        self.frames.ask(|rewriter| rewriter.release(fault));
        self.order(Duty::Look, None);
    }

    fn order(&self, duty: Duty, done: Option<oneshot::Sender<()>>) {
        // A connection that has ended takes no orders.
        let _ = self.orders.send(Order { duty, done });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Strike>>> {
        self.struck.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn begun(struck: &[Arc<Strike>], fault: &Placed) -> bool {
    let lasts = matches!(&fault.effect, Effect::Line(effect) if effect.lasts());
    lasts && struck.iter().any(|strike| strike.fault.id == fault.id)
}

fn distortion(strike: &Arc<Strike>, effect: &ByteEffect) -> Distortion {
    match effect {
        ByteEffect::Bandwidth(rate) => Distortion::Bandwidth(*rate),
        ByteEffect::Cut { reset } => Distortion::Cut { reset: *reset },
        ByteEffect::Flip(bytes) => Distortion::Flip { bytes: *bytes },
        ByteEffect::Latency(delay) => {
            let (strike, delay) = (Arc::clone(strike), delay.clone());
            Distortion::Latency(Box::new(move || strike.draw(&delay)))
        }
        ByteEffect::Slices { size, between } => Distortion::Slices {
            size: *size,
            between: *between,
        },
        ByteEffect::Stall => Distortion::Stall,
    }
}
