//! One call, from its headers to its outcome.

use crate::mock::auth::Auth;
use crate::mock::backend::{Backend, Passing};
use crate::mock::breaking::Breaking;
use crate::mock::builtin::Builtin;
use crate::mock::dice::Seed;
use crate::mock::explain::explain;
use crate::mock::fault::{Faults, Plan};
use crate::mock::foreign::{check, foreign, not_understood};
use crate::mock::intake::{Intake, Refused, TakenIn, Took, fault_panicked};
use crate::mock::journal::{Arrived, Call, Connection, Log, Outcome, Target};
use crate::mock::line::Line;
use crate::mock::outlet::{Outlet, pipe};
use crate::mock::reading::{outcome_of, refusal};
use crate::mock::registry::Registry;
use crate::mock::respond::{Responding, brief};
use crate::mock::tls::Tls;
use crate::mock::verify::Findings;
use crate::panics::caught;
use crate::schema::{Schema, infrastructure};
use crate::wire::{Compression, ReadError, Reader, timeout};
use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{Request, request::Parts};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicUsize},
};
use tokio::time::Instant;
use tonic::{Code, Status};

/// Everything that answers calls, whatever connection they come on.
pub(crate) struct Service {
    pub(crate) schema: Option<Schema>,
    pub(crate) log: Arc<Log>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) findings: Findings,
    pub(crate) faults: Faults,
    pub(crate) builtin: Builtin,
    pub(crate) backends: Backends,
    /// How many streams have a task.
    pub(crate) serving: AtomicUsize,
    /// `None` for plaintext.
    pub(crate) tls: Option<Tls>,
    /// `None` for everybody.
    pub(crate) auth: Option<Auth>,
    pub(crate) message_limit: usize,
    /// What a call gets whose method is known, and that no stub accepts.
    pub(crate) unmatched: Code,
    /// What replies are compressed with that say nothing of it.
    pub(crate) compression: Option<Compression>,
    /// Of everything that is random.
    pub(crate) seed: Seed,
}

/// What stands behind the stubs.
pub(crate) struct Backends {
    /// By the full name of the service.
    services: Mutex<HashMap<String, Arc<Backend>>>,
    /// For all others.
    rest: Option<Arc<Backend>>,
}

impl Backends {
    pub(crate) fn new(rest: Option<Arc<Backend>>) -> Self {
        let services = Mutex::default();
        Self { services, rest }
    }

    pub(crate) fn add(&self, service: &str, backend: Backend) {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.insert(service.to_owned(), Arc::new(backend));
    }

    pub(crate) fn clear(&self) {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.clear();
    }

    fn find(&self, path: &str) -> Option<Arc<Backend>> {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if services.is_empty() && self.rest.is_none() {
            return None;
        }
        let (service, _) = path.strip_prefix('/')?.rsplit_once('/')?;
        services.get(service).or(self.rest.as_ref()).cloned()
    }
}

/// Ends the record of a call whose task is dropped, when its server is.
struct InFlight(Call);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.finish(Outcome::Dropped);
    }
}

/// A stream whose headers have been looked at.
struct Opened {
    path: String,
    reader: Reader,
    respond: SendResponse<Bytes>,
    arrived: Arrived,
    line: Arc<Line>,
    /// The refusal of its compression.
    refused: Option<Box<Status>>,
}

