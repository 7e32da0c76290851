//! What the remote `/bin/sh -s` reads: the one place that writes shell. Every word of an ask goes through `quoted`.
//!
//! A script is one compound command, so that a shell which got only half of it runs nothing. It frames each answer on
//! both outputs by lines that begin with a random word, so that nothing a machine says passes for a frame. Only programs
//! that were asked for are started: tests, the clock and the frames are builtins.

use std::fmt::Write;

use domain::ask::{Ask, CAP_BYTES, Question, quoted};

/// The one command a login shell ever sees.
pub(super) const COMMAND: &str = "exec /bin/sh -s";

/// Programs are looked up here first.
pub(crate) const SAFE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A script and the asks that each of its frames answers.
#[derive(Debug)]
pub(super) struct Script {
    /// What `sh -s` reads.
    pub text: String,
    /// By the number of the frame.
    pub parts: Vec<Part>,
    /// Whether the end of its input tells it to stop.
    pub is_stopped_by_end: bool,
}

/// What one frame answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Files that were read together, by their numbers among the asks.
    Files(Vec<usize>),
    /// One ask.
    One(usize),
}

/// Asks all of `asks` one after the other; files are read together by one process.
pub(super) fn batch(asks: &[Ask], word: &str) -> Script {
    let together: Vec<usize> = (0..asks.len()).filter(|&index| reads_together(&asks[index])).collect();
    let mut text = prologue(word, asks.iter().any(|ask| ask.root));
    let mut parts = Vec::new();
    if !together.is_empty() {
        let paths: Vec<String> =
            together.iter().filter_map(|&index| path_of(&asks[index])).map(quoted).collect();
        let paths = paths.join(" ");
        let _ = write!(
            text,
            "b 0\ngrep -aH '' -- {paths} </dev/null\nz=$?;for f in {paths};do x \"$f\";done\nd $z\n"
        );
        parts.push(Part::Files(together.clone()));
    }
    for (index, ask) in asks.iter().enumerate().filter(|(index, _)| !together.contains(index)) {
        let _ = write!(text, "b {}\n{}\nd $?\n", parts.len(), body(ask, Mode::Batch));
        parts.push(Part::One(index));
    }
    text += "l\nexit 0\n}\n";
    Script { text, parts, is_stopped_by_end: false }
}

/// Asks one question that may hang. What was started is killed, with all that it started itself, when our side closes
/// the channel or the connection breaks: a watcher waits for the end of the input.
pub(super) fn alone(ask: &Ask, word: &str) -> Script {
    let mut text = prologue(word, ask.root);
    // SIGTERM is for the program alone: the shell goes on and tells how it ended
    text += "exec 3<&0 </dev/null\ntrap '' TERM\nb 0\n";
    // it tells its process itself, so that two never write at once
    let process = "trap - TERM;q=;read -r q 2>/dev/null </proc/self/stat;printf '\\n%s p %s\\n' $N \"$q\"";
    let _ = write!(text, "{{ {process}\n{}\n}} 3<&- & c=$!\n", body(ask, Mode::Alone));
    // the shell is stopped first, or it would end its watcher as soon as the program is dead, before what that started;
    // sshd makes each command the leader of its own process group: elsewhere at least the program itself ends
    // sudo is left alone: killed, it would leave root's command behind, and nobody would know that it still runs
    text += "( read -r q <&3;[ \"$S\" ]||{ kill -STOP $$;kill -9 $c;kill -9 -$$||kill -9 $$; } ) >/dev/null 2>&1 & w=$!\n";
    text += "wait $c\nd $?\nl\nkill -9 $w\nexit 0\n}\n";
    Script { text, parts: vec![Part::One(0)], is_stopped_by_end: true }
}

/// Connects input and output to the Unix socket at `socket`, after one frame, by the program that Docker has for it.
pub(super) fn dial(socket: &str, word: &str) -> Script {
    let address = quoted(&format!("unix://{socket}"));
    let command = format!("DOCKER_HOST={address} exec docker system dial-stdio");
    let text =
        format!("{}command -v docker >/dev/null||exit 127\nb 0;{command}\n}}\n", prologue(word, false));
    Script { text, parts: vec![Part::One(0)], is_stopped_by_end: true }
}

/// Whether a file is read with the others: those that are small by promise, and whose name cannot confuse the lines.
fn reads_together(ask: &Ask) -> bool {
    path_of(ask).is_some_and(|path| !path.contains([':', '\n'])) && !ask.root && ask.cap_bytes == CAP_BYTES
}

fn path_of(ask: &Ask) -> Option<&str> {
    match &ask.question {
        Question::File(path) => Some(path),
        _ => None,
    }
}

