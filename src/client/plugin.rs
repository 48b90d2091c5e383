//! What a host does with its plugin: see whether it is there, and tell it to end.

use crate::client::handle::Client;
use crate::error::{Error, Kind};
use crate::proto::plugin::Empty;
use tonic::Code;

/// The name that the health of every plugin has
/// ([go-plugin](https://github.com/hashicorp/go-plugin/blob/main/grpc_server.go)).
const PLUGIN: &str = "plugin";

impl Client {
    /// Sees whether a plugin is there, as go-plugin's [`Ping`](https://pkg.go.dev/github.com/hashicorp/go-plugin#GRPCClient.Ping)
    /// does: by a health check of `plugin`, whose answer may be anything. ([`health`](Self::health) tells which.)
    ///
    /// # Errors
    ///
    /// When there is no answer, or one that no plugin gives: `NOT_FOUND` or `UNIMPLEMENTED`.
    pub async fn ping(&self) -> Result<(), Error> {
        self.health(PLUGIN).await.map(drop)
    }

    /// Tells the plugin to end (`plugin.GRPCController/Shutdown`), as a host does with a plugin that it has launched. A direct
    /// client shares its server with others: nothing but this does it, least of all [`close`](Self::close) or dropping.
    ///
    /// A plugin that ends before it has answered has done as it was told: plugins of go-plugin do.
    ///
    /// # Errors
    ///
    /// When the client has other than one endpoint (make one for each server), the server cannot be reached, does not answer
    /// in time, or does not let itself be told (`UNIMPLEMENTED` for one that is no plugin).
    pub async fn shutdown_server(&self) -> Result<(), Error> {
        let endpoints = self.stats().endpoints.len();
        if endpoints != 1 {
            let text = format!(
                "a client of {endpoints} servers cannot tell which of them is to shut down: \
                 connect another client to the one that is meant"
            );
            return Err(Error::new(Kind::Config, text));
        }
        let shutdown = self.unary::<_, Empty>("/plugin.GRPCController/Shutdown", Empty {});
        match shutdown.compress(None).await {
            Ok(Empty {}) => Ok(()),
            Err(error) if error.code() == Some(Code::Unavailable) && !error.is_connect() => Ok(()),
            Err(error) => Err(error),
        }
    }
}