impl Service {
    /// Serves one stream.
    pub(crate) async fn serve(
        &self,
        connection: Arc<Connection>,
        line: Arc<Line>,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
    ) {
        let (parts, stream) = request.into_parts();
        if let Err(response) = check(&parts) {
            self.log
                .add_foreign(foreign(&parts, &connection, response.status()));
            // It fails when the client has gone, which is as good.
            let _ = respond.send_response(response, true);
            return;
        }
        let path = parts.uri.path().to_owned();
        let builtin = self.builtin.find(&path);
        let backend = self.backends.find(&path);
        // What stands behind the stubs needs the headers once more.
        let forwarded = (builtin.is_some() || backend.is_some()).then(|| {
            let mut parts = Box::new(parts.clone());
            connection.shared.redaction.mark(&mut parts.headers);
            parts
        });
        let encoding = Compression::declared(&parts.headers);
        let opened = Opened {
            path,
            refused: encoding.as_ref().err().map(not_understood).map(Box::new),
            reader: Reader::new(stream, self.message_limit)
                .with_encoding(encoding.unwrap_or_default()),
            respond,
            line,
            arrived: Arrived {
                timeout: timeout::read(&parts.headers),
                metadata: connection
                    .headers
                    .of(parts.headers, &connection.shared.redaction),
                connection,
                at: Instant::now(),
                builtin: builtin.is_some(),
            },
        };
        match (builtin, forwarded) {
            (Some(builtin), Some(parts)) => {
                // Boxed as all that is rare: every call pays for the size of its future.
                Box::pin(self.serve_builtin(builtin, *parts, opened)).await;
            }
            (_, forwarded) => self.serve_stubbed(opened, backend.zip(forwarded)).await,
        }
    }

    async fn serve_builtin(&self, backend: &Backend, parts: Parts, opened: Opened) {
        let Opened {
            path,
            mut reader,
            respond,
            arrived,
            line,
            ..
        } = opened;
        let call = self.log.call(builtin_target(&path), arrived);
        self.log.add(call.clone());
        let _in_flight = InFlight(call.clone());
        let admitted = self.auth.as_ref().map_or(Ok(()), |auth| auth.admit(&call));
        let planned = match admitted {
            Ok(()) => self.plan_builtin(&call, &mut reader).await,
            Err(status) => Err(Refused::With(Box::new(status))),
        };
        let plan = match planned {
            Ok(plan) => plan,
            Err(refused) => {
                let mut responding = self.responding(call, Outlet::Http2(respond), reader);
                return self.answer(Err(refused), &mut responding).await;
            }
        };
        let passing = Passing {
            call,
            parts,
            reader,
        };
        self.pass(backend, passing, respond, plan, &line).await;
    }

    /// What happens to a call of the mock's own services. Its first message is read if that decides.
    async fn plan_builtin(
        &self,
        call: &Call,
        reader: &mut Reader,
    ) -> Result<Option<Box<Plan>>, Refused> {
        if caught(|| self.faults.need_messages(call)).map_err(fault_panicked)? {
            reader.keep();
            let first = reader.next().await.map_err(Refused::Broken)?;
            if let Some(first) = first {
                call.record_request(first, reader.was_compressed());
            }
        }
        let planned = caught(|| self.faults.plan(call));
        planned.map_err(fault_panicked)
    }

    /// By a stub, or else by the service behind it, which gets these headers.
    async fn serve_stubbed(&self, opened: Opened, behind: Option<(Arc<Backend>, Box<Parts>)>) {
        let Opened {
            path,
            mut reader,
            respond,
            arrived,
            line,
            refused,
        } = opened;
        let intake = Intake {
            schema: self.schema.as_ref(),
            registry: &self.registry,
            log: &self.log,
            auth: self.auth.as_ref(),
            faults: &self.faults,
            forwards: behind.is_some(),
        };
        let TakenIn { call, took, plan } = intake.take(&path, arrived, refused, &mut reader).await;
        let _in_flight = InFlight(call.clone());
        match (took, plan, behind) {
            (Err(Refused::Unmatched { .. }), plan, Some((backend, parts))) => {
                let passing = Passing {
                    call,
                    parts: *parts,
                    reader,
                };
                Box::pin(self.pass(&backend, passing, respond, plan, &line)).await;
            }
            (took, Some(plan), behind) => {
                let breaking = Breaking::new(call.clone(), plan, &line, respond);
                let taken_in = (call, took, reader);
                Box::pin(self.break_answer(breaking, taken_in, &intake, behind)).await;
            }
            (took, None, _) => {
                let mut responding = self.responding(call, Outlet::Http2(respond), reader);
                self.answer(took, &mut responding).await;
            }
        }
    }

