//! Runs programs: a command until it exits, or a server in a process of its own.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::client::Client;
use crate::wait::wait_for;

/// Returns a command whose environment contains no settings of `shoko-auth`.
pub fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("SHOKO_AUTH_") || ["DATABASE_URL", "DATABASE_URL_FILE", "RUST_LOG"].contains(&&*name) {
            command.env_remove(&*name);
        }
    }
    command
}

/// Runs a program with `input` on its standard input, and waits until it exits.
pub fn run_with_input(command: &mut Command, input: &str) -> Output {
    let pipes = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("the program can be started");
    // Writing fails if the program has already exited without reading its input. That is not an error.
    drop(child.stdin.take().expect("a pipe").write_all(input.as_bytes()));
    child.wait_with_output().expect("the program exits")
}

/// A running program. A server might not be listening yet. Dropping this value kills it.
pub struct Process {
    child: Child,
    stdout: OutputLines,
    /// The log.
    stderr: OutputLines,
}

impl Process {
    /// Starts the program and collects its output.
    pub fn spawn(mut command: Command) -> Self {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("the program can be started");
        Self {
            stdout: OutputLines::collect(child.stdout.take().expect("a pipe")),
            stderr: OutputLines::collect(child.stderr.take().expect("a pipe")),
            child,
        }
    }

    /// Waits for a log line that contains `text`, and returns the part of the line after `text`.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) -> String {
        self.stderr.wait_for(text)
    }

    /// Returns whether a log line contains `text`.
    pub fn has_logged(&self, text: &str) -> bool {
        self.stderr.text().contains(text)
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.child.id())])
            .status();
        assert!(sent.expect("sh can be started").success());
    }

    /// Waits until the program exits, and returns its status and its log.
    pub fn wait_until_exit(&mut self) -> (ExitStatus, String) {
        let status = wait_for("the program exits", || {
            self.child.try_wait().expect("the process has a status")
        });
        (status, self.stderr.wait_until_closed())
    }

    /// Waits for the log line that reports the address of the server.
    #[track_caller]
    pub fn wait_until_listening(self) -> ServerProcess {
        let rest = self.wait_for_log(LISTENING);
        self.into_server(&rest)
    }

    /// Waits for the line on standard output that reports the address of the server.
    #[track_caller]
    pub fn wait_until_printed_listening(self) -> ServerProcess {
        let rest = self.stdout.wait_for(LISTENING);
        self.into_server(&rest)
    }

    fn into_server(self, rest_of_line: &str) -> ServerProcess {
        let url = rest_of_line.split('"').next().unwrap_or_default();
        let client = Client {
            url: url.trim_end_matches('/').to_owned(),
        };
        ServerProcess { process: self, client }
    }
}

/// The text before the URL in the line that reports the address of the server.
const LISTENING: &str = "listening on ";

impl Drop for Process {
    fn drop(&mut self) {
        // `kill` fails if the program has already exited.
        drop(self.child.kill());
        self.child.wait().expect("the program exits");
    }
}

/// The lines that a program prints, collected by a thread.
struct OutputLines {
    text: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl OutputLines {
    fn collect(output: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let collected = text.clone();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                *collected.lock().unwrap() += &(line + "\n");
            }
        });
        Self { text, reader }
    }

    fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// Waits for a line that contains `text`, and returns the part of the line after `text`.
    #[track_caller]
    fn wait_for(&self, text: &str) -> String {
        wait_for(text, || {
            // Check the reader before reading the text. Otherwise the last lines could arrive in between and be missed.
            let is_complete = self.reader.is_finished();
            let printed = self.text();
            let found = printed.lines().find_map(|line| line.split_once(text));
            assert!(
                found.is_some() || !is_complete,
                "the program exited before it printed {text:?}: {printed}"
            );
            found.map(|(_, rest)| rest.to_owned())
        })
    }

    /// Waits until the program has closed this output, and returns all of it.
    fn wait_until_closed(&self) -> String {
        wait_for("the output is closed", || {
            self.reader.is_finished().then(|| self.text())
        })
    }
}

/// A server in a process of its own. Dropping this value kills the server.
pub struct ServerProcess {
    process: Process,
    client: Client,
}

impl std::ops::Deref for ServerProcess {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl ServerProcess {
    /// Starts the program and waits for the log line that reports its address.
    #[track_caller]
    pub fn start(command: Command) -> Self {
        Process::spawn(command).wait_until_listening()
    }

    pub fn process_id(&self) -> u32 {
        self.process.child.id()
    }

    /// Returns the text that the first start prints on standard output. After a later start, returns an empty text.
    pub fn greeting(&self) -> String {
        const BORDER: &str = "====";
        if !self.process.has_logged("created the administrator") {
            return String::new();
        }
        wait_for("the greeting", || {
            let printed = self.process.stdout.text();
            let is_border = |line: &&str| line.starts_with(BORDER);
            let lines = printed.lines().skip_while(|line| !is_border(line)).skip(1);
            let lines: Vec<&str> = lines.collect();
            let end = lines.iter().position(is_border)?;
            Some(lines[..end].join("\n"))
        })
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Waits until the server exits, and returns its status and its log.
    pub fn wait_until_exit(&mut self) -> (ExitStatus, String) {
        self.process.wait_until_exit()
    }
}
