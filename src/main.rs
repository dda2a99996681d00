//! The server's executable; everything is in the library, where tests and the load tool reach it too.

fn main() -> std::process::ExitCode {
    shout::run(std::env::args_os())
}