    /// Answers a call that something happens to.
    async fn break_answer(
        &self,
        mut breaking: Breaking,
        (call, mut took, mut reader): (Call, Took, Reader),
        intake: &Intake<'_>,
        behind: Option<(Arc<Backend>, Box<Parts>)>,
    ) {
        if !breaking.begin().await {
            drop(breaking);
            // A message that is on its way is recorded all the same.
            if let Err(Refused::Faulted { open: true }) = took
                && let Ok(Some(message)) = reader.next().await
            {
                call.record_request(message, reader.was_compressed());
            }
            return;
        }
        // The fault that was to answer was taken away meanwhile.
        if let Err(Refused::Faulted { open }) = took {
            took = intake.take_after_all(&call, open, &mut reader).await;
            if let (Err(Refused::Unmatched { .. }), Some((backend, parts))) = (&took, behind) {
                let passing = Passing {
                    call,
                    parts: *parts,
                    reader,
                };
                return breaking.send(backend.answer(passing)).await;
            }
        }
        let (pipe, answer) = pipe();
        let mut responding = self.responding(call, Outlet::Piped(pipe), reader);
        tokio::join!(self.answer(took, &mut responding), breaking.send(answer));
    }

    /// Lets a service answer.
    async fn pass(
        &self,
        backend: &Backend,
        passing: Passing,
        respond: SendResponse<Bytes>,
        plan: Option<Box<Plan>>,
        line: &Arc<Line>,
    ) {
        let Some(plan) = plan else {
            return backend.serve(passing, respond).await;
        };
        let mut breaking = Breaking::new(passing.call.clone(), plan, line, respond);
        if breaking.begin().await {
            breaking.send(backend.answer(passing)).await;
        }
    }

    fn responding(&self, call: Call, outlet: Outlet, reader: Reader) -> Responding<'_> {
        Responding {
            call,
            findings: &self.findings,
            compression: self.compression,
            outlet,
            reader,
            open: false,
        }
    }

    async fn answer(&self, took: Took, responding: &mut Responding<'_>) {
        match took {
            Ok((taken, open)) => {
                responding.open = open;
                responding.serve(&taken, &self.seed).await;
            }
            Err(Refused::Unmatched { open }) => {
                responding.open = open;
                let status = self.unmatched(&responding.call);
                responding.refuse_with(&status).await;
            }
            Err(Refused::With(status)) => responding.refuse_with(&status).await,
            // It has answered, or another refusal took its place.
            Err(Refused::Faulted { .. }) => {}
            Err(Refused::Panicked(panic)) => {
                self.findings
                    .add_panic(format!("{panic}, asked about {}", responding.call));
                let status = Status::internal(brief(panic));
                responding.refuse_with(&status).await;
            }
            Err(Refused::Broken(error)) => {
                if let ReadError::Stream(_) = &error {
                    responding.call.finish(outcome_of(&responding.call, &error));
                }
                responding.refuse_with(&refusal(&error)).await;
            }
        }
    }

    /// What a call gets that no stub is for: `UNIMPLEMENTED` when nothing knows its method, and a status of its own when
    /// the method is known, so that no client mistakes a mistake in the test for an old server.
    fn unmatched(&self, call: &Call) -> Status {
        let naming = self.registry.naming(call);
        if naming.iter().any(|stub| stub.is_secret()) {
            call.hide();
        }
        let explanation = explain(&self.registry, call);
        let text = brief(explanation.short);
        tracing::warn!(%call, "unmatched call: {text}");
        let known = explanation.named || call.schema_method().is_some();
        let code = if known {
            self.unmatched
        } else {
            Code::Unimplemented
        };
        // Once it has its answer the client may ask for the verdict.
        self.findings.add_unmatched(call, &explanation.long);
        Status::new(code, text)
    }
}

fn builtin_target(path: &str) -> Target {
    infrastructure().method_at(path).map_or_else(
        || Target::Opaque(path.to_owned()),
        |method| Target::Typed(Arc::clone(method)),
    )
}
