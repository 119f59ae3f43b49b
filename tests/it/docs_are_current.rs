//! Pages made from the code are current, links lead somewhere, examples can be read.
//!
//! `make docs` runs this file with `TIDEGATE_REGENERATE=1`: then the first test writes the pages
//! instead of comparing them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use syn::{Attribute, Expr, Fields, Item, ItemStruct, ItemUse, Lit, Meta, Type, UseTree};
use tidegate::api::status::{grpc_name, http_status};
use tidegate::app::cli::command;
use tidegate::app::config::Config;
use tidegate::domain::compat::Compat;
use tidegate::domain::failure::{Code, Kind};
use tidegate::platform::telemetry::catalog;

use crate::harness::tools::{project, regenerate};

#[test]
fn pages_made_from_the_code_are_current() {
    let pages = [
        ("docs/errors.md", errors()),
        ("docs/metrics.md", metrics()),
        ("docs/configuration.md", configuration()),
        ("docs/cli.md", command_line()),
    ];
    for (name, fresh) in pages {
        let path = project().join(name);
        if regenerate() {
            fs::write(&path, &fresh).expect("the pages can be written");
        }
        let current = fs::read_to_string(&path).is_ok_and(|text| text == fresh);
        assert!(current, "{name} is not what the code says: run `make docs`");
    }
}

#[test]
fn the_environment_can_give_every_key() {
    let file = parse("src/app/config.rs");
    let keys = file.items.iter().find_map(|item| {
        let Item::Const(item) = item else { return None };
        (item.ident == "KEYS").then(|| texts(&item.expr))
    });
    let mut expected = Vec::new();
    for section in sections() {
        expected.push(section.name);
        expected.extend(section.keys.into_iter().map(|key| key.name));
    }
    assert_eq!(keys.expect("config.rs lists the keys of the environment"), expected);
}

#[test]
fn every_relative_link_leads_to_a_file() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).expect("pages are UTF-8");
        let folder = page.parent().expect("a page lies in a folder");
        for link in links(&text) {
            let file = link.split('#').next().unwrap_or_default();
            if !file.is_empty() && !link.contains(':') && !folder.join(file).exists() {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn every_json_example_is_json() {
    let mut found = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).expect("pages are UTF-8");
        for example in json_examples(&text) {
            found += 1;
            let read = serde_json::from_str::<serde_json::Value>(&example);
            assert!(read.is_ok(), "{}: {}\n{example}", page.display(), read.unwrap_err());
        }
    }
    assert!(found > 10, "found {found} examples: are they looked for at all?");
}

fn errors() -> String {
    let mut page = String::from(ERRORS);
    for code in Code::ALL {
        let (http, grpc) = numbers(code.kind(), Compat::None);
        let (meaning, remedy) = (code.meaning(), code.remedy());
        writeln!(page, "| `{code}` | {http} | {grpc} | {meaning} | {remedy} |").expect(IN_MEMORY);
    }
    page.push_str(KINDS);
    for kind in Kind::ALL {
        let (http, grpc) = numbers(kind, Compat::None);
        let (triton_http, triton_grpc) = numbers(kind, Compat::Triton);
        let same = (http, &grpc) == (triton_http, &triton_grpc);
        let triton = if same { "same".to_owned() } else { format!("{triton_http}, {triton_grpc}") };
        let used = Code::ALL.iter().any(|code| code.kind() == kind);
        let used = if used { "yes" } else { "no" };
        let name = kind.name();
        writeln!(page, "| `{name}` | {http} | {grpc} | {triton} | {used} |").expect(IN_MEMORY);
    }
    page
}

fn metrics() -> String {
    let mut page = String::from(METRICS);
    for metric in catalog::ALL {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "-".to_owned() } else { labels.join(", ") };
        let kind = metric.kind.name();
        let name = if kind == "counter" { "_total" } else { "" };
        let name = format!("{}{name}", metric.name);
        let (unit, help) = (metric.unit, metric.help);
        writeln!(page, "| `{name}` | {kind} | {unit} | {labels} | {help}. |").expect(IN_MEMORY);
    }
    page.push_str(PHASES);
    page
}

