//! Which method is called, and which stub takes the call: as much of the request is read as that needs.

use crate::mock::auth::Auth;
use crate::mock::fault::{Faults, Plan};
use crate::mock::journal::{Arrived, Call, Log, Target};
use crate::mock::mounted::Taken;
use crate::mock::registry::{Before, Registry};
use crate::panics::caught;
use crate::proto::rpcplugin::v1::CallRequest;
use crate::schema::{Schema, Shape, schemaless};
use crate::wire::{ReadError, Reader};
use bytes::Bytes;
use prost::Message as _;
use std::sync::Arc;
use tonic::Status;

/// Where calls are taken in.
pub(crate) struct Intake<'a> {
    pub(crate) schema: Option<&'a Schema>,
    pub(crate) registry: &'a Registry,
    pub(crate) log: &'a Log,
    pub(crate) auth: Option<&'a Auth>,
    pub(crate) faults: &'a Faults,
    /// Whether a call that no stub takes goes on to a service, which judges its messages itself.
    pub(crate) forwards: bool,
}

/// Why no stub serves a call.
pub(crate) enum Refused {
    /// The request could not be read.
    Broken(ReadError),
    /// A fault answers it, before any stub is asked.
    Faulted { open: bool },
    /// A condition panicked.
    Panicked(String),
    /// No stub is for it. More messages may come, if it is `open`.
    Unmatched { open: bool },
    /// The call is answered with this.
    With(Box<Status>),
}

/// The stub that took the call, and whether more messages may come.
pub(crate) type Took = Result<(Taken, bool), Refused>;

/// A call that was taken in.
pub(crate) struct TakenIn {
    pub(crate) call: Call,
    pub(crate) took: Took,
    /// What happens to its answer.
    pub(crate) plan: Option<Box<Plan>>,
}

/// What happens to the answer to a call, once that was decided.
#[derive(Default)]
struct Planned {
    made: bool,
    /// Whether the call is in the journal.
    added: bool,
    plan: Option<Box<Plan>>,
}

