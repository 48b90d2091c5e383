//! What a test says of a mock that a host takes for its plugin.

use crate::mock::builtin::OnShutdown;
use crate::mock::server::MockServer;
use crate::proto::plugin::stdio_data::Channel;

/// As a plugin. Every mock serves what go-plugin's plugins serve: health of the name `plugin`, reflection,
/// `plugin.GRPCController`, `plugin.GRPCStdio` and `plugin.GRPCBroker`.
impl MockServer {
    /// The plugin has written this to its stdout: whoever calls `plugin.GRPCStdio/StreamStdio` is told, in one message. What
    /// nobody has asked for yet is kept; what one caller was told is not told again.
    ///
    /// ```
    /// # use rpcplugin_testkit::{MockServer, proto::plugin::StdioData};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.stdout("loading\n");
    ///
    /// let client = server.client().await;
    /// let mut written = client.server_stream::<_, StdioData>("/plugin.GRPCStdio/StreamStdio", ()).await.unwrap();
    /// assert_eq!(written.message().await.unwrap().unwrap().data, b"loading\n");
    /// # }
    /// ```
    pub fn stdout(&self, data: impl AsRef<[u8]>) {
        self.service
            .builtin
            .stdio
            .write(Channel::Stdout, data.as_ref());
    }

    /// The plugin has written this to its stderr. As [`stdout`](Self::stdout).
    pub fn stderr(&self, data: impl AsRef<[u8]>) {
        self.service
            .builtin
            .stdio
            .write(Channel::Stderr, data.as_ref());
    }

    /// What it does when a host tells it to end. Default: [`OnShutdown::Obey`].
    ///
    /// ```
    /// use rpcplugin_testkit::{MockServer, plugin::OnShutdown};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.on_shutdown(OnShutdown::Ignore);
    ///
    /// server.client().await.shutdown_server().await.unwrap();
    /// assert_eq!(server.calls_to("plugin.GRPCController/Shutdown").len(), 1);
    /// assert!(server.is_up());
    /// # }
    /// ```
    pub fn on_shutdown(&self, behaviour: OnShutdown) {
        self.service.builtin.controller.behave(behaviour);
    }
}
