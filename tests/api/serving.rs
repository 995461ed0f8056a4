//! Runs the program as a server in its own process, for what a server inside the test process cannot show.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::support::Client;
use crate::wait::wait_for;

/// The program, which may not listen yet. Killed when dropped.
pub struct Process {
    child: Child,
    log: Arc<Mutex<String>>,
    log_reader: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts the program and collects its log.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let log = Arc::new(Mutex::new(String::new()));
        let lines = log.clone();
        let log_reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                *lines.lock().unwrap() += &(line + "\n");
            }
        });
        Self {
            child,
            log,
            log_reader: Some(log_reader),
        }
    }

    /// Waits for a log line that contains `text` and returns the rest of it.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) -> String {
        wait_for(text, || {
            // In this order, because the last lines may arrive after the reader was seen at work.
            let is_complete = self.log_reader.as_ref().is_none_or(JoinHandle::is_finished);
            let log = self.log.lock().unwrap();
            let found = log.lines().find_map(|line| line.split_once(text));
            assert!(
                found.is_some() || !is_complete,
                "the program ended without {text}: {log}"
            );
            found.map(|(_, rest)| rest.to_owned())
        })
    }

    /// Returns whether a log line contains `text`.
    pub fn has_logged(&self, text: &str) -> bool {
        self.log.lock().unwrap().contains(text)
    }

    /// Waits until the program can be called.
    pub fn wait_until_listening(mut self) -> Serving {
        let rest = self.wait_for_log("listening on ");
        let url = rest
            .split('"')
            .next()
            .unwrap_or_default()
            .trim_end_matches('/')
            .to_owned();
        let mut greeting = String::new();
        if self.has_logged("created the administrator") {
            let stdout = BufReader::new(self.child.stdout.as_mut().expect("a pipe"));
            let mut lines = stdout.lines().map_while(Result::ok);
            let border = |line: &String| line.starts_with("====");
            lines.by_ref().find(border).expect("a border");
            greeting = lines.take_while(|line| !border(line)).collect::<Vec<_>>().join("\n");
        }
        Serving {
            process: self,
            greeting,
            client: Client { url },
        }
    }

    /// Waits until the program ends and returns all that it has logged.
    fn ended(&mut self) -> (ExitStatus, String) {
        let status = wait_for("the end of the program", || self.child.try_wait().expect("the program"));
        if let Some(reader) = self.log_reader.take() {
            reader.join().expect("the log");
        }
        (status, self.log.lock().unwrap().clone())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        self.child.wait().expect("the program's end");
    }
}

/// A running server. Killed when dropped.
pub struct Serving {
    process: Process,
    /// The text that a first start prints for its user. Empty at later starts.
    pub greeting: String,
    client: Client,
}

impl Serving {
    pub fn start(command: Command) -> Self {
        Process::spawn(command).wait_until_listening()
    }

    pub fn server(&self) -> &Client {
        &self.client
    }

    pub fn process_id(&self) -> u32 {
        self.process.child.id()
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.process_id())])
            .status();
        assert!(sent.expect("sh").success());
    }

    /// Waits until the server ends and returns all that it has logged.
    pub fn ended(&mut self) -> (ExitStatus, String) {
        self.process.ended()
    }
}
