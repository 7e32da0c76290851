//! What the operator says: flag, then environment, then file, then default.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use domain::history::Retention;
use domain::settings::{Concurrency, Intervals, Settings};
use domain::time::parse_span;
use serde::{Deserialize, Deserializer};
use toml::{Spanned, Table, Value};

/// The whole configuration. `config.example.toml` shows every key at its default.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address and port to listen on.
    pub listen: String,
    /// What the log says.
    pub log: Log,
    /// How often machines are asked.
    pub polling: Polling,
    /// How long history is kept.
    pub retention: RetentionConfig,
    /// How machines are reached over SSH.
    pub ssh: Ssh,
    /// Devices that are declared here and changed only here.
    pub devices: Vec<Spanned<DeviceConfig>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8420".to_owned(),
            log: Log::default(),
            polling: Polling::default(),
            retention: RetentionConfig::default(),
            ssh: Ssh::default(),
            devices: Vec::new(),
        }
    }
}

/// What the log says.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `warn,domain=debug`.
    pub level: String,
    /// `text` or `json`.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "warn".to_owned(), format: LogFormat::Text }
    }
}

/// The form of the log.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// How often machines are asked.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Polling {
    /// Most devices that are asked at once.
    pub devices_at_once: DevicesAtOnce,
    /// Intervals by collector; each collector has a default of its own.
    pub intervals: BTreeMap<String, Span>,
    /// Intervals by device type, then collector.
    pub types: BTreeMap<String, BTreeMap<String, Span>>,
    /// Intervals by device name, then collector.
    pub devices: BTreeMap<String, BTreeMap<String, Span>>,
}

/// A number of devices: 1 to 1000, 16 unless set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevicesAtOnce(usize);

impl Default for DevicesAtOnce {
    fn default() -> Self {
        Self(Concurrency::default().0)
    }
}

impl<'de> Deserialize<'de> for DevicesAtOnce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match usize::deserialize(deserializer)? {
            count @ 1..=1_000 => Ok(Self(count)),
            count => Err(serde::de::Error::custom(format!("{count} is out of range: set 1 to 1000"))),
        }
    }
}

/// How long history is kept.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// Every sample as it was read.
    pub raw: Span,
    /// Rollups of five minutes and of an hour.
    pub rollups: Span,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        let retention = Retention::default();
        Self { raw: Span(retention.raw), rollups: Span(retention.rollups) }
    }
}

/// How machines are reached over SSH.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Ssh {
    /// The `ssh_config` to look hosts up in; `~/.ssh/config` unless set.
    pub config: Option<PathBuf>,
}

/// A device that is declared in the configuration.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct DeviceConfig {
    /// Its name.
    pub name: String,
    /// Alias in the server's `ssh_config`, or a host name or address; absent for the machine that Reeve runs on.
    pub host: Option<String>,
    /// TCP port.
    pub port: Option<u16>,
    /// User to sign in as.
    pub user: Option<String>,
    /// Files with private keys to try.
    #[serde(default)]
    pub identity_files: Vec<String>,
    /// File with the passphrase of those keys.
    pub passphrase_file: Option<String>,
    /// Hosts to jump through.
    pub proxy_jump: Option<String>,
    /// Labels.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Where it stands.
    pub location: Option<String>,
    /// What it is for.
    pub description: Option<String>,
}

/// A span of time such as `30s`, `5m`, `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let span = parse_span(&text).map_err(|e| serde::de::Error::custom(format!("{e}: {}", e.help())))?;
        if span < Duration::from_secs(1) {
            return Err(serde::de::Error::custom(format!("“{text}” is too short: set 1s or more")));
        }
        Ok(Self(span))
    }
}

/// A configuration, and where it came from.
#[derive(Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// The file, where there is one.
    pub file: Option<PathBuf>,
    text: String,
}

/// The environment variables that are text; `std::env::vars` panics where any is not.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

