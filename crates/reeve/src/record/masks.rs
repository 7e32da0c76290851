//! Hides who a machine is in a transcript, and its secrets: serial numbers, ids, hardware and public addresses, host name,
//! passwords. The same thing is hidden by the same text everywhere, so that what belongs together still does.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use domain::redact;
use serde_json::Value;

/// The transcript without what names the machine, and without secrets.
pub fn masked(text: &str, hostname: Option<&str>) -> String {
    let mut text = without_serials(&without_secrets(text));
    if let Some(hostname) = hostname.filter(|name| tells_something(&text, name)) {
        text = tokens(
            &text,
            |c| c.is_ascii_alphanumeric() || c == '-',
            |word| (word == hostname).then(|| "machine".to_owned()),
        );
    }
    let mut ids = Numbered::default();
    text = tokens(
        &text,
        |c| c.is_ascii_alphanumeric() || c == '-',
        |word| is_uuid(word).then(|| format!("00000000-0000-4000-8000-{:012x}", ids.of(word))),
    );
    text = tokens(
        &text,
        |c| c.is_ascii_alphanumeric(),
        |word| {
            let is_id = word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
            // the kernel writes addresses so; those of the link and of the machine itself tell nothing
            let is_public = is_id && !word.starts_with("fe80") && !word.starts_with("0000");
            is_public.then(|| format!("20010db8{:024x}", ids.of(word)))
        },
    );
    without_addresses(&without_macs(&text))
}

/// Numbers things in the order in which they are met.
#[derive(Default)]
struct Numbered(BTreeMap<String, usize>);

impl Numbered {
    fn of(&mut self, thing: &str) -> usize {
        let next = self.0.len() + 1;
        *self.0.entry(thing.to_owned()).or_insert(next)
    }
}

/// A host name that the system's own name holds (`debian`) tells nothing, and hiding it would hide the system.
fn tells_something(text: &str, hostname: &str) -> bool {
    let system = text.lines().filter(|line| line.contains("NAME=") || line.starts_with("ID"));
    !hostname.is_empty()
        && hostname != "localhost"
        && !system.map(str::to_lowercase).any(|line| line.contains(&hostname.to_lowercase()))
}

/// Hides what stands under a secret name: in JSON, and in the arguments of a process.
fn without_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let content = line.trim_end_matches('\n');
        let json =
            content.starts_with(['{', '[']).then(|| serde_json::from_str::<Value>(content).ok()).flatten();
        if let Some(mut json) = json {
            hide_secrets(&mut json);
            shown.push_str(&json.to_string());
        } else if content.contains('␀') {
            shown.push_str(&redact::command(content.split('␀')).join("␀"));
        } else {
            shown.push_str(content);
        }
        shown.push_str(&line[content.len()..]);
    }
    shown
}

fn hide_secrets(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                match value {
                    Value::String(text) if !text.is_empty() && redact::is_secret_name(name) => {
                        redact::HIDDEN.clone_into(text);
                    }
                    _ => hide_secrets(value),
                }
            }
        }
        Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_string) => {
            let shown = redact::command(items.iter().filter_map(Value::as_str));
            *items = shown.into_iter().map(Value::String).collect();
        }
        Value::Array(items) => items.iter_mut().for_each(hide_secrets),
        Value::String(text) => *text = redact::text(text),
        _ => {}
    }
}

fn without_serials(text: &str) -> String {
    let mut serials: Vec<String> = Vec::new();
    let mut is_file_of_one = false;
    for line in text.lines() {
        if let Some(question) = line.strip_prefix("$ ") {
            is_file_of_one = names_a_serial(question.rsplit('/').next().unwrap_or_default());
        } else if is_file_of_one && !line.starts_with('$') {
            serials.push(line.rsplit(':').next().unwrap_or_default().trim().to_owned());
        } else {
            serials.extend(serials_in(line));
        }
    }
    serials.retain(|serial| serial.len() >= 4 && serial.bytes().any(|byte| byte != b'0'));
    // the longest first: one may be part of another
    serials.sort_by_key(|serial| std::cmp::Reverse(serial.len()));
    serials.dedup();
    let mut text = text.to_owned();
    for (number, serial) in serials.iter().enumerate() {
        text = text.replace(serial.as_str(), &format!("SERIAL{number:04}"));
    }
    text
}

/// The values of `"serial": "X"`, `SERIAL=X`, `diskId.1="X"` and their like in a line.
fn serials_in(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let is_end = |c: char| c == '"' || c == ',' || c.is_whitespace();
    for (at, sign) in line.char_indices().filter(|(_, c)| matches!(c, '=' | ':')) {
        let name = line[..at].trim_end().trim_end_matches('"');
        let name = name.rsplit(|c: char| c == '"' || c == ',' || c == '{' || c.is_whitespace()).next();
        let value = line[at + sign.len_utf8()..].trim_start();
        let value = value.strip_prefix('"').unwrap_or(value).split(is_end).next().unwrap_or_default();
        if value != "null" && name.is_some_and(names_a_serial) {
            found.push(value.to_owned());
        }
    }
    found
}

fn names_a_serial(name: &str) -> bool {
    let name = name.to_lowercase();
    ["serial", "wwn", "wwid", "diskid.", "rdevid.", "asset_tag"].iter().any(|word| name.contains(word))
}

