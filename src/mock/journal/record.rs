//! What is known of a call, and writing it down.

use crate::error::{Error, Kind};
use crate::mock::journal::block::Blocks;
use crate::mock::journal::call::Call;
use crate::mock::journal::messages::{Messages, Stored};
use crate::mock::journal::outcome::Outcome;
use crate::mock::journal::store::Log;
use crate::mock::journal::target::{Arrived, Server, Target};
use crate::schema::{Method, json};
use crate::wire::message::Framed;
use crate::wire::status::trailing;
use bytes::Bytes;
use h2::Reason;
use serde_json::Value;
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use tonic::{Status, metadata::MetadataMap};

pub(super) struct Record {
    pub(super) target: Target,
    pub(super) arrived: Arrived,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) requests: Messages,
    pub(super) replies: Messages,
    /// The JSON of a single request, which many stubs may ask for while the call runs.
    pub(super) decoded: Option<Arc<Value>>,
    pub(super) server: Option<Arc<Server>>,
    /// The response's metadata, when it has any.
    pub(super) metadata: Option<Box<MetadataMap>>,
    pub(super) ended: Option<(Instant, Outcome)>,
    /// The status that was sent, when it is more than a code.
    pub(super) status: Option<Box<Status>>,
    /// What few calls have.
    rare: Option<Box<Rare>>,
    /// Whether a secret stub was meant, though it does not serve the call.
    secret: bool,
    /// Counted in the journal's size.
    size: usize,
    place: Place,
}

#[derive(Debug, Default)]
struct Rare {
    /// The faults that happened to it.
    faults: Vec<String>,
    /// How it is to end, when a fault may yet end it otherwise.
    deferred: Option<Deferred>,
}

/// What was told first.
type Deferred = Option<(Outcome, Option<Box<Status>>)>;

impl Record {
    /// Lets go of all that takes memory of its own and is the call's alone: nobody can ask for it any more.
    pub(super) fn forget(&self) {
        let progress = self.progress.lock();
        *progress.unwrap_or_else(PoisonError::into_inner) = Progress::default();
    }
}

/// Where a record is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Journal,
    /// In the hands that hold it: the journal was reset.
    Detached,
    /// Nowhere: there is no room for it.
    Dropped,
}

/// About what a record takes beside its messages and metadata.
const RECORD: usize = 384;
/// About what a header and a stored message take beside their bytes.
const ENTRY: usize = 80;

impl Progress {
    /// The faults that happened to the call.
    pub(super) fn faults(&self) -> &[String] {
        self.rare.as_ref().map_or(&[], |rare| &rare.faults)
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Whether messages are kept: a call without room in the journal has none left once it is known what serves it.
    fn keeps(&self) -> bool {
        self.place != Place::Dropped || (self.server.is_none() && self.ended.is_none())
    }

    /// What is told first stays.
    fn end(&mut self, outcome: Outcome, status: impl FnOnce() -> Option<Box<Status>>) {
        if self.ended.is_none() {
            self.ended = Some((Instant::now(), outcome));
            self.status = status();
            self.decoded = None;
        }
    }

    fn grow(&mut self, bytes: usize) -> usize {
        let counted = if self.place == Place::Journal {
            bytes
        } else {
            0
        };
        self.size += counted;
        counted
    }
}

/// Recording.
impl Call {
    pub(super) fn new(target: Target, arrived: Arrived, blocks: &Blocks) -> Self {
        let headers = match Arc::strong_count(&arrived.metadata) {
            // The connection keeps the last ones.
            1 | 2 => arrived.metadata.len() * ENTRY,
            _ => 0,
        };
        let size = RECORD + headers;
        let shared = Arc::clone(&arrived.connection.shared);
        let call = Self(blocks.keep(Record {
            target,
            arrived,
            progress: Mutex::new(Progress {
                size,
                ..Progress::default()
            }),
        }));
        shared.grow(size);
        call
    }

