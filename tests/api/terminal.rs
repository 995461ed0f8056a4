//! Runs the program at a terminal, for what it does only there: asking for a password without showing it.

use std::fs::File;
use std::io::{Read, Write};
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::support::{PROGRAM, TestDatabase};
use crate::wait::{wait_for, wait_until};

/// A terminal with the program. The program is killed when this is dropped.
pub struct Terminal {
    /// Reads what the program prints and writes what the user types.
    user_side: File,
    child: Child,
    screen: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    pub fn run(database: &TestDatabase, arguments: &[&str]) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let user_side = openpt(flags).expect("a terminal: run ./scripts/test, which mounts devpts where it is missing");
        grantpt(&user_side).unwrap();
        unlockpt(&user_side).unwrap();
        let program_side = ioctl_tiocgptpeer(&user_side, flags).unwrap();
        // The program asks at its controlling terminal. Only `setsid` can set that without unsafe code.
        let mut command = database.command("setsid", &[&["--ctty", "--wait", PROGRAM], arguments].concat());
        command
            .stdin(program_side.try_clone().unwrap())
            .stdout(program_side.try_clone().unwrap())
            .stderr(program_side);
        let child = command.spawn().expect("setsid");
        // Reading ends only when no process has the program's side open.
        drop(command);
        let user_side = File::from(user_side);
        let screen = Arc::new(Mutex::new(String::new()));
        let (mut output, printed) = (user_side.try_clone().unwrap(), screen.clone());
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            // On Linux the end is an error.
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

    /// Waits for a prompt, and until the program does not show what is typed, and types a line.
    pub fn answer(&mut self, prompt: &str, line: &str) {
        wait_until(prompt, || self.screen.lock().unwrap().ends_with(prompt));
        // The program prints the prompt first.
        let shows_input = || {
            tcgetattr(&self.user_side)
                .unwrap()
                .local_modes
                .contains(LocalModes::ECHO)
        };
        wait_until("what is typed is not shown", || !shows_input());
        writeln!(self.user_side, "{line}").unwrap();
    }

    /// Waits until the program ends, and returns its exit code and what it has printed.
    pub fn ended(mut self) -> (Option<i32>, String) {
        let status = wait_for("the end of the program", || self.child.try_wait().unwrap());
        self.reader.take().unwrap().join().unwrap();
        let screen = self.screen.lock().unwrap().clone();
        (status.code(), screen)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