fn without_macs(text: &str) -> String {
    let mut macs = Numbered::default();
    let text = tokens(
        text,
        |c| c.is_ascii_alphanumeric() || c == ':',
        |word| {
            let is_mac = word.len() == 17
                && word.split(':').count() == 6
                && word.split(':').all(|byte| byte.len() == 2 && byte.bytes().all(|b| b.is_ascii_hexdigit()));
            let is_nobodys = word == "00:00:00:00:00:00" || word.eq_ignore_ascii_case("ff:ff:ff:ff:ff:ff");
            (is_mac && !is_nobodys).then(|| {
                let number = macs.of(word);
                format!("02:00:00:00:{:02x}:{:02x}", number / 256 % 256, number % 256)
            })
        },
    );
    // some names of interfaces hold the address (enx001122334455)
    macs.0.iter().fold(text, |text, (mac, number)| {
        text.replace(&mac.replace(':', ""), &format!("02000000{number:04x}"))
    })
}

fn without_addresses(text: &str) -> String {
    let (mut four, mut six) = (Numbered::default(), Numbered::default());
    tokens(
        text,
        |c| c.is_ascii_alphanumeric() || c == '.' || c == ':',
        |word| {
            let bare = word.trim_end_matches([':', '.']);
            let rest = &word[bare.len()..];
            if let Ok(address) = word.parse::<Ipv6Addr>().or_else(|_| bare.parse()) {
                let is_public = address.segments()[0] & 0xe000 == 0x2000 && !is_documentation(address);
                let rest = if word.parse::<Ipv6Addr>().is_ok() { "" } else { rest };
                return is_public.then(|| format!("2001:db8::{:x}{rest}", six.of(&address.to_string())));
            }
            let (host, port) = bare.find(':').map_or((bare, ""), |at| bare.split_at(at));
            let address = host.parse::<Ipv4Addr>().ok().filter(|address| is_public_4(*address))?;
            Some(format!("198.51.100.{}{port}{rest}", four.of(&address.to_string()) % 256))
        },
    )
}

fn is_documentation(address: Ipv6Addr) -> bool {
    address.segments()[..2] == [0x2001, 0xdb8]
}

fn is_public_4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    let is_shared = first == 100 && (64..128).contains(&second);
    // 0 and the highest are masks, counts and multicast
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || is_shared
        || first == 0
        || first >= 224)
}

fn is_uuid(word: &str) -> bool {
    word.len() == 36
        && word.split('-').map(str::len).eq([8, 4, 4, 4, 12])
        && word.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// The text with some of its words changed, words being the longest runs of characters that are part of one.
fn tokens(
    text: &str,
    is_part: impl Fn(char) -> bool,
    mut change: impl FnMut(&str) -> Option<String>,
) -> String {
    let mut changed = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (word, more) = rest.split_at(end);
        match change(word) {
            Some(other) if !word.is_empty() => changed.push_str(&other),
            _ => changed.push_str(word),
        }
        let between = more.find(&is_part).unwrap_or(more.len());
        changed.push_str(&more[..between]);
        rest = &more[between..];
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_cannot_be_told_from_its_transcript() {
        let text = "$ lsblk -J\n{\"name\":\"sda\", \"serial\":\"WD-ABC123\", \"wwn\":\"0x5000c500\", \"size\":12}\n\
            $ cat /sys/class/dmi/id/product_serial\nPF1ABCDE\n$ cat /x\nWD-ABC123 nas nas.lan nasty\n";
        let hidden = masked(text, Some("nas"));
        for secret in ["WD-ABC123", "0x5000c500", "PF1ABCDE", " nas "] {
            assert!(!hidden.contains(secret), "{secret}: {hidden}");
        }
        assert!(
            hidden.contains("nasty") && hidden.contains("machine.lan") && hidden.contains("\"size\":12"),
            "{hidden}"
        );
    }

    #[test]
    fn secrets_are_hidden_in_json_and_in_arguments() {
        let text = "$ GET unix:/s /x\n{\"Env\":[\"DB_PASSWORD=hunter22\",\"A=b\"],\"token\":\"hunter22\",\"n\":1}\n\
            $ cat /proc/1/cmdline\nx␀--password␀hunter22␀--port␀80␀\n";
        let hidden = masked(text, None);
        assert!(!hidden.contains("hunter22"), "{hidden}");
        assert!(hidden.contains("\"A=b\"") && hidden.contains("--port␀80␀\n"), "{hidden}");
    }

    #[test]
    fn addresses_are_hidden_alike_everywhere_and_private_ones_stay() {
        let text = "inet 93.184.216.34/24 192.168.1.5 127.0.0.1:80 93.184.216.34:443 255.255.255.0\n\
            inet6 2a00:1450::1/64 fe80::1/64 ::1 52:54:00:12:34:56 enx525400123456 12:34:56\n";
        let hidden = masked(text, None);
        let expected = "inet 198.51.100.1/24 192.168.1.5 127.0.0.1:80 198.51.100.1:443 255.255.255.0\n\
            inet6 2001:db8::1/64 fe80::1/64 ::1 02:00:00:00:00:01 enx020000000001 12:34:56\n";
        assert_eq!(hidden, expected);
    }

    #[test]
    fn ids_are_hidden_and_a_host_called_as_its_system_stays() {
        let text =
            "ID=debian\ndebian 2432040b1f4b48d5ad2034f672789e56 123e4567-e89b-12d3-a456-426614174000\n";
        let hidden = masked(text, Some("debian"));
        assert!(hidden.starts_with("ID=debian\ndebian 20010db8"), "{hidden}");
        assert!(hidden.ends_with("00000000-0000-4000-8000-000000000001\n"), "{hidden}");
    }
}