    pub(crate) fn target(&self) -> &Target {
        &self.0.target
    }

    /// Its method in the schema.
    pub(crate) fn schema_method(&self) -> Option<&Arc<Method>> {
        match &self.0.target {
            Target::Typed(method) => Some(method),
            Target::Opaque(_) | Target::Schemaless { .. } => None,
        }
    }

    /// Whether the values of this metadata are secrets.
    pub(crate) fn hides(&self, key: &str) -> bool {
        self.0.arrived.connection.shared.redaction.hides(key)
    }

    pub(crate) fn has_request(&self) -> bool {
        !self.progress().requests.as_slice().is_empty()
    }

    pub(crate) fn is_builtin(&self) -> bool {
        self.0.arrived.builtin
    }

    /// Of a message that was read.
    pub(crate) fn record_request(&self, bytes: Bytes, compressed: bool) {
        let bytes = self.0.arrived.connection.shared.pages.keep(bytes);
        self.keep(bytes, compressed, |progress| &mut progress.requests);
    }

    /// Of one that was read from somebody else.
    pub(crate) fn record_relayed(&self, bytes: Bytes, compressed: bool) {
        let bytes = self.0.arrived.connection.shared.pages.keep(bytes);
        self.record_reply(bytes, compressed);
    }

    /// Of one that was made here: its memory holds nothing else.
    pub(crate) fn record_reply(&self, bytes: Bytes, compressed: bool) {
        self.keep(bytes, compressed, |progress| &mut progress.replies);
    }

    fn keep(
        &self,
        bytes: Bytes,
        compressed: bool,
        list: impl FnOnce(&mut Progress) -> &mut Messages,
    ) {
        let mut progress = self.progress();
        let mut counted = 0;
        if progress.keeps() {
            counted = progress.grow(bytes.len() + ENTRY);
            list(&mut progress).push(Stored::now(bytes, compressed));
        }
        drop(progress);
        self.0.arrived.connection.shared.grow(counted);
        self.tell();
    }

    pub(crate) fn record_server(&self, server: Arc<Server>) {
        self.progress().server = Some(server);
        self.tell();
    }

    pub(crate) fn record_fault(&self, fault: &str) {
        self.progress().rare().faults.push(fault.to_owned());
        self.tell();
    }

    /// Whether its messages are neither printed nor saved.
    pub(crate) fn is_secret(&self) -> bool {
        let progress = self.progress();
        progress.secret || progress.server.as_ref().is_some_and(|server| server.secret)
    }

    /// Keeps its messages from being printed and saved.
    pub(crate) fn hide(&self) {
        self.progress().secret = true;
    }

    /// The number of what serves it.
    pub(crate) fn server_id(&self) -> Option<u64> {
        self.progress().server.as_ref().map(|server| server.id)
    }

    pub(crate) fn record_metadata(&self, metadata: &MetadataMap) {
        if !metadata.is_empty() {
            let mut metadata = Box::new(metadata.clone());
            self.0
                .arrived
                .connection
                .shared
                .redaction
                .mark(metadata.as_mut().as_mut());
            self.progress().metadata = Some(metadata);
            self.tell();
        }
    }

    /// Ends the record. What is told first stays.
    pub(crate) fn finish(&self, outcome: Outcome) {
        self.end(outcome, || None);
    }

    /// Ends the record with the status that is sent, and the trailers that it does not have itself.
    pub(crate) fn finish_with(&self, status: &Status, trailers: &MetadataMap) {
        let plain = status.message().is_empty()
            && status.details().is_empty()
            && status.metadata().is_empty()
            && trailers.is_empty();
        self.end(status.code().into(), || {
            (!plain).then(|| {
                let mut status = status.clone();
                let mut all = trailing(&status, trailers.clone());
                self.0.arrived.connection.shared.redaction.mark(&mut all);
                *status.metadata_mut() = MetadataMap::from_headers(all);
                Box::new(status)
            })
        });
    }

