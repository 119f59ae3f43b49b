//! The configuration file, and the only reader of the environment.
//!
//! Each feature owns its section, defined beside its code; this file only puts them together.
//! Every key can also be given as `TIDEGATE_<SECTION>_<KEY>`; flags win over the environment, the
//! environment over the file, the file over defaults. What a hosting platform says in variables of
//! its own counts as the environment, below ours.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::api::platform::Platform;
use crate::api::session::Limits;
use crate::app::platform::Surroundings;
use crate::domain::compat::Compat;
use crate::platform::telemetry::traces::Traces;
use crate::serving::registry::prepare::Serving;
use crate::serving::runtime::device::{Cuda, Devices, OpenVino, Providers, TensorRt};

/// The whole configuration.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Version of the file's format; 1 is the only one.
    pub schema: Schema,
    /// Whose codes, shapes and defaults are taken over: `none`, or `triton` for its clients.
    pub compat: Compat,
    /// Where models are.
    pub repository: RepositorySection,
    /// Addresses, and how the server stops.
    pub server: Server,
    /// What callers may send.
    pub limits: Limits,
    /// How versions are run.
    pub serving: Serving,
    /// The library and threads that run them.
    pub runtime: Runtime,
    /// Options of the provider `cuda`; a table of the same name in `model.toml` takes its place.
    pub cuda: Cuda,
    /// Options of the provider `tensorrt`; a table of the same name in `model.toml` takes its place.
    pub tensorrt: TensorRt,
    /// Options of the provider `openvino`; a table of the same name in `model.toml` takes its place.
    pub openvino: OpenVino,
    /// What is logged.
    pub log: Log,
    /// `OpenTelemetry` traces of inferences.
    pub traces: Traces,
    /// The contract of a hosting platform, over HTTP.
    pub platform: Platform,
}

/// Version of the file's format.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Schema(u32);

/// Where models are.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepositorySection {
    /// Folder of models.
    pub path: PathBuf,
    /// Name of the model, where the folder is one model's own.
    pub model_name: Option<String>,
    /// `watch` follows what happens in the folder; `explicit` loads by API or admin only.
    pub mode: Mode,
    /// Models to load at the start where `mode` is `explicit`; `*` is every one that is there.
    pub load: Vec<String>,
    /// Milliseconds that a version's files must rest before they count as complete. Versions that
    /// come by one rename count at once.
    pub settle_ms: u64,
    /// Seconds between two looks at the whole folder, for file systems without events.
    pub poll_s: u64,
}

/// Who says what is loaded.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The folder does.
    #[default]
    Watch,
    /// The API and the admin endpoint do.
    Explicit,
}

/// Addresses, and how the server stops.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address of HTTP.
    pub http: SocketAddr,
    /// Address of gRPC.
    pub grpc: SocketAddr,
    /// Address of metrics and probes.
    pub metrics: SocketAddr,
    /// Address of the admin endpoint.
    pub admin: SocketAddr,
    /// Seconds that requests in flight have when the server is told to stop.
    pub drain_timeout_s: u64,
    /// Seconds to go on serving, already not ready, before connections are told to go: as long as
    /// load balancers take to notice.
    pub drain_delay_s: u64,
    /// Whether one model without a good version makes the whole server not ready.
    pub strict_readiness: bool,
}

/// The library and threads that run models.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Runtime {
    /// Path of libonnxruntime.so; found by itself where not given.
    pub library: Option<PathBuf>,
    /// Processors to use; 0 takes all that the system and the cgroup's quota allow.
    pub cores: usize,
    /// Execution providers, the preferred one first: `cpu`, `cuda`, `tensorrt`, `openvino`. One that
    /// cannot be had is an error, never a silent fallback. Without `cpu` at the end, so is a node
    /// that they leave to the processor.
    pub providers: Providers,
    /// Folder for engines that `tensorrt` and `openvino` build, one below it for each digest; nothing
    /// is kept where not given.
    pub engine_cache: Option<PathBuf>,
}

/// What is logged, to standard error.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,tidegate::control=debug`.
    pub filter: String,
    /// `text` for people, `json` for machines.
    pub format: LogFormat,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: one JSON object a line.
    Json,
}

impl Default for Schema {
    fn default() -> Self {
        Self(1)
    }
}

