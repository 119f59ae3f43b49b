//! The rules as tables that a person edits, and what they say of one path.

use super::house::{join, parent, under};

/// Floors from the ground up. A module may import only from its own floor or one before it.
pub const FLOORS: &[&str] = &["domain", "platform", "serving", "insight", "control", "api", "app"];

/// Imports that the floors would allow and that we still refuse: (from, to, why).
pub const NEVER: &[(&str, &str, &str)] = &[
    ("api", "platform::store", "wire code asks `control`, never the database"),
    ("insight", "serving::registry", "insight watches answers; it does not touch what is loaded"),
    ("api::oip", "api::admin", "the two protocols share `status` and `session`, not each other"),
    ("api::admin", "api::oip", "the two protocols share `status` and `session`, not each other"),
    ("control::audit", "control::change", "the audit chain must not depend on what it records"),
];

/// Floors of features that do not know each other: (floor, what they share, why).
pub const FEATURES: &[(&str, &[&str], &str)] = &[(
    "insight",
    &["window", "baseline", "feedback", "prediction_log::redact"],
    "each feature can be read, changed and removed alone",
)];

/// What only some modules may touch.
#[derive(Debug)]
pub struct Only {
    /// Paths outside the crate; [`UNSAFE`] and [`SQL`] stand for what is not a path.
    pub things: &'static [&'static str],
    /// Modules; `tests` is all test code.
    pub homes: &'static [&'static str],
    pub why: &'static str,
}

/// Things of the world outside and their homes.
pub const ONLY: &[Only] = &[
    Only {
        things: &["ort", "ort_sys"],
        homes: &["serving::runtime"],
        why: "ONNX Runtime is behind the `Engine` seam",
    },
    Only {
        things: &[
            "sqlx",
            "rusqlite",
            "libsqlite3_sys",
            "postgres",
            "tokio_postgres",
            "diesel",
            SQL,
        ],
        homes: &["platform::store"],
        why: "databases are behind the `Documents` and `Journal` seams",
    },
    Only {
        things: ENVIRONMENT_READS,
        homes: &["app::config"],
        why: "one file says all that a run depends on",
    },
    Only {
        things: ENVIRONMENT_WRITES,
        homes: &["platform::memory"],
        why: "the environment may change only before there are threads",
    },
    Only {
        things: &[UNSAFE],
        homes: &["serving::runtime::onnx", "platform::memory"],
        why: "what the compiler cannot check stays in two places",
    },
    Only {
        things: &["anyhow"],
        homes: &["app", "main", "tests"],
        why: "errors below the top floor are enums with fields",
    },
];

/// The row of [`ONLY`] for the keyword, and for attributes that allow it.
pub const UNSAFE: &str = "unsafe code";

/// The row of [`ONLY`] for string literals that hold a statement.
pub const SQL: &str = "SQL text";

/// `env!` is read by the compiler, and arguments or the own path are not the environment.
const ENVIRONMENT_READS: &[&str] = &[
    "std::env::var",
    "std::env::var_os",
    "std::env::vars",
    "std::env::vars_os",
    "std::env::home_dir",
    "std::env::temp_dir",
    "std::env::*",
    "std::*",
    "libc::getenv",
    "libc::secure_getenv",
    "tracing_subscriber::EnvFilter::from_default_env",
    "tracing_subscriber::EnvFilter::try_from_default_env",
    "tracing_subscriber::EnvFilter::from_env",
    "tracing_subscriber::EnvFilter::try_from_env",
    "tracing_subscriber::fmt::init",
];

const ENVIRONMENT_WRITES: &[&str] = &[
    "std::env::set_var",
    "std::env::remove_var",
    "libc::setenv",
    "libc::unsetenv",
    "libc::putenv",
    "libc::clearenv",
];

/// Where a path ends: in this crate (without `crate::`), or outside (with the crate's name).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    Inside(String),
    Outside(String),
}

/// A rule and why it stands.
pub type Objection = (String, String);

/// What the rules have against a module that uses a target.
pub fn objections(from: &str, target: &Target, test: bool) -> Vec<Objection> {
    match target {
        Target::Inside(to) => {
            let mut all: Vec<_> = against_floors(from, to).into_iter().collect();
            all.extend(against_never(from, to));
            all.extend(against_features(from, to));
            all
        }
        Target::Outside(to) => against_only(from, to, test),
    }
}

/// What [`ONLY`] has against a module that touches a thing.
pub fn against_only(from: &str, thing: &str, test: bool) -> Vec<Objection> {
    let mut all = Vec::new();
    for Only { things, homes, why } in ONLY {
        let meant = things.iter().any(|one| under(thing, one));
        let home = homes.iter().any(|home| under(from, home) || test && *home == "tests");
        if meant && !home {
            all.push((format!("only {} may", homes.join(", ")), (*why).to_owned()));
        }
    }
    all
}

/// The floor a module is on. `main` stands on the roof; the root of the library is on none.
pub fn floor_of(module: &str) -> Option<usize> {
    let first = module.split("::").next()?;
    let floor = FLOORS.iter().position(|floor| *floor == first);
    floor.or_else(|| (first == "main").then_some(FLOORS.len()))
}

fn against_floors(from: &str, to: &str) -> Option<Objection> {
    if to.is_empty() {
        return None;
    }
    let Some(floor) = floor_of(to) else {
        return Some(("floors".to_owned(), "the root holds the seven floors only".to_owned()));
    };
    let why = "imports run down only: state a trait below and implement it above";
    (floor > floor_of(from)?).then(|| ("floors".to_owned(), why.to_owned()))
}

fn against_never(from: &str, to: &str) -> Vec<Objection> {
    let rows = NEVER.iter().filter(|(a, b, _)| under(from, a) && under(to, b));
    rows.map(|(a, b, why)| (format!("never {a} -> {b}"), (*why).to_owned())).collect()
}

fn against_features(from: &str, to: &str) -> Vec<Objection> {
    let mut all = Vec::new();
    for (floor, shared, why) in FEATURES {
        let (Some(own), Some(other)) = (feature(from, floor), feature(to, floor)) else {
            continue;
        };
        // The face around a shared module may be named, to reach the module through it.
        let allowed = shared.iter().map(|name| join(floor, name));
        let allowed = allowed.into_iter().any(|path| under(to, &path) || parent(&path) == to);
        if own != other && !allowed {
            let rule = format!("never one feature of {floor} -> another");
            all.push((rule, (*why).to_owned()));
        }
    }
    all
}

fn feature<'a>(path: &'a str, floor: &str) -> Option<&'a str> {
    path.strip_prefix(floor)?.strip_prefix("::")?.split("::").next()
}
