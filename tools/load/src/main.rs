//! The load generator's executable; everything is in the library, where tests and races reach it too.

fn main() -> std::process::ExitCode {
    shout_load::main(std::env::args_os())
}
