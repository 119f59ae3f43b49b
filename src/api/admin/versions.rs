//! Models and versions on the admin port: list them, load, promote, roll back.

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::middleware;
use axum::routing::get;
use serde::{Deserialize, Serialize};

use crate::api::admin::origin;
use crate::api::layers::{self, json_or_default};
use crate::api::session::Limits;
use crate::api::status::Refusal;
use crate::control::action::{Action, Change, Receipt};
use crate::control::change::Changes;
use crate::domain::caller::Caller;
use crate::domain::compat::Compat;
use crate::domain::failure::{Code, excerpt};
use crate::domain::model::{ModelName, VersionNumber};
use crate::domain::spec::TensorSpec;
use crate::serving::registry::snapshot::Entry;
use crate::serving::registry::state::State as VersionState;

/// A model as operators see it.
#[derive(Debug, Serialize)]
pub struct ModelView {
    /// Its name.
    pub name: String,
    /// Grows with every change; send it back as `expected_generation`.
    pub generation: u64,
    /// The version that answers requests which name none.
    pub serving: Option<u64>,
    /// What is wrong, if it has no good version, or serves from memory alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub degraded: Option<String>,
    /// Every version we know of, lowest first.
    pub versions: Vec<VersionView>,
}

/// A version as operators see it.
#[derive(Debug, Serialize)]
pub struct VersionView {
    /// Its number.
    pub version: u64,
    /// Its state.
    pub state: &'static str,
    /// Why, if it was rejected or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// SHA-256 of its files, once loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Where its runs happen, once loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<&'static str>,
    /// How many rows of several requests may share one of its runs, where any do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_rows: Option<u64>,
    /// Its inputs, once loaded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<TensorView>,
    /// Its outputs, once loaded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<TensorView>,
}

/// An input or output.
#[derive(Debug, Serialize)]
pub struct TensorView {
    /// Its name.
    pub name: String,
    /// Its type.
    pub datatype: &'static str,
    /// Its shape, -1 for any size.
    pub shape: Vec<i64>,
}

