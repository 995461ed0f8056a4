//! The program, serving in a process of its own: for what an in-process server cannot show.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::Client;

/// The program; killed when dropped.
pub struct Serving {
    child: Child,
    /// What it printed before it listened.
    pub greeting: String,
    client: Client,
    log: Arc<Mutex<String>>,
    log_reader: Option<JoinHandle<()>>,
}

impl Serving {
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program");
        let log = Arc::new(Mutex::new(String::new()));
        let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let url = read_until_listening(&mut stderr, &log);
        let kept = log.clone();
        let log_reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                *kept.lock().unwrap() += &(line + "\n");
            }
        });
        let mut greeting = String::new();
        if log.lock().unwrap().contains("created the administrator") {
            let mut lines = BufReader::new(child.stdout.as_mut().expect("a pipe"))
                .lines()
                .map_while(Result::ok);
            let border = |line: &String| line.starts_with("====");
            lines.by_ref().find(border).expect("a border");
            greeting = lines.take_while(|line| !border(line)).collect::<Vec<_>>().join("\n");
        }
        Self {
            child,
            greeting,
            client: Client { url },
            log,
            log_reader: Some(log_reader),
        }
    }

    pub fn server(&self) -> &Client {
        &self.client
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// `TERM`, `INT`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.child.id())])
            .status();
        assert!(sent.expect("sh").success());
    }

    /// Waits for the end; what the program has logged.
    pub fn ended(&mut self) -> (ExitStatus, String) {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the program") {
                break status;
            }
            assert!(start.elapsed() < Duration::from_secs(40), "the program does not end");
            std::thread::sleep(Duration::from_millis(20));
        };
        if let Some(reader) = self.log_reader.take() {
            reader.join().expect("the log");
        }
        (status, self.log.lock().unwrap().clone())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        self.child.wait().expect("the program's end");
    }
}

fn read_until_listening(stderr: &mut BufReader<ChildStderr>, log: &Mutex<String>) -> String {
    loop {
        let mut line = String::new();
        if stderr.read_line(&mut line).expect("the log") == 0 {
            stderr.read_to_string(&mut line).expect("the log");
            panic!("the server did not start: {}", log.lock().unwrap());
        }
        *log.lock().unwrap() += &line;
        if let Some((_, rest)) = line.split_once("listening on ") {
            let url = rest.split(['"', '\n']).next().unwrap_or_default();
            return url.trim_end_matches('/').to_owned();
        }
    }
}
