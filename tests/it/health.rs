//! The health service, both ways.

use crate::support::{Transport, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{Code, MockServer, Outcome, ServingStatus, json};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus as Wire, health_client::HealthClient,
};

#[tokio::test]
async fn the_server_is_serving_until_it_is_told_otherwise() {
    for transport in Transport::ALL {
        let server = transport.start().await;
        let client = server.client().await;
        client.health_check().await.unwrap();
        assert_eq!(client.health("").await.unwrap(), ServingStatus::Serving);

        server.set_health("", ServingStatus::NotServing);
        let error = client.health_check().await.unwrap_err();
        assert_eq!(error.code(), Some(Code::Unavailable));
        assert_eq!(
            error.to_string(),
            format!(
                "the server at {} is not healthy: NotServing",
                server.address()
            )
        );
        server.set_health("", ServingStatus::Serving);
        client.health_check().await.unwrap();
    }
}

#[tokio::test]
async fn services_of_the_schema_are_serving_and_others_are_not_found() {
    let server = Transport::Memory.start_echo().await;
    let client = server.client().await;
    assert_eq!(
        client.health("echo.v1.Echo").await.unwrap(),
        ServingStatus::Serving
    );
    let error = client.health("unheard.Of").await.unwrap_err();
    assert_eq!(
        (error.code(), error.status().unwrap().message()),
        (Some(Code::NotFound), "no health is set for `unheard.Of`")
    );
    for status in [
        ServingStatus::Serving,
        ServingStatus::NotServing,
        ServingStatus::Unknown,
    ] {
        server.set_health("unheard.Of", status);
        assert_eq!(client.health("unheard.Of").await.unwrap(), status);
    }
}

/// As in go-plugin, where a host's ping asks for exactly that.
#[tokio::test]
async fn the_plugin_is_serving_and_all_that_is_known_is_listed() {
    let server = Transport::Memory.start_echo().await;
    let client = server.client().await;
    assert_eq!(
        client.health("plugin").await.unwrap(),
        ServingStatus::Serving
    );
    server.set_health("plugin", ServingStatus::NotServing);
    // Watching one does not make it known.
    let mut watching = HealthClient::new(client.clone());
    let request = HealthCheckRequest {
        service: "unheard.Of".to_owned(),
    };
    let _watch = watching.watch(request).await.unwrap();

    let listed = client.call("grpc.health.v1.Health/List", json!({})).await;
    assert_eq!(
        listed.unwrap(),
        json!({"statuses": {
            "": {"status": "SERVING"},
            "echo.v1.Echo": {"status": "SERVING"},
            "echo.v1.Parrot": {"status": "SERVING"},
            "plugin": {"status": "NOT_SERVING"},
        }})
    );
}

#[tokio::test]
async fn a_watch_tells_every_change_and_waits_for_unknown_services() {
    let server = MockServer::start().await;
    let mut client = HealthClient::new(server.client().await);
    let request = HealthCheckRequest {
        service: "unheard.Of".to_owned(),
    };
    let mut watch = client.watch(request.clone()).await.unwrap().into_inner();
    let mut next = async || {
        within(watch.message())
            .await
            .expect("a message")
            .expect("no end")
            .status()
    };

    assert_eq!(next().await, Wire::ServiceUnknown);
    server.set_health("unheard.Of", ServingStatus::Serving);
    assert_eq!(next().await, Wire::Serving);
    server.set_health("unheard.Of", ServingStatus::NotServing);
    assert_eq!(next().await, Wire::NotServing);

    // A watch of an unknown service does not make it known.
    let _other = client
        .watch(HealthCheckRequest {
            service: "other".to_owned(),
        })
        .await
        .unwrap();
    let check = client
        .check(HealthCheckRequest {
            service: "other".to_owned(),
        })
        .await;
    assert_eq!(check.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn health_calls_are_recorded_apart_from_the_others() {
    let server = MockServer::memory().await;
    let client = server.client().await;
    client.health_check().await.unwrap();
    client.health("unheard.Of").await.unwrap_err();
    let watch = HealthClient::new(client.clone())
        .watch(HealthCheckRequest::default())
        .await
        .unwrap();
    drop(watch);

    assert!(server.calls().is_empty());
    let checks = server.calls_to("grpc.health.v1.Health/Check");
    assert_eq!(
        checks,
        [
            ("Check", json!({})),
            ("Health.Check", json!({"service": "unheard.Of"}))
        ]
    );
    assert_eq!(checks[0].reply(), Some(json!({"status": "SERVING"})));
    assert_eq!(checks[0].outcome(), Some(Outcome::Ok));
    assert_eq!(checks[1].outcome(), Some(Outcome::Status(Code::NotFound)));
    let watches = server.calls_to("Watch");
    assert_eq!(within(watches[0].ended()).await, Outcome::Cancelled);
    assert_eq!(watches[0].replies().len(), 1);
}

#[tokio::test]
async fn health_is_a_method_like_any_other_by_its_full_name() {
    let server = MockServer::memory().await;
    let reply = server
        .client()
        .await
        .call("grpc.health.v1.Health/Check", json!({"service": ""}))
        .await
        .unwrap();
    assert_eq!(reply, json!({"status": "SERVING"}));
}