/// The answer to a change.
#[derive(Debug, Serialize)]
pub struct ReceiptView {
    /// The model's new generation.
    pub generation: u64,
    /// The version that answers requests which name none.
    pub serving: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ChangeBody {
    reason: Option<String>,
    expected_generation: Option<u64>,
}

#[derive(Serialize)]
struct Models {
    models: Vec<ModelView>,
}

/// The routes of the port.
pub fn router(changes: Changes, limits: Limits) -> Router {
    let router = Router::new()
        .route("/admin/v1/models", get(models))
        // A call is the last part of the path behind a colon, which routes cannot match: it is
        // split off by hand.
        .route("/admin/v1/models/{model}", get(model).post(change_model))
        .route("/admin/v1/models/{model}/versions/{version}", get(version).post(change_version))
        .layer(middleware::from_fn(origin::check))
        .with_state(changes);
    layers::around(router, limits, Compat::None)
}

async fn models(State(changes): State<Changes>) -> Json<Models> {
    let snapshot = changes.snapshot();
    Json(Models { models: snapshot.entries().into_iter().map(view).collect() })
}

async fn model(
    State(changes): State<Changes>,
    Path(name): Path<String>,
) -> Result<Json<ModelView>, Refusal> {
    let name = ModelName::parse(&name)?;
    let snapshot = changes.snapshot();
    let entry = snapshot.entry(name.as_str()).ok_or_else(|| unknown_model(&name))?;
    Ok(Json(view(entry)))
}

async fn version(
    State(changes): State<Changes>,
    Path((name, version)): Path<(String, String)>,
) -> Result<Json<VersionView>, Refusal> {
    let (name, number) = (ModelName::parse(&name)?, number(&version)?);
    let snapshot = changes.snapshot();
    let entry = snapshot.entry(name.as_str()).ok_or_else(|| unknown_model(&name))?;
    let found = entry.state(number).map(|state| version_view(entry, number, state));
    found.map(Json).ok_or_else(|| {
        Refusal::new(Code::Version, format!("'{name}' version {number} is not found"))
    })
}

async fn change_model(
    State(changes): State<Changes>,
    Path(target): Path<String>,
    body: Bytes,
) -> Result<Json<ReceiptView>, Refusal> {
    let (name, call) = split(&target);
    let action = match call {
        "load" => Action::Reconcile,
        "unload" => Action::UnloadAll,
        "rollback" => Action::Rollback,
        "pin" => Action::Pin,
        "unpin" => Action::Unpin,
        _ => return Err(unknown_call(call, ":load, :unload, :rollback, :pin, :unpin")),
    };
    make(&changes, name, action, &body).await
}

async fn change_version(
    State(changes): State<Changes>,
    Path((name, target)): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<ReceiptView>, Refusal> {
    let (version, call) = split(&target);
    let number = number(version)?;
    let action = match call {
        "load" => Action::Load(number),
        "promote" => Action::Promote(number),
        "unload" => Action::Unload(number),
        _ => return Err(unknown_call(call, ":load, :promote, :unload")),
    };
    make(&changes, &name, action, &body).await
}

async fn make(
    changes: &Changes,
    name: &str,
    action: Action,
    body: &Bytes,
) -> Result<Json<ReceiptView>, Refusal> {
    let body: ChangeBody = json_or_default(body)?;
    let change = Change {
        // The admin port is bound to loopback until it can tell callers apart.
        caller: Caller::local(),
        model: ModelName::parse(name)?,
        action,
        reason: body.reason,
        expected_generation: body.expected_generation,
    };
    let Receipt { generation, serving } = changes.make(change).await?;
    Ok(Json(ReceiptView { generation, serving: serving.map(VersionNumber::get) }))
}

fn view(entry: &Entry) -> ModelView {
    ModelView {
        name: entry.name.to_string(),
        generation: entry.generation,
        serving: entry.default.as_ref().map(|version| version.number().get()),
        degraded: entry.degraded.clone(),
        versions: entry
            .listed
            .iter()
            .map(|(number, state)| version_view(entry, *number, state))
            .collect(),
    }
}

fn version_view(entry: &Entry, number: VersionNumber, state: &VersionState) -> VersionView {
    let loaded = entry.version(number);
    let tensors = |specs: &[TensorSpec]| {
        let view = |spec: &TensorSpec| TensorView {
            name: spec.name.to_string(),
            datatype: spec.dtype.name(),
            shape: spec.shape(),
        };
        specs.iter().map(view).collect()
    };
    VersionView {
        version: number.get(),
        state: state.name(),
        reason: Some(state.reason().to_owned()).filter(|reason| !reason.is_empty()),
        digest: loaded.map(|version| version.origin().digest.to_string()),
        placement: loaded.map(|version| version.queue().placement().name()),
        shared_rows: loaded.and_then(|version| version.queue().shared_rows()),
        inputs: loaded.map(|version| tensors(&version.signature().inputs)).unwrap_or_default(),
        outputs: loaded.map(|version| tensors(&version.signature().outputs)).unwrap_or_default(),
    }
}

// `iris:rollback` is a name and a call; without a colon the call is empty.
fn split(target: &str) -> (&str, &str) {
    target.rsplit_once(':').unwrap_or((target, ""))
}

fn number(text: &str) -> Result<VersionNumber, Refusal> {
    VersionNumber::parse(text).ok_or_else(|| {
        let found = excerpt(text);
        Refusal::new(Code::Name, format!("version '{found}', expected a positive integer"))
    })
}

fn unknown_model(name: &ModelName) -> Refusal {
    Refusal::new(Code::Model, format!("model '{name}' is not found"))
}

fn unknown_call(found: &str, expected: &str) -> Refusal {
    let found = excerpt(found);
    Refusal::new(Code::Path, format!("call ':{found}' is not found, expected {expected}"))
}
