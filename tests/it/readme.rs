//! The tests that the README shows, run. What it shows must be what stands here.

use std::fs;

mod first {
    use rpcplugin_testkit::{Call, MockServer, Stub, json};

    #[tokio::test]
    async fn records_a_direct_call() {
        let server = MockServer::start().await; // 127.0.0.1, ephemeral port, listening already
        server.mount(
            Stub::any().reply(|call: &Call| json!({"success": true, "method": call.method()})),
        );

        let client = server.client().await; // or Client::connect(server.address())
        let result = client
            .call("TestMethod", json!({"param": "value"}))
            .await
            .unwrap();

        assert_eq!(result["success"], true);
        assert_eq!(server.calls().len(), 1);
        assert_eq!(server.calls()[0], ("TestMethod", json!({"param": "value"})));
    }
}

mod typed {
    use rpcplugin_testkit::{Code, MockServer, Reply, Stub, json};

    #[tokio::test]
    async fn the_code_under_test_reports_a_full_disk() {
        // In your crate: include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"))
        let schema = rpcplugin_testkit::proto::FILE_DESCRIPTOR_SET;
        let server = MockServer::builder().descriptor_set(schema).start().await;
        let full = Reply::status(Code::ResourceExhausted, "disk full").trailer("x-disk", "sda1");
        server.mount(Stub::any().reply(full));

        let client = server.client().await; // your code gets server.uri() instead
        let error = client
            .call("rpcplugin.v1.Plugin/Call", json!({"method": "Put"}))
            .await
            .unwrap_err();
        assert_eq!(error.code(), Some(Code::ResourceExhausted));
    }
}

mod secure {
    use rpcplugin_testkit::{Auth, Authority, Client, ClientTls, Defect, Grant, MockServer};
    use rpcplugin_testkit::{ServerTls, Stub, TokenAuth, json};

    #[tokio::test]
    async fn logs_in_over_mutual_tls_and_refuses_an_expired_server() {
        let authority = Authority::new();
        let auth = Auth::tokens();
        let server = MockServer::builder()
            .tls(ServerTls::mutual(&authority)) // or .mtls(), and server.client() has it all
            .auth(auth.clone())
            .start()
            .await;
        server.mount(auth.login("auth.Authenticate", json!({"api_key": "k-1"}), Grant::new()));
        server.mount(Stub::method("Process").reply(json!({"done": true})));

        let tls = ClientTls::new()
            .roots(&authority)
            .identity(authority.client("worker-1"));
        let client = Client::builder()
            .address(server.address())
            .tls(tls.clone())
            .auth(TokenAuth::login(
                "auth.Authenticate",
                json!({"api_key": "k-1"}),
            ))
            .connect()
            .await
            .unwrap();
        client.call("Process", json!({})).await.unwrap();
        let caller = server.calls()[1].client_certificate().cloned().unwrap();
        assert_eq!(caller.subject(), "CN=worker-1");

        let expired = authority.server_with(Defect::Expired);
        let server = MockServer::builder().tls(expired).start().await;
        let builder = Client::builder().address(server.address()).tls(tls);
        assert!(builder.connect().await.unwrap_err().is_tls());
    }
}

mod stream {
    use rpcplugin_testkit::{MockServer, Reply, Status, Stub, json};

    #[tokio::test]
    async fn watches_until_the_server_hangs_up() {
        let server = MockServer::unix().await;
        let (reply, mut streams) = Reply::channel();
        server.mount(Stub::method("Watch").reply(reply));

        let client = server.client().await;
        let mut changes = client
            .call_server_stream("Watch", json!({"key": "a"}))
            .await
            .unwrap();
        let mut watch = streams.accept().await;
        watch.send(json!({"value": 1})).await.unwrap();
        assert_eq!(changes.message().await.unwrap(), Some(json!({"value": 1})));
        watch.fail(Status::unavailable("shutting down"));
        assert!(changes.message().await.is_err());
    }
}

mod expectations {
    use rpcplugin_testkit::{MockServer, Sequence, Status, Stub, json, matchers::field};

    #[tokio::test]
    async fn retries_until_the_store_is_warm_and_puts_once() {
        let server = MockServer::start().await;
        let order = Sequence::new();
        let warming = Status::unavailable("warming up");
        server.mount(
            Stub::method("Get")
                .reply(warming)
                .repeat(2)
                .then(json!({"value": 1}))
                .times(3)
                .in_sequence(&order),
        );
        let put = server.mount(
            Stub::method("Put")
                .named("the put")
                .when(field("entry.key", "a"))
                .in_sequence(&order), // expects one call, after the three
        );

        let client = server.client().await; // stands for the code under test
        while client.call("Get", json!({})).await.is_err() {}
        let entry = json!({"entry": {"key": "a", "size": 3}});
        client.call("Put", entry).await.unwrap();

        put.satisfied().await; // no sleep: it waits for the call
        server.verify().await.unwrap(); // so does dropping the server, without the waiting
    }
}