impl Default for RepositorySection {
    fn default() -> Self {
        // 1 s: tools that copy write more often than that. 15 s: Triton's own pace of polling.
        Self {
            path: "models".into(),
            model_name: None,
            mode: Mode::Watch,
            load: Vec::new(),
            settle_ms: 1_000,
            poll_s: 15,
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        // Triton's ports, so that its users change nothing, and the next one for operators. 30 s
        // to drain: what Kubernetes grants before it kills.
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            http: local(8000),
            grpc: local(8001),
            metrics: local(8002),
            admin: local(8003),
            drain_timeout_s: 30,
            // No balancer stands before a server that somebody just tries.
            drain_delay_s: 0,
            strict_readiness: false,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

impl Config {
    /// Refuses settings that cannot act or would open a door by accident.
    ///
    /// # Errors
    ///
    /// One sentence: what was found, what was expected.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(self.schema.0 == 1, "schema is {}, expected 1", self.schema.0);
        ensure!(
            self.server.admin.ip().is_loopback(),
            "admin address {} is not on loopback: whoever reaches it may change what is served; \
             use 127.0.0.1 (`--admin 127.0.0.1:8003`), and a tunnel from elsewhere",
            self.server.admin
        );
        ensure!(self.repository.poll_s > 0, "repository.poll_s is 0, expected at least 1");
        ensure!(
            self.repository.mode == Mode::Explicit || self.repository.load.is_empty(),
            "repository.load has no effect while repository.mode is watch: everything is loaded; \
             remove it, or set repository.mode to explicit"
        );
        ensure!(self.limits.message_bytes > 0, "limits.message_bytes is 0, expected at least 1");
        ensure!(
            self.traces.endpoint.is_none() || cfg!(feature = "otlp"),
            "traces.endpoint is set, but this build sends no traces: build with `--features otlp`, \
             or remove [traces]"
        );
        ensure!(self.limits.connections > 0, "limits.connections is 0, expected at least 1");
        Ok(())
    }

    /// Where models run whose owner does not say.
    pub fn devices(&self) -> Devices {
        Devices {
            providers: self.runtime.providers.clone(),
            cuda: self.cuda.clone(),
            tensorrt: self.tensorrt.clone(),
            openvino: self.openvino.clone(),
        }
    }

    /// The libraries asked for, in the order they count: configuration, then environment.
    pub fn libraries(&self) -> Vec<PathBuf> {
        let asked = self.runtime.library.clone();
        asked.into_iter().chain(environment("ORT_DYLIB_PATH").map(PathBuf::from)).collect()
    }
}

/// Reads file and environment; `path` must exist, `tidegate.toml` need not.
///
/// # Errors
///
/// A file that cannot be read, or a key or value that is not known, with its place.
pub fn load(path: Option<&Path>) -> anyhow::Result<Config> {
    let (name, text) = match path {
        Some(path) => {
            let text = fs::read_to_string(path);
            (
                path,
                text.with_context(|| format!("configuration {} cannot be read", path.display()))?,
            )
        }
        None => (Path::new(DEFAULT), optional(Path::new(DEFAULT))?),
    };
    // First on its own, so that an error in the file shows its line.
    let place = || format!("in configuration {}", name.display());
    toml::from_str::<Config>(&text).with_context(place)?;
    let mut table: Table = toml::from_str(&text).with_context(place)?;
    let defaults = Table::try_from(Config::default()).context("defaults")?;
    for key in PLAIN_KEYS {
        if let Some(value) = environment(&format!("TIDEGATE_{}", key.to_uppercase())) {
            table.insert((*key).to_owned(), value.into());
        }
    }
    for (section, keys) in KEYS {
        for key in *keys {
            if let Some(value) = environment(&variable(section, key)) {
                set(&mut table, (section, key), typed(&defaults, (section, key), &value))?;
            }
        }
    }
    let config: Config =
        table.clone().try_into().context("in the environment's TIDEGATE_ variables")?;
    let surroundings = Surroundings { variable: environment, root: "/".into() };
    let told = surroundings.settings(config.platform.kind).context("in the environment")?;
    for ((section, key), value) in told {
        if environment(&variable(section, key)).is_none() {
            set(&mut table, (section, key), value.into())?;
        }
    }
    table.try_into().context("in what the hosting platform asks for")
}

fn variable(section: &str, key: &str) -> String {
    format!("TIDEGATE_{}_{}", section.to_uppercase(), key.to_uppercase())
}

fn optional(path: &Path) -> anyhow::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read.with_context(|| format!("configuration {} cannot be read", path.display())),
    }
}

fn set(table: &mut Table, (section, key): (&str, &str), value: Value) -> anyhow::Result<()> {
    let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    let Value::Table(entry) = entry else { bail!("[{section}] is not a table") };
    entry.insert(key.to_owned(), value);
    Ok(())
}

// The environment knows texts only; what is a number by default is read as one, a list by commas.
fn typed(defaults: &Table, (section, key): (&str, &str), text: &str) -> Value {
    let default = defaults.get(section).and_then(|section| section.get(key));
    if default.is_some_and(Value::is_array) {
        return text.split(',').map(|item| item.trim().to_owned()).collect::<Vec<_>>().into();
    }
    let real = || text.parse().ok().filter(|_| default.is_some_and(Value::is_float));
    let number = || text.parse().ok().filter(|_| default.is_some_and(Value::is_integer));
    let truth = || text.parse().ok().filter(|_| default.is_some_and(Value::is_bool));
    let read = number().map(Value::Integer).or_else(|| truth().map(Value::Boolean));
    read.or_else(|| real().map(Value::Float)).unwrap_or(text.into())
}