fn configuration() -> String {
    let mut page = String::from(CONFIGURATION);
    let defaults = toml::Table::try_from(Config::default()).expect("the defaults are TOML");
    for Key { name, meaning } in plain_keys() {
        let value = defaults.get(&name).map(ToString::to_string).unwrap_or_default();
        // The format is the file's own matter.
        let variable = if name == "schema" {
            "-".to_owned()
        } else {
            format!("`TIDEGATE_{}`", name.to_uppercase())
        };
        writeln!(page, "| `{name}` | `{value}` | {variable} | {meaning} |").expect(IN_MEMORY);
    }
    for section in sections() {
        let Section { name, purpose, keys } = section;
        writeln!(page, "\n## [{name}]\n\n{purpose}\n").expect(IN_MEMORY);
        page.push_str("| key | default | environment | meaning |\n|---|---|---|---|\n");
        for Key { name: key, meaning } in keys {
            let value = defaults.get(&name).and_then(|section| section.get(&key));
            let value = value.map_or("not set".to_owned(), |value| format!("`{value}`"));
            let variable = format!("TIDEGATE_{}_{}", name.to_uppercase(), key.to_uppercase());
            writeln!(page, "| `{key}` | {value} | `{variable}` | {meaning} |").expect(IN_MEMORY);
        }
    }
    page.push_str("\n## A whole file\n\nThese are the defaults.\n\n```toml\n");
    page.push_str(&toml::to_string(&Config::default()).expect("the defaults are TOML"));
    page.push_str("```\n");
    page
}

fn command_line() -> String {
    let mut page = String::from(COMMAND_LINE);
    let mut line = command::line().term_width(100);
    line.build();
    let mut said = |command: &mut clap::Command| {
        let name = command.get_bin_name().unwrap_or("tidegate").to_owned();
        let help = command.render_help().to_string();
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        let help = lines.join("\n");
        write!(page, "\n## {name}\n\n```text\n{help}\n```\n").expect(IN_MEMORY);
    };
    said(&mut line);
    let shown =
        |command: &&mut clap::Command| command.get_name() != "help" && !command.is_hide_set();
    for command in line.get_subcommands_mut().filter(shown) {
        said(command);
    }
    page
}

/// One section of the configuration file, as its struct says it.
struct Section {
    name: String,
    purpose: String,
    keys: Vec<Key>,
}

struct Key {
    name: String,
    meaning: String,
}

/// Keys that stand before all sections.
fn plain_keys() -> Vec<Key> {
    let file = parse("src/app/config.rs");
    let config = find_struct(&file, "Config").expect("config.rs composes the sections");
    let sections: Vec<String> = sections().into_iter().map(|section| section.name).collect();
    let plain = fields(config).into_iter().filter(|(name, ..)| !sections.contains(name));
    plain.map(|(name, meaning, _)| Key { name, meaning }).collect()
}

/// The sections in the order of the struct that composes them.
fn sections() -> Vec<Section> {
    let file = parse("src/app/config.rs");
    let config = find_struct(&file, "Config").expect("config.rs composes the sections");
    let mut sections = Vec::new();
    for (name, purpose, section) in fields(config) {
        let home = imported_from(&file, &section).map(|path| parse(&path));
        let home = home.as_ref().unwrap_or(&file);
        // What is not a struct with named fields is a plain key, such as `schema`.
        let Some(found) = find_struct(home, &section) else { continue };
        let keys: Vec<Key> =
            fields(found).into_iter().map(|(name, meaning, _)| Key { name, meaning }).collect();
        if !keys.is_empty() {
            sections.push(Section { name, purpose, keys });
        }
    }
    sections
}