/// Opens the compound command; sets `PATH` and locale; defines
/// `b n` begin frame n, `d status` end it, `l` last words on standard error, `x path` what is wrong with a file.
fn prologue(word: &str, wants_root: bool) -> String {
    let mut text = format!(
        "{{ PATH={SAFE_PATH}${{PATH:+:$PATH}} LC_ALL=C N={word} S= m= u=;export PATH LC_ALL\n\
         t(){{ read -r u q </proc/uptime; }} 2>/dev/null\n\
         b(){{ printf '\\n%s b %s\\n' $N $1 >&2;t;printf '\\n%s b %s %s\\n' $N $1 \"$u\"; }}\n\
         d(){{ t;printf '\\n%s d %s %s %s\\n' $N $1 \"${{u:-0}}\" \"$m\";m=; }}\n\
         l(){{ printf '\\n%s l\\n' $N >&2; }}\n\
         x(){{ if [ -r \"$1\" ];then m=$m-;elif [ -e \"$1\" ];then m=${{m}}d;else m=${{m}}m;fi; }}\n"
    );
    if wants_root {
        // our effective user id, without starting `id`
        text += "while read -r k q e q;do [ \"$k\" = Uid: ]&&break;done 2>/dev/null </proc/self/status\n\
                 [ \"$e\" = 0 ]||S='sudo -n --'\n";
    }
    text
}

/// Where an answer is made.
#[derive(Clone, Copy)]
enum Mode {
    /// In the shell itself.
    Batch,
    /// In a process of its own: it becomes the program, and must tell its remark before that.
    Alone,
}

impl Mode {
    fn exec(self) -> &'static str {
        match self {
            Self::Batch => "",
            Self::Alone => "printf '\\n%s r %s\\n' $N \"$m\";exec ",
        }
    }
}

/// The commands that answer one ask; the last one's status counts.
fn body(ask: &Ask, mode: Mode) -> String {
    let exec = mode.exec();
    match &ask.question {
        Question::File(path) => {
            let path = quoted(path);
            let program = format!("head -c {} -- {path}", ask.cap_bytes.saturating_add(1));
            if ask.root {
                run_as_root(&program, "head", exec)
            } else {
                format!("x {path};{exec}{program} </dev/null")
            }
        }
        // not quoted, so that the shell expands it: hence the few characters that `checked` lets through
        Question::Files(pattern) => match checked(pattern) {
            Some(pattern) => format!("set -- {pattern};x \"$1\";{exec}grep -asH '' -- \"$@\" </dev/null"),
            None => format!("m=u;{exec}false"),
        },
        Question::Run(argv) => {
            let words: Vec<String> = argv.iter().map(|word| quoted(word)).collect();
            let (program, command) = (words.first().cloned().unwrap_or_default(), words.join(" "));
            if ask.root { run_as_root(&command, &program, exec) } else { run(&command, &program, exec) }
        }
        Question::Which(programs) => format!(
            "for p in {};do IFS=:;for g in $PATH;do if [ -f \"$g/$p\" ]&&[ -x \"$g/$p\" ];then \
             printf '%s\\n' \"$g/$p\";break;fi;done;unset IFS;done;true",
            quoted_all(programs)
        ),
        Question::Probe(paths) => format!(
            "for p in {};do [ -e \"$p\" ]||continue;k=o;[ -f \"$p\" ]&&k=f;[ -d \"$p\" ]&&k=d;[ -S \"$p\" ]&&k=s;\
             [ -r \"$p\" ]&&k=${{k}}r;[ -w \"$p\" ]&&k=${{k}}w;printf '%s %s\\n' $k \"$p\";done;true",
            quoted_all(paths)
        ),
        Question::Api { .. } => format!("m=u;{exec}false"),
    }
}

fn run(command: &str, program: &str, exec: &str) -> String {
    format!("if command -v {program} >/dev/null;then {exec}{command} </dev/null\nelse m=m;{exec}false;fi")
}

fn run_as_root(command: &str, program: &str, exec: &str) -> String {
    let asked = format!(
        "m=${{S:+r}};if [ \"$S\" ]||command -v {program} >/dev/null;then {exec}$S {command} </dev/null"
    );
    format!("{asked}\nelse m=m;{exec}false;fi")
}

fn quoted_all(words: &[String]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// The pattern, where it has only characters that a shell takes for a path or a pattern of one.
fn checked(pattern: &str) -> Option<&str> {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "/_.,:+@-*?[]".contains(c);
    (pattern.starts_with('/') && pattern.chars().all(is_safe)).then_some(pattern)
}

#[cfg(test)]
#[path = "script_tests.rs"]
mod tests;
