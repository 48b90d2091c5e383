//! Faults of the RPC layer: what goes out for each, to whatever serves the call, and what a stock client makes of it.

use crate::ask::{Answer, ask, h2};
use crate::faults_target::Target;
use crate::probe::{Wire, framed};
use crate::support::within;
use ::h2::client::SendRequest;
use bytes::Bytes;
use http::HeaderMap;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::mock::InjectedFault;
use rpcplugin_testkit::{Call, Code, Fault, MockServer, Outcome, Status};
use std::time::Duration;

const PAGE: &[u8] = b"<html><body><h1>503 Service Unavailable</h1></body></html>\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Late,
    Held,
    Status,
    NoMessage,
    TwoMessages,
    MissingStatus,
    MalformedStatus,
    StatusInHeaders,
    ContentType,
    HttpStatus,
    BadCompression,
    Garbage,
    Truncated,
    OversizedMessage,
    OversizedMetadata,
}

/// What is seen of an answer.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    http: u16,
    content_type: String,
    encoding: Option<String>,
    /// The length of `x-oversized`.
    oversized: Option<usize>,
    data: Vec<u8>,
    /// The code and the message, wherever they are; `None` for one that does not end.
    status: Option<(String, String)>,
    ends_with: EndsWith,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndsWith {
    /// A frame of the headers, be it the first.
    Headers,
    /// Nothing but the end of the stream, and the headers had the status.
    StatusInHeaders,
    /// Nothing but the end of the stream.
    Nothing,
    /// It does not.
    Open,
}

impl Broken {
    const ALL: [Self; 15] = [
        Self::Late,
        Self::Held,
        Self::Status,
        Self::NoMessage,
        Self::TwoMessages,
        Self::MissingStatus,
        Self::MalformedStatus,
        Self::StatusInHeaders,
        Self::ContentType,
        Self::HttpStatus,
        Self::BadCompression,
        Self::Garbage,
        Self::Truncated,
        Self::OversizedMessage,
        Self::OversizedMetadata,
    ];

    fn fault(self) -> Fault {
        match self {
            Self::Late => Fault::delay(Duration::from_millis(1)),
            Self::Held => Fault::hold(),
            Self::Status => Fault::status(Status::data_loss("lost")),
            Self::NoMessage => Fault::no_message(),
            Self::TwoMessages => Fault::two_messages(),
            Self::MissingStatus => Fault::missing_status(),
            Self::MalformedStatus => Fault::malformed_status("fine"),
            Self::StatusInHeaders => Fault::status_in_headers(),
            Self::ContentType => Fault::content_type("text/html"),
            Self::HttpStatus => Fault::http_status(503),
            Self::BadCompression => Fault::bad_compression(),
            Self::Garbage => Fault::garbage_message(),
            Self::Truncated => Fault::truncated_message(),
            Self::OversizedMessage => Fault::oversized_message(100),
            Self::OversizedMetadata => Fault::oversized_metadata(20_000),
        }
    }

    fn is_of_messages(self) -> bool {
        matches!(
            self,
            Self::NoMessage
                | Self::TwoMessages
                | Self::BadCompression
                | Self::Garbage
                | Self::Truncated
                | Self::OversizedMessage
        )
    }

    /// Whether it happens at all.
    fn strikes(self, target: Target) -> bool {
        match self {
            Self::MissingStatus | Self::MalformedStatus => target.end().is_some(),
            _ => !self.is_of_messages() || !target.replies().is_empty(),
        }
    }

    /// What becomes of a message with its prefix.
    fn message(self, whole: &[u8]) -> Vec<u8> {
        let (length, payload) = (whole.len() - 5, &whole[5..]);
        match self {
            Self::NoMessage => Vec::new(),
            Self::TwoMessages => [whole, whole].concat(),
            Self::BadCompression => [&[1], &whole[1..5], &vec![0xFF; length]].concat(),
            Self::Garbage => framed(&vec![0xFF; length]),
            Self::Truncated => [&whole[..5], &payload[..length / 2]].concat(),
            // Field 2047 of type bytes; the length of its value in five bytes.
            Self::OversizedMessage => {
                let value = [0xFA, 0x7F, 93 | 0x80, 0x80, 0x80, 0x80, 0];
                framed(&[&value[..], &[0; 93]].concat())
            }
            _ => whole.to_vec(),
        }
    }

    fn expected(self, target: Target) -> Seen {
        let status = |(code, text): (&str, &str)| (code.to_owned(), text.to_owned());
        let mut data: Vec<_> = target.replies().iter().map(|one| framed(one)).collect();
        if let Some(first) = data.first_mut() {
            *first = self.message(first);
        }
        let mut seen = Seen {
            http: 200,
            content_type: "application/grpc".to_owned(),
            encoding: None,
            oversized: None,
            data: data.concat(),
            status: target.end().map(status),
            ends_with: target.end().map_or(EndsWith::Open, |_| EndsWith::Headers),
        };
        match self {
            Self::Status => {
                seen.data.clear();
                seen.status = Some(status(("15", "lost")));
                seen.ends_with = EndsWith::Headers;
            }
            Self::MissingStatus if target.end().is_some() => {
                seen.status = None;
                // A service's status may have brought metadata along, which stays.
                if target != Target::ServiceStatus {
                    seen.ends_with = EndsWith::Nothing;
                }
            }
            Self::MalformedStatus => seen
                .status
                .iter_mut()
                .for_each(|one| "fine".clone_into(&mut one.0)),
            Self::StatusInHeaders => {
                seen.status = seen.status.or_else(|| Some(status(("0", ""))));
                if target.end().is_some() {
                    seen.ends_with = EndsWith::StatusInHeaders;
                }
            }
            Self::ContentType => "text/html".clone_into(&mut seen.content_type),
            Self::HttpStatus => {
                seen.http = 503;
                "text/html".clone_into(&mut seen.content_type);
                seen.data = PAGE.to_vec();
                (seen.status, seen.ends_with) = (None, EndsWith::Nothing);
            }
            Self::BadCompression => seen.encoding = Some("gzip".to_owned()),
            Self::OversizedMetadata => seen.oversized = Some(20_000),
            _ => {}
        }
        seen
    }
}

