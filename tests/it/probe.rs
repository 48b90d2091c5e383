//! A judge of the mock that shares no code with it: HTTP/2 frames on a raw socket, made and read by hand.

use crate::support::{echo_schema, within};
use rpcplugin_testkit::{Address, MockServer};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use std::{collections::HashMap, sync::Arc};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

/// Of SETTINGS and PING.
pub(crate) const ACK: u8 = 1;
/// Of HEADERS and DATA.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// The setting of that name.
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;

/// What a probe goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Tcp,
    Unix,
    Mutual,
    MutualUnix,
}

impl Wire {
    pub(crate) const ALL: [Self; 4] = [Self::Tcp, Self::Unix, Self::Mutual, Self::MutualUnix];

    /// A mock of the echo service.
    pub(crate) async fn start(self) -> MockServer {
        let builder = MockServer::builder()
            .schema(echo_schema())
            .allow_unmatched();
        let builder = match self {
            Self::Tcp | Self::Mutual => builder.tcp(),
            Self::Unix | Self::MutualUnix => builder.unix(),
        };
        match self {
            Self::Tcp | Self::Unix => builder.start().await,
            Self::Mutual | Self::MutualUnix => builder.mtls().start().await,
        }
    }
}

pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// A connection, in TLS if the server speaks it.
pub(crate) async fn dial(server: &MockServer) -> Box<dyn Duplex> {
    let socket: Box<dyn Duplex> = match server.address() {
        Address::Unix(path) => Box::new(UnixStream::connect(path).await.expect("a connection")),
        Address::Tcp { host, port, .. } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await;
            let stream = stream.expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            Box::new(stream)
        }
        _ => panic!("nobody else can dial that"),
    };
    let Some(authority) = server.authority() else {
        return socket;
    };
    let mut roots = RootCertStore::empty();
    let root = authority.root().der().to_vec().into();
    roots.add(root).expect("a root");
    let own = authority.client("probe");
    let chain = own.chain_der().map(|der| der.to_vec().into()).collect();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(own.key_der().to_vec());
    let mut config = ClientConfig::builder_with_provider(Arc::new(crate::tls_changes::provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key.into())
        .expect("a certificate");
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("localhost").expect("a name");
    let connector = TlsConnector::from(Arc::new(config));
    Box::new(within(connector.connect(name, socket)).await.expect("TLS"))
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// What stands in a DATA frame beside its padding, and how much that is.
    pub(crate) fn unpadded(&self) -> (&[u8], Option<usize>) {
        if self.flags & PADDED == 0 {
            return (&self.payload, None);
        }
        let padding = usize::from(self.payload[0]);
        let end = self.payload.len() - padding;
        assert!(self.payload[end..].iter().all(|byte| *byte == 0));
        (&self.payload[1..end], Some(padding))
    }

    /// The 32-bit number at this place of the payload.
    pub(crate) fn number(&self, at: usize) -> u32 {
        let four = self.payload[at..at + 4].try_into();
        u32::from_be_bytes(four.expect("four bytes"))
    }

    pub(crate) fn ends_stream(&self) -> bool {
        let flagged = matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0;
        flagged || self.kind == RST_STREAM
    }

    /// Its settings, by number.
    pub(crate) fn settings(&self) -> HashMap<u16, u32> {
        assert_eq!((self.kind, self.flags, self.stream), (SETTINGS, 0, 0));
        let pairs = self.payload.chunks(6);
        let pairs = pairs.map(|pair| {
            let value = u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]);
            (u16::from_be_bytes([pair[0], pair[1]]), value)
        });
        pairs.collect()
    }
}

/// The bytes of all DATA frames of a stream.
pub(crate) fn data(frames: &[Frame], stream: u32) -> Vec<u8> {
    let of_stream = frames
        .iter()
        .filter(|one| (one.kind, one.stream) == (DATA, stream));
    of_stream
        .flat_map(|one| one.unpadded().0.to_vec())
        .collect()
}

/// A connection to a mock.
pub(crate) struct Probe {
    io: Box<dyn Duplex>,
    /// Whether it acknowledges SETTINGS, and answers PING.
    pub(crate) acknowledges: bool,
    /// What the mock may still send: on the connection, and on each stream.
    window: i64,
    windows: HashMap<u32, i64>,
    initial_window: i64,
}

impl Probe {
    pub(crate) async fn open(server: &MockServer) -> Self {
        Self::with_settings(server, &[]).await
    }

    pub(crate) async fn with_settings(server: &MockServer, settings: &[(u16, u32)]) -> Self {
        let window = settings.iter().find(|(key, _)| *key == INITIAL_WINDOW_SIZE);
        let mut probe = Self {
            io: dial(server).await,
            acknowledges: true,
            window: 65_535,
            windows: HashMap::new(),
            initial_window: window.map_or(65_535, |(_, size)| i64::from(*size)),
        };
        probe.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        let pairs = settings.iter();
        let pairs = pairs
            .flat_map(|(key, value)| [&key.to_be_bytes()[..], &value.to_be_bytes()[..]].concat());
        let pairs: Vec<_> = pairs.collect();
        probe.send(SETTINGS, 0, 0, &pairs).await;
        probe
    }

