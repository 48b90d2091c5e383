//! Connections beside the plugin's own: a plugin and its host tell each other where, over a stream of the broker.

use crate::support::{Transport, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::mock::MockServerBuilder;
use rpcplugin_testkit::proto::plugin::{
    ConnInfo, conn_info::Knock, grpc_broker_client::GrpcBrokerClient,
};
use rpcplugin_testkit::{Address, Client, Fault, Journal, MockServer, Status, Stub, json};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;

const STREAM: &str = "plugin.GRPCBroker/StartStream";

/// A host, as tonic generates it.
struct Host {
    tell: mpsc::UnboundedSender<ConnInfo>,
    told: Streaming<ConnInfo>,
}

impl Host {
    async fn of(client: &Client) -> Result<Self, Status> {
        let (tell, telling) = mpsc::unbounded_channel();
        let mut broker = GrpcBrokerClient::new(client.clone());
        let stream = broker.start_stream(UnboundedReceiverStream::new(telling));
        let told = within(stream).await?.into_inner();
        Ok(Self { tell, told })
    }

    async fn told(&mut self) -> ConnInfo {
        let told = within(self.told.message()).await.expect("no error");
        told.expect("no end")
    }

    fn tell(&self, service_id: u32, network: &str, address: &str) {
        let info = info(service_id, network, address);
        self.tell.send(info).expect("its stream is open");
    }
}

fn info(service_id: u32, network: &str, address: &str) -> ConnInfo {
    ConnInfo {
        service_id,
        network: network.to_owned(),
        address: address.to_owned(),
        knock: None,
    }
}

async fn answering(builder: MockServerBuilder, value: u32) -> MockServer {
    let server = builder.start().await;
    server.mount(Stub::method("Get").reply(json!({"value": value})));
    server
}

#[tokio::test]
async fn a_host_is_told_where_a_second_service_is() {
    for transport in [Transport::Tcp, Transport::Unix] {
        for mutual in [false, true] {
            let plugin = transport.secured(mutual).start().await;
            let second = answering(transport.secured(mutual), 2).await;
            let broker = plugin.broker();
            let id = broker.next_id();
            broker.offer(id, &second);

            let client = plugin.client().await;
            let mut host = Host::of(&client).await.unwrap();
            let told = host.told().await;
            let network = if transport == Transport::Tcp {
                "tcp"
            } else {
                "unix"
            };
            assert_eq!((told.service_id, told.network.as_str()), (id, network));
            let address = match transport {
                Transport::Tcp => told.address.parse().unwrap(),
                _ => Address::unix(told.address).unwrap(),
            };
            let mut dialling = Client::builder().address(address);
            if let Some(tls) = second.client_tls() {
                dialling = dialling.tls(tls);
            }
            let dialled = within(dialling.connect()).await.unwrap();
            let got = dialled.call("Get", json!({})).await;
            assert_eq!(got.unwrap(), json!({"value": 2}), "{transport:?} {mutual}");

            // One that is offered later, too.
            let third = answering(transport.secured(mutual), 3).await;
            broker.offer(broker.next_id(), &third);
            assert_eq!(host.told().await.service_id, id + 1);
            third.client().await.call("Get", json!({})).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_plugin_is_told_where_its_host_serves() {
    for transport in Transport::ALL {
        let plugin = transport.start().await;
        let served = answering(MockServer::builder().unix(), 7).await;
        let client = plugin.client().await;
        let host = Host::of(&client).await.unwrap();
        let broker = plugin.broker();
        host.tell(1, "tcp", "127.0.0.1:1");
        host.tell(
            7,
            "unix",
            served.address().to_string().trim_start_matches("unix:"),
        );
        let address = within(broker.connection(7)).await;
        assert_eq!(&address, served.address());
        let dialled = within(Client::connect(address)).await.unwrap();
        assert_eq!(
            dialled.call("Get", json!({})).await.unwrap(),
            json!({"value": 7})
        );
        assert_eq!(
            within(broker.connection(1)).await,
            Address::tcp("127.0.0.1", 1)
        );
        assert_eq!(broker.received().len(), 2);
        assert_eq!(plugin.calls_to(STREAM)[0].requests().len(), 2);
    }
}

#[tokio::test]
async fn the_host_that_came_last_is_told_and_what_was_not_told_is_kept() {
    let plugin = MockServer::memory().await;
    let client = plugin.client().await;
    let broker = plugin.broker();
    broker.send(info(1, "tcp", "before"));
    let mut first = Host::of(&client).await.unwrap();
    assert_eq!(first.told().await, info(1, "tcp", "before"));
    let mut second = Host::of(&client).await.unwrap();
    // The first has nothing more to wait for.
    assert!(within(first.told.message()).await.unwrap().is_none());
    // Whatever is said is passed on.
    let odd = ConnInfo {
        knock: Some(Knock {
            knock: true,
            ack: false,
            error: "no".to_owned(),
        }),
        ..info(0, "carrier pigeon", "")
    };
    broker.send(odd.clone());
    assert_eq!(second.told().await, odd);
    drop(second);
    let gone = |journal: &Journal| {
        let calls = journal.to(STREAM).calls();
        calls.iter().all(|call| call.outcome().is_some())
    };
    within(plugin.wait_until(gone)).await;
    broker.send(info(2, "unix", "/between"));
    let mut third = Host::of(&client).await.unwrap();
    assert_eq!(third.told().await, info(2, "unix", "/between"));
    // A host that has said all that it has to say is not served any further.
    drop(third.tell);
    assert!(within(third.told.message()).await.unwrap().is_none());
    assert_eq!([broker.next_id(), plugin.broker().next_id()], [1, 2]);
}

#[tokio::test]
async fn a_broker_ends_with_its_server_and_fails_as_it_is_told() {
    let plugin = MockServer::memory().await;
    let client = plugin.client().await;
    let mut host = Host::of(&client).await.unwrap();
    let (end, ()) = tokio::join!(host.told.message(), plugin.shutdown(Duration::MAX));
    assert!(end.unwrap().is_none());

    plugin.restart().await;
    let client = plugin.client().await;
    let fault = Fault::status(Status::unavailable("no broker")).method(STREAM);
    let _fault = plugin.inject_scoped(fault);
    let refused = Host::of(&client).await.err().expect("it is refused");
    assert_eq!(refused.message(), "no broker");
}

#[tokio::test]
#[should_panic = "is a pipe within this process, which no broker can offer: use TCP or a Unix socket"]
async fn a_pipe_cannot_be_offered() {
    let server = MockServer::memory().await;
    server.broker().offer(1, &server);
}

#[tokio::test(start_paused = true)]
#[should_panic = "for a host to broker 2, and it told [ConnInfo { service_id: 1,"]
async fn a_host_that_does_not_broker_it_is_waited_for_in_vain() {
    let server = MockServer::memory().await;
    let client = server.client().await;
    let host = Host::of(&client).await.unwrap();
    host.tell(1, "tcp", "127.0.0.1:1");
    server.broker().connection(2).await;
}

#[tokio::test]
#[should_panic = "the host brokers 1 at no address, told at"]
async fn a_host_that_brokers_nonsense_is_told_of() {
    let server = MockServer::memory().await;
    let client = server.client().await;
    let host = Host::of(&client).await.unwrap();
    host.tell(1, "udp", "127.0.0.1:1");
    server.broker().connection(1).await;
}
