//! The program. It only calls the library, which contains all the code.

use std::process::ExitCode;

fn main() -> ExitCode {
    shoko_auth::cli::main()
}