mod faults {
    use rpcplugin_testkit::{Code, Fault, MockServer, Reason, Status, Stub, json};

    #[tokio::test]
    async fn the_client_comes_through_a_bad_day() {
        let server = MockServer::start().await;
        server.mount(Stub::any().reply(json!({"value": 1})));

        // RPC: the first two calls fail before any stub is asked.
        let warming = Fault::status(Status::unavailable("warming up"));
        let warming = server.inject(warming.method("Get").at_most(2));
        // HTTP/2: the fifth call gets headers, and then a reset stream.
        server.inject(Fault::reset_after_headers(Reason::REFUSED_STREAM).nth_call(5));
        // The byte stream: a connection that is cut while a call is in flight, when the test says so.
        let cut = server.inject(Fault::cut_by_reset().method("Put").held());

        let client = server.client().await; // stands for the code under test
        let mut codes = Vec::new();
        for _ in 0..5 {
            let called = client.call("Get", json!({})).await;
            codes.push(called.err().and_then(|error| error.code()));
        }
        let down = Some(Code::Unavailable);
        assert_eq!(codes, [down, down, None, None, down]);
        assert_eq!(warming.hits(), 2);

        let put = tokio::spawn(async move { client.call("Put", json!({})).await });
        cut.hit().await; // no sleep: the call is in flight now, and stays so
        cut.release(1);
        assert!(put.await.unwrap().is_err());
    }
}

mod several {
    use rpcplugin_testkit::client::{Backoff, ClientEvent};
    use rpcplugin_testkit::{Client, MockCluster, Strategy, Stub, json};
    use std::time::Duration;

    #[tokio::test]
    async fn fails_over_when_an_instance_dies() {
        let cluster = MockCluster::start(3).await;
        cluster.mount(Stub::method("Process").reply(json!({"ok": true})));
        let client = Client::builder()
            .endpoints(cluster.addresses())
            .strategy(Strategy::RoundRobin)
            .backoff(Backoff {
                initial: Duration::from_millis(10),
                ..Backoff::default()
            })
            .connect()
            .await
            .unwrap();

        cluster[0].kill().await;
        for _ in 0..100 {
            client
                .call("Process", json!({}))
                .idempotent()
                .await
                .unwrap();
        }

        let mut events = client.events();
        cluster[0].restart().await;
        events
            .wait_for(|event| matches!(event, ClientEvent::Connected(_)))
            .await; // no sleep
        client.call("Process", json!({})).await.unwrap();
    }
}

mod found {
    use rpcplugin_testkit::client::ClientEvent;
    use rpcplugin_testkit::{Client, MockCluster, Stub, json};

    #[tokio::test]
    async fn follows_the_service_in_consul() {
        let cluster = MockCluster::start(3).await;
        cluster.mount(Stub::method("Pay").reply(json!({"paid": true})));
        let registry = cluster.consul("payment-processor").await; // registry.url() for your code

        let consul = registry.agent(); // or Consul::from_env()
        let client = Client::builder()
            .discover(consul.service("payment-processor"))
            .connect()
            .await
            .unwrap();

        let mut events = client.events();
        cluster[0].kill().await;
        events
            .wait_for(|event| matches!(event, ClientEvent::EndpointRemoved(_)))
            .await;
        client.call("Pay", json!({})).await.unwrap();
        assert_eq!(client.endpoints().len(), 2);
    }
}

mod attached {
    use rpcplugin_testkit::{Client, MockServer, plugin::ReattachConfig};

    #[tokio::test]
    async fn a_mock_is_the_provider_that_terraform_attaches_to() {
        let server = MockServer::unix().await;
        let config = ReattachConfig::new(server.address().clone()).unwrap();
        // Command::new("terraform").arg("plan").env("TF_REATTACH_PROVIDERS", …)
        let variable = ReattachConfig::to_terraform([("registry.terraform.io/acme/db", &config)]);

        let client = Client::attach(variable).connect().await.unwrap(); // or the line that a plugin has printed
        client.ping().await.unwrap();
        client.shutdown_server().await.unwrap(); // nothing but this ends a server
        assert_eq!(server.calls_to("plugin.GRPCController/Shutdown").len(), 1);
    }
}

#[test]
fn the_readme_shows_these_tests() {
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let readme = fs::read_to_string("README.md").expect("README.md");
    let here = squeezed(include_str!("readme.rs"));
    let blocks: Vec<_> = readme
        .split("```rust\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert_eq!(blocks.len(), 9);
    for block in blocks {
        assert!(
            here.contains(&squeezed(block)),
            "tests/it/readme.rs lacks what README.md shows:\n{block}"
        );
    }
}