/// Name, documentation and last word of the type of each named field.
fn fields(item: &ItemStruct) -> Vec<(String, String, String)> {
    let Fields::Named(named) = &item.fields else { return Vec::new() };
    let field = |field: &syn::Field| {
        let name = field.ident.as_ref().expect("a named field").to_string();
        let Type::Path(path) = &field.ty else { panic!("the type of {name} is not a path") };
        let last = path.path.segments.last().expect("a path has a last word");
        (name, documentation(&field.attrs), last.ident.to_string())
    };
    named.named.iter().map(field).collect()
}

fn documentation(attributes: &[Attribute]) -> String {
    let line = |attribute: &Attribute| {
        let Meta::NameValue(pair) = &attribute.meta else { return None };
        if pair.path.is_ident("doc") { text(&pair.value) } else { None }
    };
    let lines: Vec<String> = attributes.iter().filter_map(line).collect();
    assert!(!lines.is_empty(), "every key of the configuration is documented");
    lines.join(" ").trim().to_owned()
}

/// The value of a string literal.
fn text(expression: &Expr) -> Option<String> {
    let Expr::Lit(literal) = expression else { return None };
    if let Lit::Str(text) = &literal.lit { Some(text.value().trim().to_owned()) } else { None }
}

fn find_struct<'a>(file: &'a syn::File, name: &str) -> Option<&'a ItemStruct> {
    file.items.iter().find_map(|item| {
        let Item::Struct(item) = item else { return None };
        (item.ident == name).then_some(item)
    })
}

/// The file of this crate that a name is imported from.
fn imported_from(file: &syn::File, name: &str) -> Option<String> {
    file.items
        .iter()
        .find_map(|item| if let Item::Use(item) = item { path_of(item, name) } else { None })
}

fn path_of(item: &ItemUse, name: &str) -> Option<String> {
    let (mut tree, mut words) = (&item.tree, Vec::new());
    while let UseTree::Path(path) = tree {
        words.push(path.ident.to_string());
        tree = &path.tree;
    }
    let names = |tree: &UseTree| matches!(tree, UseTree::Name(found) if found.ident == name);
    let is_it =
        names(tree) || matches!(tree, UseTree::Group(group) if group.items.iter().any(names));
    let inside = words.first().is_some_and(|first| first == "crate");
    (is_it && inside).then(|| format!("src/{}.rs", words.get(1..).unwrap_or_default().join("/")))
}

/// Every string literal of nested arrays, tuples and references, in order.
fn texts(expression: &Expr) -> Vec<String> {
    if let Expr::Reference(reference) = expression {
        texts(&reference.expr)
    } else if let Expr::Array(syn::ExprArray { elems, .. })
    | Expr::Tuple(syn::ExprTuple { elems, .. }) = expression
    {
        elems.iter().flat_map(texts).collect()
    } else {
        text(expression).into_iter().collect()
    }
}

fn parse(path: &str) -> syn::File {
    let text = fs::read_to_string(project().join(path)).expect("the file of a section is there");
    syn::parse_file(&text).expect("sources are Rust")
}

fn numbers(kind: Kind, compat: Compat) -> (u16, &'static str) {
    (http_status(kind, compat).as_u16(), grpc_name(kind, compat))
}