    fn end(&self, outcome: Outcome, status: impl FnOnce() -> Option<Box<Status>>) {
        let mut progress = self.progress();
        if progress.ended.is_some() {
            return;
        }
        let rare = progress.rare.as_mut();
        if let Some(deferred) = rare.and_then(|rare| rare.deferred.as_mut()) {
            deferred.get_or_insert_with(|| (outcome, status()));
            return;
        }
        progress.end(outcome, status);
        drop(progress);
        self.tell();
    }

    /// How it ends is told from now on, and recorded when it is [settled](Self::settle).
    pub(crate) fn defer_end(&self) {
        self.progress().rare().deferred.get_or_insert_default();
    }

    /// Records what was told since it was deferred.
    pub(crate) fn settle(&self) {
        let mut progress = self.progress();
        let deferred = progress.rare.as_mut().and_then(|rare| rare.deferred.take());
        if let Some((outcome, status)) = deferred.flatten() {
            progress.end(outcome, || status);
            drop(progress);
            self.tell();
        }
    }

    /// It ends otherwise than was told.
    pub(crate) fn unsettle(&self) {
        if let Some(rare) = &mut self.progress().rare {
            rare.deferred = None;
        }
    }

    /// The journal has no room for it: how many bytes are free by that. It records messages no longer, once it is known
    /// what serves it.
    pub(super) fn drop_from_journal(&self) -> usize {
        self.leave(Place::Dropped)
    }

    /// The journal is reset: how many bytes are free by that. It goes on recording for those who hold it.
    pub(super) fn detach(&self) -> usize {
        self.leave(Place::Detached)
    }

    fn leave(&self, place: Place) -> usize {
        let mut progress = self.progress();
        progress.place = place;
        std::mem::take(&mut progress.size)
    }

    /// Whether it came to the server of this journal.
    pub(super) fn is_in(&self, log: &Log) -> bool {
        Arc::ptr_eq(&self.0.arrived.connection.shared, &log.shared)
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.0.is_same(&other.0)
    }

    /// What a reset by the client at this moment means.
    pub(crate) fn reset_now(&self, reason: Reason) -> Outcome {
        match reason {
            Reason::CANCEL => self.cancelled_now(),
            reason => Outcome::Reset(reason),
        }
    }

    fn cancelled_now(&self) -> Outcome {
        let Some(timeout) = self.timeout() else {
            return Outcome::Cancelled;
        };
        let slack = (timeout / 10).max(Duration::from_millis(20));
        if self.received_at().elapsed() + slack >= timeout {
            Outcome::DeadlineExceeded
        } else {
            Outcome::Cancelled
        }
    }

    /// A request message of this call as JSON.
    pub(crate) fn request_json(&self, bytes: &[u8]) -> Value {
        self.0.target.request().json(bytes).unwrap_or_default()
    }

    /// Whether the bytes are a request message of this call, as far as the schema tells.
    pub(crate) fn check_request(&self, bytes: &Bytes) -> Result<(), Error> {
        self.0.target.request().check(bytes)
    }

    /// JSON as a reply to this call.
    pub(crate) fn encode_reply(&self, reply: &Value) -> Result<Framed, Error> {
        match &self.0.target {
            Target::Typed(method) => Ok(Framed::encode(&json::to_message(method.output(), reply)?)),
            Target::Schemaless { .. } => json::to_struct(reply)
                .map(|fields| Framed::encode(&fields))
                .map_err(|problem| {
                    Error::new(
                        Kind::Message,
                        format!("the reply to a schemaless call is {problem}"),
                    )
                }),
            Target::Opaque(path) => Err(Error::new(
                Kind::Message,
                format!(
                    "the reply to {path} is JSON, and the mock has no schema for that method: give \
                     `MockServer::builder()` its `.descriptor_set(..)`, or reply with `Reply::message(..)`"
                ),
            )),
        }
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.0
            .progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.0.arrived.connection.shared.news.notify_waiters();
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}