impl Broken {
    fn outcome(self, target: Target) -> Option<Outcome> {
        match (self, target.end()) {
            (Self::HttpStatus, _) => Some(Outcome::Faulted),
            (Self::Status, _) => Some(Outcome::Status(Code::DataLoss)),
            (_, None) => None,
            (_, Some(("0", _))) => Some(Outcome::Ok),
            (_, Some(("5", _))) => Some(Outcome::Status(Code::NotFound)),
            (_, Some(_)) => Some(Outcome::Status(Code::DataLoss)),
        }
    }
}

impl Seen {
    fn of(answer: Answer, open: bool) -> Self {
        let text = |map: &HeaderMap, name: &str| {
            let value = map.get(name)?;
            Some(value.to_str().expect("text").to_owned())
        };
        let headers = answer.headers;
        let status = |map: &HeaderMap| {
            let message = text(map, "grpc-message").unwrap_or_default();
            text(map, "grpc-status").map(|code| (code, message))
        };
        assert_eq!(answer.reset, None);
        let ends_with = match (&answer.trailers, headers.contains_key("grpc-status")) {
            _ if open => EndsWith::Open,
            (Some(_), _) => EndsWith::Headers,
            (None, true) => EndsWith::StatusInHeaders,
            (None, false) => EndsWith::Nothing,
        };
        Self {
            http: answer.status,
            content_type: text(&headers, "content-type").unwrap_or_default(),
            encoding: text(&headers, "grpc-encoding"),
            oversized: headers.get("x-oversized").map(http::HeaderValue::len),
            data: answer.data,
            status: answer
                .trailers
                .as_ref()
                .and_then(status)
                .or_else(|| status(&headers)),
            ends_with,
        }
    }
}

/// Lets a call go that is held.
async fn let_go(broken: Broken, fault: &InjectedFault) {
    if broken == Broken::Held {
        within(fault.hit()).await;
        assert_eq!(fault.held(), 1);
        fault.release(1);
    }
}

/// One cell of the table: what differs from what is expected, if anything.
async fn judge(
    server: &MockServer,
    broken: Broken,
    target: Target,
    requests: &SendRequest<Bytes>,
) -> Option<String> {
    let before = server.calls().len();
    let mut expected = broken.expected(target);
    let open = expected.ends_with == EndsWith::Open;
    if open && expected.data.is_empty() {
        // There is nothing to wait for.
        return None;
    }
    let fault = server.inject(broken.fault().method(target.path()));
    let enough = open.then_some(expected.data.len());
    let request = target.request();
    let asked = ask(requests, target.path(), &request, enough);
    let (answer, ()) = tokio::join!(asked, let_go(broken, &fault));
    let mut seen = Seen::of(answer, open);
    let alone = expected.data.is_empty() && expected.ends_with == EndsWith::Headers;
    if alone && seen.ends_with == EndsWith::StatusInHeaders {
        // The same for every client: a status alone, and headers with trailers behind them.
        seen.ends_with = EndsWith::Headers;
    }
    if !broken.strikes(target) {
        // A fault that was to come may have told of it.
        (expected.encoding, seen.encoding) = (None, None);
    }
    let hits = fault.hits();
    fault.remove();
    // The mock's own services are in no journal.
    let calls = server.calls();
    let call = calls.get(before);
    let outcome = match call {
        Some(call) if !open => Some(within(call.ended()).await),
        _ => None,
    };
    let stub = call.and_then(Call::stub).is_some();
    let recorded = call.map(|call| {
        call.requests()
            .iter()
            .map(|one| one.bytes().to_vec())
            .collect::<Vec<_>>()
    });
    let seen = (seen, hits, outcome, stub, recorded);
    let expected = (
        expected,
        u64::from(broken.strikes(target)),
        broken.outcome(target).filter(|_| !open && !target.is_own()),
        !target.is_own() && broken != Broken::Status,
        (!target.is_own()).then(|| vec![request]),
    );
    (seen != expected).then(|| format!("{broken:?} {target:?}:\n   {seen:?}\n   {expected:?}"))
}

#[tokio::test]
async fn every_fault_goes_out_as_told_whatever_serves_the_call() {
    for wire in Wire::ALL {
        let server = Target::start(wire).await;
        let requests = h2(&server).await;
        let mut wrong = Vec::new();
        for broken in Broken::ALL {
            for target in Target::ALL {
                wrong.extend(judge(&server, broken, target, &requests).await);
            }
        }
        assert!(wrong.is_empty(), "{wire:?}\n{}", wrong.join("\n"));
        assert!(server.journal().unmatched().is_empty());
    }
}
