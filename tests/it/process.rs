//! Other programs, which share no code with this crate: the independent judges of both wings.

use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::{env, thread};
use tokio::{runtime::Handle, sync::mpsc};

/// A running program. Its pipes are read by threads, so that a mock on the test's own thread can serve it meanwhile.
pub(crate) struct Running {
    process: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::UnboundedReceiver<String>,
    stderr: Option<thread::JoinHandle<String>>,
}

/// How a program ended, and what it had not been asked for by then.
pub(crate) struct Ended {
    pub(crate) success: bool,
    /// What was left of its stdout, and all of its stderr.
    pub(crate) text: String,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut stderr = process.stderr.take().expect("it is piped");
        let (line, lines) = mpsc::unbounded_channel();
        thread::spawn(move || {
            let mut read = stdout.split(b'\n').map_while(Result::ok);
            // What it passes on from a connection need not be text.
            read.all(|text| line.send(lossy(&text)).is_ok())
        });
        let stderr = thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            lossy(&text)
        });
        Self {
            stdin: process.stdin.take(),
            process,
            lines,
            stderr: Some(stderr),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Writes to its stdin, which stays open.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("its stdin is open");
        let sent = stdin.write_all(bytes).and_then(|()| stdin.flush());
        sent.unwrap_or_else(|error| panic!("the program ended: {error}:\n{}", self.stop()));
    }

    /// The next line that it prints.
    #[track_caller]
    pub(crate) fn line(&mut self) -> impl Future<Output = String> {
        within(async {
            let line = self.lines.recv().await;
            line.unwrap_or_else(|| panic!("the program ended:\n{}", self.stop()))
        })
    }

    /// The next JSON that it prints.
    #[track_caller]
    pub(crate) fn told(&mut self) -> impl Future<Output = Value> {
        let line = self.line();
        async { serde_json::from_str(&line.await).expect("the program prints JSON") }
    }

    /// All that it prints up to a line for which this holds, that line too.
    #[track_caller]
    pub(crate) fn until(&mut self, last: impl Fn(&str) -> bool) -> impl Future<Output = String> {
        within(async move {
            let mut text = String::new();
            while let Some(line) = self.lines.recv().await {
                text += &format!("{line}\n");
                if last(&line) {
                    return text;
                }
            }
            panic!("the program ended:\n{text}{}", self.stop())
        })
    }

    /// Closes its stdin and lets it end, and checks that it printed nothing more and did not fail.
    pub(crate) async fn finish(mut self) {
        self.stdin = None;
        assert_eq!(within(self.lines.recv()).await, None);
        let Ended { success, text } = self.ended().await;
        assert!(success, "{text}");
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(mut self) -> Ended {
        let mut text = String::new();
        within(async {
            while let Some(line) = self.lines.recv().await {
                text += &format!("{line}\n");
            }
        })
        .await;
        // It closes its stdout by ending.
        let status = self.process.wait().expect("it ends");
        text += &self.stop();
        Ended {
            success: status.success(),
            text,
        }
    }

    /// Closes its stdin, which is what ends it, and waits for that.
    pub(crate) async fn leave(mut self) -> Ended {
        self.stdin = None;
        self.ended().await
    }

    /// Ends it at once. What it wrote to stderr is given once.
    pub(crate) fn stop(&mut self) -> String {
        // They fail when it has ended by itself.
        let _ = self.process.kill().and_then(|()| self.process.wait());
        let stderr = self.stderr.take().map(thread::JoinHandle::join);
        stderr.and_then(Result::ok).unwrap_or_default()
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Drop for Running {
    #[expect(clippy::print_stderr, reason = "a wait that timed out cannot tell it")]
    fn drop(&mut self) {
        let stderr = self.stop();
        if thread::panicking() && !stderr.is_empty() {
            eprintln!("the program wrote:\n{stderr}");
        }
    }
}

/// Runs one ignored test of this binary in a process of its own, which no other test shares, and checks that it passes.
#[track_caller]
pub(crate) fn alone(test: &str, variables: &[(&str, &Path)]) {
    let mut command = Command::new(env::current_exe().expect("this test is a program"));
    command.args(["--exact", test, "--ignored"]);
    command.envs(variables.iter().copied());
    let output = command.output().expect("it runs");
    let told = lossy(&output.stdout) + &lossy(&output.stderr);
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{test}:\n{told}"
    );
}

/// Open files of this process, where the system tells.
pub(crate) fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Lets what was told to end do so.
pub(crate) async fn settle(tasks: usize) {
    let metrics = Handle::current().metrics();
    for _ in 0..100_000 {
        if metrics.num_alive_tasks() <= tasks {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!(
        "{} tasks are alive, expected {tasks}",
        metrics.num_alive_tasks()
    );
}
