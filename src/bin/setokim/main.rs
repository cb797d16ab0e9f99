//! The command line.

use clap::{Parser, Subcommand};

mod complete;

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Complete(complete::Args),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Complete(args) => complete::run(args),
    }
}