impl Intake<'_> {
    /// Reads, records, and chooses. A call that is `refused` already is recorded and no more.
    pub(crate) async fn take(
        &self,
        path: &str,
        arrived: Arrived,
        refused: Option<Box<Status>>,
        reader: &mut Reader,
    ) -> TakenIn {
        let mut arriving = self.log.begin();
        // What comes before it is known who reads it is read once more then.
        reader.keep();
        let (call, first) = self.identify(path, arrived, reader).await;
        arriving.is(&call);
        // Who may not call learns nothing else of the call, not even that it was broken.
        let refused = match self.auth.map(|auth| auth.admit(&call)) {
            Some(Err(status)) => Some(Box::new(status)),
            _ => refused,
        };
        let first = refused.map_or(first, |status| Err(Refused::With(status)));
        let mut planned = Planned::default();
        let took = match first {
            Ok(first) => self.choose(&call, first, reader, &mut planned).await,
            Err(refused) => {
                self.log.add(call.clone());
                Err(refused)
            }
        };
        TakenIn {
            call,
            took,
            plan: planned.plan,
        }
    }

    /// Which method is called. A schemaless call tells it in its first message, which is read here then.
    async fn identify(
        &self,
        path: &str,
        arrived: Arrived,
        reader: &mut Reader,
    ) -> (Call, Result<Option<Bytes>, Refused>) {
        let opaque = || Target::Opaque(path.to_owned());
        if let Some(method) = self.schema.and_then(|schema| schema.method_at(path)) {
            let target = Target::Typed(Arc::clone(method));
            return (self.log.call(target, arrived), Ok(None));
        }
        let Some(shape) = schemaless::shape(path).filter(|_| self.schema.is_none()) else {
            return (self.log.call(opaque(), arrived), Ok(None));
        };
        let first = match reader.next().await {
            Ok(Some(first)) => first,
            Ok(None) => {
                let refused = Status::internal(format!("no request message in a {shape} call"));
                return (
                    self.log.call(opaque(), arrived),
                    Err(Refused::With(Box::new(refused))),
                );
            }
            Err(error) => {
                return (
                    self.log.call(opaque(), arrived),
                    Err(Refused::Broken(error)),
                );
            }
        };
        match CallRequest::decode(first.clone()) {
            Ok(request) => {
                let method = request.method;
                let call = self.log.call(Target::Schemaless { method, shape }, arrived);
                // A stream may be opened by a message that only names the method.
                let opening = shape.streams_requests() && request.args.is_none();
                if opening {
                    reader.mark_opening();
                }
                (call, Ok(Some(first).filter(|_| !opening)))
            }
            Err(error) => {
                let call = self.log.call(opaque(), arrived);
                call.record_request(first, reader.was_compressed());
                let text = format!("the request is not a valid rpcplugin.v1.CallRequest: {error}");
                (call, Err(Refused::With(Box::new(Status::internal(text)))))
            }
        }
    }

    async fn choose(
        &self,
        call: &Call,
        first: Option<Bytes>,
        reader: &mut Reader,
        planned: &mut Planned,
    ) -> Took {
        if let Some(first) = first {
            call.record_request(first, reader.was_compressed());
        }
        let single = matches!(call.shape(), Some(Shape::Unary | Shape::ServerStreaming));
        let streams = call.shape().is_some_and(Shape::streams_requests);
        if (!single || self.forwards)
            && let Some(took) = self.choose_by_headers(call, single, planned).transpose()
        {
            self.add(call, planned);
            return took;
        }
        if streams {
            self.add(call, planned);
            return self.take_stream(call, reader, planned).await;
        }
        self.take_single(call, reader, planned).await
    }

    /// What is known before a message comes: the client may wait for the response before it sends one. `None`, when that is not
    /// enough.
    fn choose_by_headers(
        &self,
        call: &Call,
        single: bool,
        planned: &mut Planned,
    ) -> Result<Option<(Taken, bool)>, Refused> {
        if caught(|| self.faults.need_messages(call)).map_err(fault_panicked)? {
            return Ok(None);
        }
        self.choose_early(call, single, planned)
    }

    /// What is known before all messages have come.
    fn choose_early(
        &self,
        call: &Call,
        single: bool,
        planned: &mut Planned,
    ) -> Result<Option<(Taken, bool)>, Refused> {
        match self.plan(call, true, planned) {
            // There is one message, which is recorded first.
            Err(Refused::Faulted { .. }) if single => return Ok(None),
            planned => planned?,
        }
        let known = caught(|| self.registry.before_messages(call, !single));
        match known.map_err(condition_panicked)? {
            Before::Unmatched => Err(Refused::Unmatched { open: true }),
            Before::Taken(taken) => Ok(Some((taken, true))),
            Before::Undecided => Ok(None),
        }
    }

    /// The request of a call whose client streams: all of it, or the first message when the server streams too.
    async fn take_stream(&self, call: &Call, reader: &mut Reader, planned: &mut Planned) -> Took {
        let first_will_do = call.shape() == Some(Shape::BidiStreaming);
        loop {
            if first_will_do && call.has_request() {
                let taken = self.select(call, true, planned)?;
                return Ok((taken, true));
            }
            match reader.next().await.map_err(Refused::Broken)? {
                Some(message) => self.record(call, message, reader)?,
                None => return Ok((self.select(call, false, planned)?, false)),
            }
        }
    }

    /// The request of a call with one message, or of a method that is not known and may have any number.
    async fn take_single(&self, call: &Call, reader: &mut Reader, planned: &mut Planned) -> Took {
        if call.has_request() {
            self.add(call, planned);
        }
        loop {
            match reader.next().await {
                Ok(Some(message)) if call.has_request() && call.shape().is_some() => {
                    call.record_request(message, reader.was_compressed());
                    let shape = shape_name(call);
                    let text = format!("more than one request message in a {shape} call");
                    return Err(Refused::With(Box::new(Status::internal(text))));
                }
                Ok(Some(message)) => {
                    let recorded = self.record(call, message, reader);
                    self.add(call, planned);
                    recorded?;
                    // Nobody knows its shape, and the client may wait for a response to its first message.
                    let unknown = self.forwards && call.shape().is_none();
                    if unknown
                        && !planned.made
                        && let Some(taken) = self.choose_early(call, false, planned)?
                    {
                        return Ok(taken);
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    self.add(call, planned);
                    return Err(Refused::Broken(error));
                }
            }
        }
        self.add(call, planned);
        if !call.has_request() && call.shape().is_some() && !self.forwards {
            let text = format!("no request message in a {} call", shape_name(call));
            return Err(Refused::With(Box::new(Status::internal(text))));
        }
        Ok((self.select(call, false, planned)?, false))
    }

    /// Records a message. One that is none of the method's type is refused, as a real server refuses it.
    fn record(&self, call: &Call, message: Bytes, reader: &Reader) -> Result<(), Refused> {
        let checked = if self.forwards {
            Ok(())
        } else {
            call.check_request(&message)
        };
        call.record_request(message, reader.was_compressed());
        checked.map_err(|error| Refused::With(Box::new(Status::internal(error.chain()))))
    }

    fn select(&self, call: &Call, open: bool, planned: &mut Planned) -> Result<Taken, Refused> {
        self.plan(call, open, planned)?;
        self.take_now(call, open)
    }

    /// Plans what happens to the answer, once. `Err`, when that is the answer.
    fn plan(&self, call: &Call, open: bool, planned: &mut Planned) -> Result<(), Refused> {
        if !std::mem::replace(&mut planned.made, true) {
            planned.plan = caught(|| self.faults.plan(call)).map_err(fault_panicked)?;
        }
        match &planned.plan {
            Some(plan) if plan.answers() => Err(Refused::Faulted { open }),
            _ => Ok(()),
        }
    }

    fn add(&self, call: &Call, planned: &mut Planned) {
        if !std::mem::replace(&mut planned.added, true) {
            self.log.add(call.clone());
        }
    }

    /// What takes a call after all that a fault was to answer. Its messages may be still to come, if it is `open`.
    pub(crate) async fn take_after_all(
        &self,
        call: &Call,
        open: bool,
        reader: &mut Reader,
    ) -> Took {
        if !open {
            return self.take_now(call, false).map(|taken| (taken, false));
        }
        let mut planned = Planned {
            made: true,
            added: true,
            plan: None,
        };
        self.choose(call, None, reader, &mut planned).await
    }

    /// The stub that takes a call whose messages are known.
    fn take_now(&self, call: &Call, open: bool) -> Result<Taken, Refused> {
        let taken = caught(|| self.registry.take(call)).map_err(condition_panicked)?;
        taken.ok_or(Refused::Unmatched { open })
    }
}

fn condition_panicked(text: impl std::fmt::Display) -> Refused {
    Refused::Panicked(format!("a stub's condition panicked: {text}"))
}

pub(crate) fn fault_panicked(text: impl std::fmt::Display) -> Refused {
    Refused::Panicked(format!("a fault's condition panicked: {text}"))
}

fn shape_name(call: &Call) -> String {
    let shape = call.shape().map(|shape| shape.to_string());
    shape.unwrap_or_default()
}
