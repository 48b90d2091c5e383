//! Saving a journal.

use crate::error::{Error, Kind};
use crate::mock::journal::Journal;
use crate::mock::recording::file::{FORMAT, Recorded};
use serde_json::{Value, json};
use std::{fs, path::Path};

impl Journal {
    /// Saves the calls to a file, from which [`replay`](crate::mock::MockServerBuilder::replay) makes stubs: with a mock that
    /// [passes calls on](crate::mock::MockServerBuilder::proxy_to) to a real server, a test records once and runs without that
    /// server from then on.
    ///
    /// The file is JSON to be read, reviewed and edited. It has each call's method, metadata without
    /// [secrets](crate::mock::MockServerBuilder::redact), messages, status and trailers, and nothing that is different in the next
    /// recording, such as times or ports. Messages are JSON where the mock has their schema, else base64. Calls that nothing
    /// served are left out, and so are those to the mock's own services, those of [secret stubs](crate::Stub::secret), and those
    /// that [`Auth`](crate::Auth) refused; one that has not ended is saved, and replayed, up to where it
    /// is. Directories are made as needed.
    ///
    /// ```
    /// # use rpcplugin_testkit::{MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let path = directory.path().join("recordings/get.json");
    /// # let real = MockServer::start().await;
    /// # real.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// let recorder = MockServer::builder().proxy_to(real.address()).start().await;
    /// recorder.client().await.call("Get", json!({"key": "a"})).await?;
    /// recorder.journal().save(&path)?;
    ///
    /// let server = MockServer::builder().replay(&path).start().await;
    /// let reply = server.client().await.call("Get", json!({"key": "a"})).await?;
    /// assert_eq!(reply["value"], 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When the file cannot be written, and when the journal had no room for some calls and is not whole.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let calls = self.calls();
        let unsaved = |problem: &str| {
            let text = format!("cannot save the journal to {}", path.display());
            Error::new(Kind::Config, text).caused_by(problem.to_owned())
        };
        let dropped = self.dropped();
        if dropped > 0 {
            return Err(unsaved(&format!(
                "of {dropped} calls it had no room: raise its `journal_limit`"
            )));
        }
        let served = calls
            .iter()
            .filter(|call| call.server_id().is_some() && !call.is_secret());
        let calls: Vec<Value> = served.map(|call| Recorded::of(call).to_json()).collect();
        let recording = json!({"calls": calls, "format": FORMAT});
        let directory = path.parent().filter(|path| !path.as_os_str().is_empty());
        let written = directory
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(path, format!("{recording:#}\n")));
        written.map_err(|error| unsaved(&error.to_string()))
    }
}
