//! Connections that come as streams of one, as go-plugin's
//! [hosts make them](https://github.com/hashicorp/go-plugin/blob/main/internal/grpcmux/grpc_server_muxer.go) when they ask
//! for it: the next stream after a knock goes to whatever is offered under its number, all others to the server itself.

use crate::address::Address;
use crate::mock::open::{Entrance, Open, admit};
use crate::mock::serve::Service;
use crate::net::{MuxStream, Stream, Switched, dial, serve_mux};
use std::sync::Arc;
use tokio::io::{copy_bidirectional, duplex};

/// How much of a stream waits on its way to the server.
const PIPE: usize = 64 << 10;

/// Takes all streams of a connection, in a task.
pub(super) fn accept(
    stream: Stream,
    peer: Address,
    entrance: &Arc<Entrance>,
    open: &Arc<Open>,
    service: &Arc<Service>,
) {
    let (switched, cut) = Switched::new(stream, &entrance.freezer);
    let Some(session) = open.add_session(cut) else {
        return;
    };
    let (entrance, open, service) = (Arc::clone(entrance), Arc::clone(open), Arc::clone(service));
    let (opener, mut streams, driven) = serve_mux(switched);
    service.builtin.brokered.has_session(opener);
    let taking = async move {
        while let Some(stream) = streams.recv().await {
            if let Some(offered) = service.builtin.brokered.knocked() {
                tokio::spawn(pass_on(stream, offered));
                continue;
            }
            let (server, outside) = duplex(PIPE);
            tokio::spawn(bridge(stream, outside));
            let own = Stream::Memory(server);
            if !admit(own, peer.clone(), &entrance, &open, &service) {
                return;
            }
        }
    };
    tokio::spawn(async move {
        tokio::select! {
            ended = driven => if let Err(error) = ended {
                tracing::debug!(%error, "a multiplexed connection ended");
            },
            // It is driven for as long as there are streams.
            () = async { taking.await; std::future::pending().await } => {}
        }
        drop(session);
    });
}

/// A stream on its way to another server. It is closed with either.
async fn pass_on(mut stream: MuxStream, offered: Address) {
    match dial(&offered).await {
        Ok(mut server) => {
            // Either side may break off.
            let _ = copy_bidirectional(&mut stream, &mut server).await;
        }
        Err(error) => tracing::warn!(%error, "what is offered to the host cannot be reached"),
    }
}

async fn bridge(mut stream: MuxStream, mut server: tokio::io::DuplexStream) {
    let _ = copy_bidirectional(&mut stream, &mut server).await;
}
