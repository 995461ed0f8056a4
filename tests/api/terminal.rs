//! Runs the program at a terminal. There, the program prompts for a password without showing what is typed.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use test_support::wait::{wait_for, wait_until};

/// A terminal with a running program. Dropping this value kills the program.
pub struct Terminal {
    /// The user's side of the terminal. The test reads the program's output from it, and types by writing to it.
    user_side: File,
    child: Child,
    screen: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Starts the program with a new terminal as its standard input and output.
    pub fn run(program: &Command) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let user_side = openpt(flags).expect("no terminal: run ./scripts/test, which mounts devpts if it is missing");
        grantpt(&user_side).unwrap();
        unlockpt(&user_side).unwrap();
        let program_side = ioctl_tiocgptpeer(&user_side, flags).unwrap();
        let mut command = with_controlling_terminal(program);
        command
            .stdin(program_side.try_clone().unwrap())
            .stdout(program_side.try_clone().unwrap())
            .stderr(program_side);
        let child = command.spawn().expect("setsid can be started");
        // The reader stops only when the program's side is closed everywhere. `command` still has it open.
        drop(command);
        let user_side = File::from(user_side);
        let screen = Arc::new(Mutex::new(String::new()));
        let (mut output, printed) = (user_side.try_clone().unwrap(), screen.clone());
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            // On Linux, reading fails after the program's side is closed.
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                *printed.lock().unwrap() += &String::from_utf8_lossy(&bytes[..length]);
            }
        });
        Self {
            user_side,
            child,
            screen,
            reader: Some(reader),
        }
    }

    /// Waits for a prompt, and then until the terminal no longer echoes input. Then types a line.
    pub fn type_at_prompt(&mut self, prompt: &str, line: &str) {
        wait_until(prompt, || self.screen.lock().unwrap().ends_with(prompt));
        // The program prints the prompt before it switches the echo off.
        let has_echo = || {
            let modes = tcgetattr(&self.user_side).unwrap().local_modes;
            modes.contains(LocalModes::ECHO)
        };
        wait_until("the echo is off", || !has_echo());
        writeln!(self.user_side, "{line}").unwrap();
    }

    /// Waits until the program exits, and returns its exit code and what it has printed.
    pub fn wait_until_exit(mut self) -> (Option<i32>, String) {
        let status = wait_for("the program exits", || self.child.try_wait().unwrap());
        self.reader.take().unwrap().join().unwrap();
        let screen = self.screen.lock().unwrap().clone();
        (status.code(), screen)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // `kill` fails if the program has already exited.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Wraps a command so that its standard input becomes its controlling terminal, from which the program reads passwords.
/// Setting the controlling terminal needs unsafe code or, as here, the command `setsid`.
fn with_controlling_terminal(program: &Command) -> Command {
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait"]);
    command.arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}