/// A variable of the environment, if it is there and not empty.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Where commands find a running server, if no flag says so.
pub const TIDEGATE_URL: &str = "TIDEGATE_URL";

/// Where commands for operators find it.
pub const TIDEGATE_ADMIN_URL: &str = "TIDEGATE_ADMIN_URL";

/// File that is read if it is there.
const DEFAULT: &str = "tidegate.toml";

/// Keys outside of sections that the environment may give.
const PLAIN_KEYS: &[&str] = &["compat"];

/// Every key that the environment may give, by section; a test compares it with the types.
const KEYS: &[(&str, &[&str])] = &[
    ("repository", &["path", "model_name", "mode", "load", "settle_ms", "poll_s"]),
    (
        "server",
        &[
            "http",
            "grpc",
            "metrics",
            "admin",
            "drain_timeout_s",
            "drain_delay_s",
            "strict_readiness",
        ],
    ),
    (
        "limits",
        &[
            "message_bytes",
            "header_bytes",
            "header_timeout_s",
            "idle_timeout_s",
            "write_timeout_s",
            "body_timeout_s",
            "cold_timeout_s",
            "connections",
            "streams",
        ],
    ),
    ("serving", &["light_run_us", "share_runs", "queue_capacity", "trial_load", "trial_timeout_s"]),
    ("runtime", &["library", "cores", "providers", "engine_cache"]),
    ("cuda", &["device", "memory_limit_bytes", "arena", "conv_search", "tf32"]),
    ("tensorrt", &["device", "workspace_bytes", "fp16"]),
    ("openvino", &["device", "threads"]),
    ("log", &["filter", "format"]),
    ("traces", &["endpoint", "ratio", "service_name"]),
    ("platform", &["kind", "model", "health_route", "predict_route"]),
];

#[cfg(test)]
mod tests {
    use super::{Config, KEYS, PLAIN_KEYS, set, typed};
    use toml::Table;

    #[test]
    fn every_key_of_the_environment_is_a_key_of_the_file() {
        let defaults = Table::try_from(Config::default()).unwrap();
        for (section, keys) in KEYS {
            for key in *keys {
                let text = match *key {
                    "device" if *section == "openvino" => "GPU",
                    "http" | "grpc" | "metrics" | "admin" => "127.0.0.1:9",
                    "format" => "json",
                    "endpoint" => "http://127.0.0.1:9",
                    "ratio" => "0.5",
                    "providers" => "cuda, cpu",
                    "mode" => "explicit",
                    "arena" => "same_as_requested",
                    "conv_search" => "heuristic",
                    "tf32" | "share_runs" => "false",
                    "fp16" | "strict_readiness" | "trial_load" => "true",
                    "kind" => "vertex",
                    "path" | "model_name" | "library" | "filter" | "engine_cache"
                    | "service_name" => "x",
                    "model" | "health_route" | "predict_route" => "/x",
                    _ => "7",
                };
                let mut table = Table::new();
                set(&mut table, (section, key), typed(&defaults, (section, key), text)).unwrap();
                let read: Result<Config, _> = table.try_into();
                assert_ne!(read.expect(key), Config::default(), "{section}.{key} does nothing");
            }
        }
    }

    #[test]
    fn every_plain_key_of_the_environment_is_one_of_the_file() {
        for key in PLAIN_KEYS {
            let read: Config = toml::from_str(&format!("{key} = 'triton'")).unwrap();
            assert_ne!(read, Config::default(), "{key} does nothing");
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let error = toml::from_str::<Config>("schema = 1\n[server]\nhtpp = 1").unwrap_err();
        assert!(error.to_string().contains("unknown field `htpp`"), "{error}");
        assert!(error.to_string().contains("line 3"), "{error}");
    }

    #[test]
    fn traces_are_refused_by_a_build_that_sends_none() {
        let config: Config =
            toml::from_str("[traces]\nendpoint = \"http://127.0.0.1:4317\"").unwrap();
        let refused = config.check().map_err(|error| error.to_string());
        assert_eq!(refused.is_ok(), cfg!(feature = "otlp"), "{refused:?}");
        assert!(toml::from_str::<Config>("[traces]\nratio = 1.5").is_err());
    }

    #[test]
    fn an_admin_port_that_others_reach_is_a_start_error() {
        let mut config = Config::default();
        config.check().unwrap();
        config.server.admin = "0.0.0.0:8003".parse().unwrap();
        assert!(config.check().unwrap_err().to_string().contains("not on loopback"));
    }
}
