//! What a newcomer writes first.

use crate::support::Transport;
use rpcplugin_testkit::{Call, Client, MockServer, Stub, json};

/// The testing example of pyvider's guide to direct connections, its last code block, in Rust.
#[tokio::test]
async fn test_direct_connection() {
    let mock_direct_server = MockServer::start().await;
    mock_direct_server
        .mount(Stub::any().reply(|call: &Call| json!({"success": true, "method": call.method()})));

    let client = Client::connect(mock_direct_server.address()).await.unwrap();
    let result = client
        .call("TestMethod", json!({"param": "value"}))
        .await
        .unwrap();

    assert_eq!(result["success"], true);
    assert_eq!(result["method"], "TestMethod");
    assert_eq!(mock_direct_server.calls().len(), 1);
    assert_eq!(
        mock_direct_server.calls()[0],
        ("TestMethod", json!({"param": "value"}))
    );
}

#[tokio::test]
async fn the_first_test_works_over_every_transport() {
    for transport in Transport::ALL {
        let server = transport.start().await;
        server.mount(
            Stub::method("Echo").reply(|call: &Call| json!({"message": call.request()["message"]})),
        );

        let client = server.client().await;
        let reply = client
            .call("Echo", json!({"message": "Hello"}))
            .await
            .unwrap();
        client.close().await;

        assert_eq!(reply, json!({"message": "Hello"}), "{transport:?}");
        assert_eq!(
            server.calls(),
            [("Echo", json!({"message": "Hello"}))],
            "{transport:?}"
        );
    }
}