/// Every page of the project: Markdown files outside build folders and hidden ones.
fn pages() -> Vec<PathBuf> {
    let (mut pages, mut folders) = (Vec::new(), vec![project().to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the project's folders are readable") {
            let path = entry.expect("the project's folders are readable").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                let built = folder == project() && ["target", "data"].contains(&name.as_str());
                if !built && !name.starts_with('.') && name != "node_modules" {
                    folders.push(path);
                }
            } else if Path::new(&name).extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

/// Targets of `[text](target)` outside of code blocks.
fn links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    let prose = text.split("```").step_by(2);
    for piece in prose.flat_map(|prose| prose.split("](").skip(1)) {
        links.extend(piece.split_once(')').map(|(link, _)| link.to_owned()));
    }
    links
}

/// Blocks marked as JSON, and what commands send with `-d '...'`.
fn json_examples(text: &str) -> Vec<String> {
    let mut examples = Vec::new();
    for block in text.split("```").skip(1).step_by(2) {
        if let Some(json) = block.strip_prefix("json\n") {
            examples.push(json.to_owned());
        }
        for sent in block.split("-d '").skip(1) {
            examples.extend(sent.split_once('\'').map(|(json, _)| json.to_owned()));
        }
    }
    examples
}

const IN_MEMORY: &str = "a string takes any text";

const ERRORS: &str = "\
# Errors

<!-- Made by `make docs` from src/domain/failure.rs and src/api/status.rs. Do not edit. -->

An error on the HTTP and admin ports has this body; its text has at most 2000 bytes. `request_id` is
also the header `x-tidegate-inference-id`, and `x-request-id` on all calls but inferences.

```json
{\"error\": \"request for unknown model: 'none' is not found\", \"code\": \"not_found.model\", \
\"request_id\": \"01M8535PFVMFWB1MW8RQGWMY2B\"}
```

A gRPC error has the text as its message, and the trailers `x-tidegate-code` and
`x-tidegate-inference-id`. Programs decide by the code; the text may change.

Three refusals come before our own code, and have no body: 431 for headers over
`limits.header_bytes` on the HTTP port, 400 for bytes that are no HTTP, and 405 for a method that no
route of the metrics port knows. Errors within a gRPC stream have a text only.

## Codes

| code | HTTP | gRPC | meaning | what to do |
|---|---|---|---|---|
";

const KINDS: &str = "
## Kinds

The first part of a code is its kind, which alone decides the status; with `compat`,
[two calls](migrating-from-triton.md#tritons-codes-shapes-and-defaults) differ. Kinds without codes are
kept for what is to come.

| kind | HTTP | gRPC | with `compat = \"triton\"` | has codes |
|---|---|---|---|---|
";

const METRICS: &str = "\
# Metrics

<!-- Made by `make docs` from src/platform/telemetry/catalog.rs. Do not edit. -->

`GET /metrics` on the metrics port (8002) answers in Prometheus' text format, or in OpenMetrics text
where `Accept` asks for it, as Prometheus does; only OpenMetrics has exemplars. A version is listed for
as long as it is in memory; a name that callers make up never becomes a label.

| name | kind | unit | labels | meaning |
|---|---|---|---|---|
";

const PHASES: &str = "
Histograms have the usual `_bucket`, `_sum` and `_count` series. Their buckets go from 10
microseconds to 30 seconds. `outcome` is `ok` or a kind of [errors.md](errors.md). The `trace_id` of a
kept trace is the exemplar of its bucket of `tidegate_request_duration_seconds`.

`promtool check metrics` has nothing against the page but the abbreviated unit in the names of
`nv_inference_*_us`, which are Triton's.
";

const COMMAND_LINE: &str = "\
# Command line

<!-- Made by `make docs` from src/app/cli. Do not edit. -->

What `tidegate --help` and `tidegate COMMAND --help` say. [operating.md](operating.md#command-line)
shows the commands at work.
";

const CONFIGURATION: &str = "\
# Configuration

<!-- Made by `make docs` from the structs in src/. Do not edit. -->

The file is TOML: `--config FILE`, else `tidegate.toml` in the working directory, if there is one.
`schema = 1` names the version of the format. An unknown key is an error with its line.

Flags win over the environment, the environment over the file, the file over the defaults. An empty
environment variable counts as not set. What a hosting platform says in variables of its own
(`platform.kind`) counts as the environment, below ours. `ORT_DYLIB_PATH` names the ONNX Runtime library where
`runtime.library` does not. Changes take effect at the next start.

## Before all sections

| key | default | environment | meaning |
|---|---|---|---|
";
