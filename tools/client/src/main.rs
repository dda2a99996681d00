//! The client's executable; everything is in the library, from which the man page is made too.

fn main() -> std::process::ExitCode {
    shout_client::main(std::env::args_os())
}
