//! Faults in the test's hands: held, released, taken away, and let go by whatever ends.

use crate::faults_probe::{Make, Wire, alone, client, dialling, squawk, until};
use crate::support::{Transport, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{Call, Client, Code, Fault, Outcome, Reason, Status, Stub, json};
use std::time::Duration;
use tokio::{runtime::Handle, task::JoinHandle};

const MS: Duration = Duration::from_millis(1);

type Ended = Result<rpcplugin_testkit::Value, rpcplugin_testkit::Error>;

fn start(client: &Client) -> JoinHandle<Ended> {
    tokio::spawn(client.call("Squawk", json!({})).into_future())
}

/// Each call on a connection of its own, so that each can be cut by itself.
#[tokio::test]
async fn of_five_calls_that_are_held_exactly_the_released_are_cut() {
    for wire in Wire::all() {
        let server = wire.start().await;
        let cut = server.inject(Fault::cut().method("Squawk").held());
        let mut calls = Vec::new();
        for n in 1..=5 {
            let client = client(&server).await;
            calls.push((start(&client), client));
            within(cut.wait_for_hits(n)).await;
        }
        assert_eq!(
            (cut.held(), cut.active(), cut.hits()),
            (5, 5, 5),
            "{wire:?}"
        );
        assert_eq!(server.journal().in_flight().len(), 5);
        for released in 1..=2 {
            cut.release(1);
            until(|| calls.iter().filter(|(call, _)| call.is_finished()).count() == released).await;
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            assert_eq!(
                calls.iter().filter(|(call, _)| call.is_finished()).count(),
                released
            );
            assert_eq!(cut.held(), 5 - released);
        }
        // What is held when it is taken away goes on as if it had not been.
        cut.remove();
        let mut ends = Vec::new();
        for (call, client) in calls {
            let ended = within(call).await.unwrap();
            ends.push(ended.map(drop).map_err(|error| error.code()));
            drop(client);
        }
        let lost = Err(Some(Code::Unavailable));
        assert_eq!(ends, [lost, lost, Ok(()), Ok(()), Ok(())], "{wire:?}");
        let mut outcomes: Vec<_> = server
            .calls()
            .iter()
            .map(|call| call.outcome().unwrap())
            .collect();
        outcomes.sort_by_key(|outcome| *outcome == Outcome::Ok);
        let (lost, ok) = (Outcome::Dropped, Outcome::Ok);
        assert_eq!(outcomes, [lost, lost, ok, ok, ok]);
        alone(&server).await;
        assert_eq!((cut.held(), cut.active(), cut.hits()), (0, 0, 5));
    }
}

fn holding() -> [(&'static str, Make); 6] {
    [
        ("hold", || Fault::hold().method("Squawk")),
        ("hold, held", || Fault::hold().method("Squawk").held()),
        ("delay", || Fault::delay(Duration::MAX).method("Squawk")),
        ("cut, held", || Fault::cut().method("Squawk").held()),
        ("status, held", || {
            Fault::status(Status::not_found("")).method("Squawk").held()
        }),
        ("reset, held", || {
            Fault::reset(Reason::CANCEL)
                .after_messages(1)
                .method("Squawk")
                .held()
        }),
    ]
}

#[tokio::test]
async fn a_client_that_gives_up_is_let_go() {
    for wire in Wire::all() {
        for (name, fault) in holding() {
            let server = wire.start().await;
            let caller = client(&server).await;
            let fault = server.inject(fault());
            let call = start(&caller);
            within(fault.hit()).await;
            assert_eq!(fault.active(), 1, "{name}");
            call.abort();
            let recorded = server.calls_to("Squawk").pop().unwrap();
            assert_eq!(
                within(recorded.ended()).await,
                Outcome::Cancelled,
                "{wire:?} {name}"
            );
            assert_eq!(recorded.faults().len(), 1);
            until(|| fault.active() == 0 && fault.held() == 0).await;
            fault.remove();
            squawk(&caller).await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_released_once_goes_on() {
    for (name, fault) in &holding()[..2] {
        let server = Wire::all()[0].start().await;
        let caller = client(&server).await;
        let fault = server.inject(fault());
        let calls = [start(&caller), start(&caller)];
        within(fault.wait_for_hits(2)).await;
        until(|| fault.held() == 2).await;
        fault.release(1);
        until(|| calls.iter().filter(|call| call.is_finished()).count() == 1).await;
        assert_eq!(fault.held(), 1, "{name}");
        fault.open();
        for call in calls {
            within(call).await.unwrap().unwrap();
        }
        squawk(&caller).await.unwrap();
        assert_eq!((fault.hits(), fault.held(), fault.active()), (3, 0, 0));
    }
}

/// {how the server ends} × {what holds its calls}: nobody hangs, and no task is left.
#[tokio::test]
async fn a_server_ends_while_calls_are_held() {
    let tasks = Handle::current().metrics().num_alive_tasks();
    for wire in Wire::all() {
        for (name, fault) in holding() {
            for way in ["kill", "shutdown", "drop"] {
                let server = wire.start().await;
                let caller = client(&server).await;
                let fault = server.inject(fault());
                let calls = [start(&caller), start(&caller)];
                within(fault.wait_for_hits(2)).await;
                match way {
                    "kill" => within(server.kill().into_future()).await,
                    "shutdown" => within(server.shutdown(MS)).await,
                    _ => {}
                }
                let record = server.journal();
                if way != "drop" {
                    assert_eq!(
                        (fault.active(), fault.held()),
                        (0, 0),
                        "{wire:?} {name} {way}"
                    );
                }
                drop(server);
                for call in calls {
                    let error = within(call).await.unwrap().unwrap_err();
                    assert_eq!(
                        error.code(),
                        Some(Code::Unavailable),
                        "{wire:?} {name} {way}"
                    );
                }
                drop(caller);
                until(|| Handle::current().metrics().num_alive_tasks() <= tasks).await;
                assert_eq!(
                    (fault.active(), fault.held()),
                    (0, 0),
                    "{wire:?} {name} {way}"
                );
                let outcomes: Vec<_> = record
                    .to("Squawk")
                    .calls()
                    .iter()
                    .map(Call::outcome)
                    .collect();
                assert_eq!(
                    outcomes,
                    [Some(Outcome::Dropped); 2],
                    "{wire:?} {name} {way}"
                );
                // They have nothing to take away any more.
                fault.release(1);
                fault.remove();
            }
        }
    }
}

#[tokio::test]
async fn a_scoped_fault_is_undone_when_it_drops() {
    for wire in Wire::all() {
        let server = wire.start().await;
        let caller = client(&server).await;
        squawk(&caller).await.unwrap();
        for fault in [
            Fault::hold().method("Squawk"),
            Fault::stall(),
            Fault::silence(),
            Fault::refuse(),
        ] {
            let name = format!("{fault:?}");
            let scoped = server.inject_scoped(fault);
            let call = start(&caller);
            let dialling = tokio::spawn(dialling(&server).connect());
            within(scoped.wait_for_hits(1)).await;
            drop(scoped);
            within(call).await.unwrap().unwrap();
            let dialled = within(dialling).await.unwrap();
            assert!(
                dialled.is_ok() || name.contains("refuse"),
                "{wire:?} {name}"
            );
            squawk(&client(&server).await).await.unwrap();
        }
    }
}

/// A thousand connections, each delayed, sliced, flipped or cut: when they are gone nothing is left of them.
#[tokio::test]
async fn nothing_is_left_of_a_thousand_connections() {
    let tasks = Handle::current().metrics().num_alive_tasks();
    for transport in Transport::ALL {
        let server = transport.start().await;
        server.mount(Stub::any().reply(json!({})).times(0..));
        let faults = [
            Fault::latency(Duration::ZERO),
            Fault::slices(64, Duration::ZERO).connection(..500),
            Fault::flip_bytes(1).after_bytes(100).connection(100..200),
            Fault::cut().after_bytes(120).connection(200..300),
            Fault::pings(2).method("Get").nth_call_on_connection(1),
            Fault::slow_accept(Duration::ZERO),
        ]
        .map(|fault| server.inject(fault));
        for _ in 0..350 {
            if let Ok(client) = within(Client::connect(server.address())).await {
                let _ = within(client.call("Get", json!({})).into_future()).await;
            }
        }
        alone(&server).await;
        assert_eq!(
            faults.each_ref().map(|fault| fault.active()),
            [0; 6],
            "{transport:?}"
        );
        assert!(faults[0].hits() >= 350);
        drop(server);
        until(|| Handle::current().metrics().num_alive_tasks() <= tasks).await;
    }
}