    /// One that has been told that its settings are known.
    pub(crate) async fn settled(server: &MockServer) -> Self {
        let mut probe = Self::open(server).await;
        probe
            .until(|frame| (frame.kind, frame.flags) == (SETTINGS, ACK))
            .await;
        probe
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        within(self.io.write_all(bytes)).await.expect("written");
        within(self.io.flush()).await.expect("flushed");
    }

    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len())
            .expect("a length")
            .to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.write(&[&head, payload].concat()).await;
    }

    /// The headers of a call, as literals that change no table.
    pub(crate) async fn headers(&mut self, stream: u32, path: &str, end: bool) {
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ];
        let mut block = Vec::new();
        for (name, value) in fields {
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).expect("short"));
                block.extend(text.as_bytes());
            }
        }
        let end = if end { END_STREAM } else { 0 };
        self.send(HEADERS, END_HEADERS | end, stream, &block).await;
    }

    /// A call with this one message.
    pub(crate) async fn call(&mut self, stream: u32, path: &str, message: &[u8]) {
        self.headers(stream, path, false).await;
        self.send(DATA, END_STREAM, stream, &framed(message)).await;
    }

    /// The next frame, after what it asks for was done. `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        within(self.io.read_exact(&mut head)).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        within(self.io.read_exact(&mut payload)).await.ok()?;
        let frame = Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        };
        self.answer(&frame).await;
        Some(frame)
    }

    async fn answer(&mut self, frame: &Frame) {
        match (frame.kind, frame.flags & ACK) {
            (SETTINGS, 0) if self.acknowledges => self.try_send(SETTINGS, ACK, 0, &[]).await,
            (PING, 0) if self.acknowledges => self.try_send(PING, ACK, 0, &frame.payload).await,
            (DATA, _) if frame.stream > 0 && !frame.payload.is_empty() => self.credit(frame).await,
            _ => {}
        }
    }

    /// Checks that there was room for a frame, and makes room when little is left.
    async fn credit(&mut self, frame: &Frame) {
        let length = i64::try_from(frame.payload.len()).expect("a length");
        let initial = self.initial_window;
        let window = self.windows.entry(frame.stream).or_insert(initial);
        *window -= length;
        self.window -= length;
        let (left, on_connection) = (*window, self.window);
        assert!(
            left.min(on_connection) >= 0,
            "{left} and {on_connection} are left"
        );
        for (stream, left, whole) in [(frame.stream, left, initial), (0, on_connection, 65_535)] {
            // The largest padding must have room, or nothing ever comes.
            if left < (whole / 2).max(257) {
                let more = u32::try_from(whole - left).expect("a length");
                self.try_send(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
                    .await;
                *self.windows.entry(stream).or_default() = whole;
                if stream == 0 {
                    self.window = whole;
                }
            }
        }
    }

    /// The mock may have closed the connection meanwhile.
    async fn try_send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u8::try_from(payload.len()).expect("short");
        let head = [&[0, 0, length, kind, flags], &stream.to_be_bytes()[..]].concat();
        let _ = self.io.write_all(&[&head, payload].concat()).await;
        let _ = self.io.flush().await;
    }

    /// All frames up to one for which this is true.
    #[track_caller]
    pub(crate) fn until(
        &mut self,
        mut is: impl FnMut(&Frame) -> bool,
    ) -> impl Future<Output = Vec<Frame>> {
        let place = std::panic::Location::caller();
        async move {
            let mut frames = Vec::new();
            loop {
                let frame = self.next().await;
                let Some(frame) = frame else {
                    panic!("the connection ended, at {place}, after {frames:?}");
                };
                frames.push(frame);
                if is(&frames[frames.len() - 1]) {
                    return frames;
                }
            }
        }
    }

    /// All frames of a stream, up to its end.
    pub(crate) async fn stream(&mut self, stream: u32) -> Vec<Frame> {
        let mut frames = self
            .until(|one| one.stream == stream && one.ends_stream())
            .await;
        frames.retain(|one| one.stream == stream);
        frames
    }

    /// All frames up to the answer to a PING: all that was sent on account of what came before it.
    pub(crate) async fn settle(&mut self, number: u64) -> Vec<Frame> {
        let number = number.to_be_bytes();
        self.send(PING, 0, 0, &number).await;
        let is_pong = |one: &Frame| (one.kind, one.flags, &one.payload[..]) == (PING, ACK, &number);
        let mut frames = self.until(is_pong).await;
        frames.pop();
        frames
    }

    /// All frames up to the end of the connection.
    pub(crate) async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }
}

/// A message with its prefix.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a length");
    [&[0], &length.to_be_bytes()[..], message].concat()
}

/// An `EchoRequest` or an `EchoReply`: its first field.
pub(crate) fn said(message: &str) -> Vec<u8> {
    prost::Message::encode_to_vec(&crate::support::echo::EchoReply {
        message: message.to_owned(),
        ..Default::default()
    })
}