impl Loaded {
    /// Reads `file` (where given it must be there) and the environment's `REEVE_A__B`.
    pub fn read(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> anyhow::Result<Self> {
        let text = match file {
            Some(file) => std::fs::read_to_string(file)
                .with_context(|| format!("the configuration {} cannot be read", file.display()))?,
            None => String::new(),
        };
        let name = file.map_or_else(|| "configuration".to_owned(), |file| file.display().to_string());
        // first the file alone, so that its mistakes are told with their lines
        let config: Config =
            toml::from_str(&text).map_err(|error| anyhow::anyhow!(in_file(&name, &text, &error)))?;
        let mut loaded = Self { config, file: file.map(Path::to_owned), text };
        loaded.overlay(environment)?;
        Ok(loaded)
    }

    /// Settings of the domain.
    pub fn settings(&self) -> Settings {
        let spans = |group: &BTreeMap<String, Span>| {
            group.iter().map(|(name, span)| (name.clone(), span.0)).collect()
        };
        let groups = |groups: &BTreeMap<String, BTreeMap<String, Span>>| {
            groups.iter().map(|(name, group)| (name.clone(), spans(group))).collect()
        };
        let Config { polling, retention, .. } = &self.config;
        Settings {
            intervals: Intervals {
                by_collector: spans(&polling.intervals),
                by_type: groups(&polling.types),
                by_device: groups(&polling.devices),
            },
            concurrency: Concurrency(polling.devices_at_once.0),
            retention: Retention { raw: retention.raw.0, rollups: retention.rollups.0 },
        }
    }

    /// The devices that are declared, each with its line.
    pub fn devices(&self) -> impl Iterator<Item = (&DeviceConfig, usize)> {
        self.config.devices.iter().map(|device| (device.get_ref(), line_of(&self.text, device.span().start)))
    }

    /// Refuses intervals of collectors that there are not.
    pub fn check_collectors(&self, known: &[&str]) -> anyhow::Result<()> {
        let polling = &self.config.polling;
        let groups = polling.types.values().chain(polling.devices.values()).chain([&polling.intervals]);
        for name in groups.flat_map(BTreeMap::keys) {
            if !known.contains(&name.as_str()) {
                let near = domain::error::nearest(name, known.iter().copied()).join(", ");
                bail!(
                    "the configuration sets an interval of “{name}”, which is no collector; nearest: {near}"
                );
            }
        }
        Ok(())
    }

    fn overlay(&mut self, environment: impl Iterator<Item = (String, String)>) -> anyhow::Result<()> {
        let mut table: Table = toml::from_str(&self.text)?;
        let mut is_set = false;
        for (variable, text) in environment {
            // the data directory and the configuration's own place are not part of the configuration
            let Some(key) = variable.strip_prefix("REEVE_") else { continue };
            if ["DATA_DIR", "CONFIG"].contains(&key) {
                continue;
            }
            if key.split("__").next() == Some("DEVICES") {
                bail!("the environment variable {variable}: devices are declared in the file only");
            }
            let path: Vec<String> = key.split("__").map(str::to_lowercase).collect();
            set(&mut table, &path, &text).with_context(|| format!("the environment variable {variable}"))?;
            let check: Result<Config, _> = Value::Table(table.clone()).try_into();
            if let Err(error) = check {
                bail!("the environment variable {variable}: {}", error.message());
            }
            is_set = true;
        }
        if is_set {
            // devices keep the lines that the file gave them
            let devices = std::mem::take(&mut self.config.devices);
            self.config = Value::Table(table).try_into()?;
            self.config.devices = devices;
        }
        Ok(())
    }
}

/// `config.toml:3: unknown field …`, as compilers say it.
fn in_file(name: &str, text: &str, error: &toml::de::Error) -> String {
    match error.span() {
        Some(span) => {
            let line = line_of(text, span.start);
            let shown = text.lines().nth(line - 1).unwrap_or_default().trim();
            format!("{name}:{line}: {}\n  {shown}", error.message())
        }
        None => format!("{name}: {}", error.message()),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// Sets one key. Text that reads as a TOML value of its own (a number, a boolean, a list) is one.
fn set(table: &mut Table, path: &[String], text: &str) -> anyhow::Result<()> {
    let Some((name, rest)) = path.split_first() else { return Ok(()) };
    if rest.is_empty() {
        let value =
            toml::from_str::<Table>(&format!("value = {text}")).ok().and_then(|mut t| t.remove("value"));
        table.insert(name.clone(), value.unwrap_or_else(|| Value::String(text.to_owned())));
        return Ok(());
    }
    match table.entry(name.clone()).or_insert_with(|| Value::Table(Table::new())) {
        Value::Table(inner) => set(inner, rest, text),
        _ => bail!("{name} is not a section"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, environment: &[(&str, &str)]) -> anyhow::Result<Loaded> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("config.toml");
        std::fs::write(&file, text)?;
        Loaded::read(Some(&file), environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
    }

    #[test]
    fn a_mistake_is_told_with_file_line_and_key() {
        let error =
            read("listen = \"127.0.0.1:1\"\n\n[log]\nlevle = \"info\"\n", &[]).unwrap_err().to_string();
        assert!(error.contains("config.toml:4: unknown field `levle`"), "{error}");
        let error = read("[retention]\nraw = \"30 days\"\n", &[]).unwrap_err().to_string();
        assert!(error.contains("config.toml:2:") && error.contains("30 days"), "{error}");
    }

    #[test]
    fn the_environment_goes_before_the_file() {
        let loaded = read(
            "[log]\nlevel = \"info\"\n",
            &[("REEVE_LOG__LEVEL", "debug"), ("REEVE_POLLING__DEVICES_AT_ONCE", "4"), ("OTHER", "x")],
        );
        let settings = loaded.as_ref().unwrap().settings();
        assert_eq!(loaded.unwrap().config.log.level, "debug");
        assert_eq!(settings.concurrency, Concurrency(4));
        let error = read("", &[("REEVE_DEVICES", "[]")]).unwrap_err().to_string();
        assert!(error.contains("in the file only"), "{error}");
        let error = read("", &[("REEVE_LGO__LEVEL", "debug")]).unwrap_err().to_string();
        assert!(error.contains("REEVE_LGO__LEVEL") && error.contains("lgo"), "{error}");
    }

    #[test]
    fn declared_devices_know_their_line() {
        let loaded = read("# mine\n\n[[devices]]\nname = \"nas\"\nhost = \"nas.lan\"\n", &[]).unwrap();
        let devices: Vec<(&str, usize)> = loaded.devices().map(|(d, line)| (d.name.as_str(), line)).collect();
        assert_eq!(devices, [("nas", 3)]);
    }

    #[test]
    fn the_example_shows_every_setting_at_its_default() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config.example.toml");
        let shown = Loaded::read(Some(&file), std::iter::empty()).unwrap();
        for def in collectors::ALL {
            let span = shown.config.polling.intervals.get(def.name).map(|span| span.0);
            assert_eq!(span, Some(def.every), "{}", def.name);
        }
        let mut config = shown.config;
        assert_eq!(config.polling.intervals.len(), collectors::ALL.len());
        config.polling.intervals.clear();
        assert_eq!(config, Config::default());

        // what is commented out, because its default is nothing, must be right as well
        let text = std::fs::read_to_string(&file).unwrap();
        let is_setting = |line: &str| {
            line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
        };
        let uncommented: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# ").filter(|rest| is_setting(rest)).or(Some(line)))
            .collect();
        let all: Config = toml::from_str(&uncommented.join("\n")).unwrap();
        assert_eq!(all.devices.len(), 1);
        assert!(all.ssh.config.is_some() && !all.polling.types.is_empty() && !all.polling.devices.is_empty());
    }
}
