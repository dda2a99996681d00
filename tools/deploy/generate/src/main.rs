//! Writes the man pages of the three programs and their completions for bash, zsh and fish, out of the same definitions
//! that read the command lines. Does I/O: makes directories and files.
//!
//! They are made on demand and not kept in the tree: what is made cannot be out of step, and a flag changes in one place.
//! They lie as under a `share` directory, so `generate /usr/local/share` installs them.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Command, CommandFactory as _, Parser};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

/// Writes the man pages and shell completions of shout-server, shout-client and shout-load
#[derive(Parser)]
#[command(name = "generate")]
struct Arguments {
    /// The directory that shells and `man` look under, such as ~/.local/share or /usr/local/share
    share: PathBuf,
}

fn main() -> ExitCode {
    let arguments: Arguments = match shout::arguments::parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    match programs().into_iter().try_for_each(|program| write_all(program, &arguments.share)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "generate: {}: {error}", arguments.share.display());
            ExitCode::FAILURE
        }
    }
}

fn programs() -> [Command; 3] {
    [
        shout::config::Config::command(),
        shout_client::command(),
        <shout_load::cli::Cli as clap::CommandFactory>::command(),
    ]
}

fn write_all(program: Command, share: &Path) -> Result<(), Box<dyn Error>> {
    let name = program.get_name().to_owned();
    for (shell, place) in [
        (Shell::Bash, format!("bash-completion/completions/{name}")),
        (Shell::Zsh, format!("zsh/site-functions/_{name}")),
        (Shell::Fish, format!("fish/vendor_completions.d/{name}.fish")),
    ] {
        let mut file = create(&share.join(place))?;
        clap_complete::generate(shell, &mut program.clone(), &name, &mut file);
        file.flush()?;
    }
    // `help` tells nothing that the pages do not, and would have one page for each.
    let mut program = program.disable_help_subcommand(true);
    program.build();
    let others: Vec<String> = programs().map(|other| other.get_name().to_owned()).into();
    let commands = std::iter::once(&program).chain(program.get_subcommands());
    for command in commands.filter(|command| !command.is_hide_set()) {
        let man = Man::new(command.clone()).manual("shout");
        let mut file = create(&share.join("man/man1").join(man.get_filename()))?;
        write_page(&man, command, &others, &mut file)?;
        file.flush()?;
    }
    Ok(())
}

fn create(path: &Path) -> io::Result<BufWriter<File>> {
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    Ok(BufWriter::new(File::create(path)?))
}

/// One page. clap has no sections of these kinds, so the examples and notes of the help are put where a manual has them.
fn write_page(man: &Man, command: &Command, others: &[String], page: &mut BufWriter<File>) -> io::Result<()> {
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(page)?;
    }
    let text = |text: Option<&clap::builder::StyledStr>| text.map(ToString::to_string).unwrap_or_default();
    let (before, after) = (text(command.get_before_help()), text(command.get_after_help()));
    let (examples, notes) = before.split_once("\n\n").unwrap_or((&before, ""));
    let mut rest = Roff::new();
    for paragraph in [notes, &after].into_iter().flat_map(|text| text.split("\n\n")).filter(|text| !text.is_empty()) {
        if rest == Roff::new() {
            rest.control("SH", ["NOTES"]);
        }
        rest.control("PP", []).text([roman(paragraph)]);
    }
    if let Some(lines) = examples.strip_prefix("Examples:\n") {
        rest.control("SH", ["EXAMPLES"]).control("nf", []);
        for line in lines.lines() {
            rest.text([roman(line)]);
        }
        rest.control("fi", []);
    }
    let see = others.iter().filter(|other| *other != command.get_name()).map(|other| format!("{other}(1)"));
    rest.control("SH", ["SEE ALSO"]).text([roman(see.collect::<Vec<_>>().join(", "))]);
    rest.to_writer(page)
}
