//! The command line: the operations' subcommands and the program's own.

use std::path::PathBuf;

use clap::{Arg, ArgAction, Command, value_parser};
use clap_complete::Shell;
use domain::operation::OperationDef;

/// The whole command.
pub fn command(operations: &[OperationDef]) -> Command {
    surfaces::cli::command(operations)
        .arg(
            Arg::new("data-dir")
                .long("data-dir")
                .env("REEVE_DATA_DIR")
                .global(true)
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .help("Where everything is kept: /var/lib/reeve for root, else $XDG_DATA_HOME/reeve"),
        )
        .subcommand(serve().display_order(1_000))
        .subcommand(mcp().display_order(1_001))
        .subcommand(import().display_order(1_002))
        .subcommand(restore().display_order(1_003))
        .subcommand(completions().display_order(1_004))
        .subcommand(record())
}

fn config() -> Arg {
    Arg::new("config")
        .long("config")
        .env("REEVE_CONFIG")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("The configuration; config.example.toml shows every setting")
}

fn serve() -> Command {
    Command::new("serve")
        .about("Watches the fleet and answers over HTTP and the data directory's socket")
        .arg(config())
        .arg(
            Arg::new("listen")
                .long("listen")
                .value_name("ADDR")
                .help("Address and port, 127.0.0.1:8420 unless set; port 0 takes a free one"),
        )
        .arg(
            Arg::new("log-json")
                .long("log-json")
                .action(ArgAction::SetTrue)
                .help("Logs a JSON object a line"),
        )
}

fn mcp() -> Command {
    Command::new("mcp")
        .about("Speaks MCP over standard input and output")
        .long_about(
            "Speaks MCP over standard input and output, for assistants on this machine. Where a server runs, it is spoken \
             to; otherwise this watches the fleet itself until its input ends.",
        )
        .arg(config())
        .arg(
            Arg::new("toolsets")
                .long("toolsets")
                .value_name("NAMES")
                .help("Which tools to list: fleet, containers, metrics, admin, readings; separated by commas"),
        )
}

fn import() -> Command {
    Command::new("import")
        .about("Adds the hosts of ~/.ssh/config and of Tailscale")
        .long_about(
            "Reads the hosts of ~/.ssh/config, and of `tailscale status --json` where that command is, tests them side \
             by side, shows what would be added and the fingerprints of host keys to approve, and asks before it does either.",
        )
        .arg(config())
        .arg(
            Arg::new("HOSTS").num_args(0..).help("Only these hosts; all unless named"),
        )
        .arg(
            Arg::new("ssh-config")
                .long("ssh-config")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("The ssh_config to read instead of ~/.ssh/config"),
        )
        .arg(Arg::new("dry-run").long("dry-run").action(ArgAction::SetTrue).help("Only looks, adds nothing"))
        .arg(Arg::new("yes").long("yes").short('y').action(ArgAction::SetTrue).help("Adds without asking"))
        .arg(
            Arg::new("approve-keys")
                .long("approve-keys")
                .action(ArgAction::SetTrue)
                .help("Approves the host keys that are shown, without asking: only on a network that you trust"),
        )
}

/// For those who write collectors: `cargo xtask record` calls it.
fn record() -> Command {
    Command::new("record")
        .hide(true)
        .about("Writes a transcript of what a device answers a collector; the server must not run")
        .arg(config())
        .arg(Arg::new("DEVICE").required(true).help("The device's name"))
        .arg(Arg::new("COLLECTOR").required(true).help("The collector's name"))
        .arg(
            Arg::new("out")
                .long("out")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Where to write it; standard output unless set"),
        )
}

fn restore() -> Command {
    Command::new("restore")
        .about("Takes back a copy that `reeve backup` wrote; the server must not run")
        .arg(Arg::new("FILE").required(true).value_parser(value_parser!(PathBuf)).help("The copy"))
}

fn completions() -> Command {
    Command::new("completions")
        .about("Prints a script that completes reeve in a shell")
        .arg(Arg::new("SHELL").required(true).value_parser(value_parser!(Shell)).help("The shell"))
}
