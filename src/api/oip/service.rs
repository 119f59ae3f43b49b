//! What both protocols offer, before any wire format.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use serde::Serialize;
use tokio::sync::futures::OwnedNotified;

use crate::api::oip::model_config::ModelConfig;
use crate::api::oip::statistics::{Statistics, VersionStatistics};
use crate::api::session::{self, Access, Limits};
use crate::api::status::Refusal;
use crate::api::traced;
use crate::control::action::{Action, Change};
use crate::control::change::Changes;
use crate::domain::compat::Compat;
use crate::domain::failure::{Code, Failure};
use crate::domain::inference::{Answer, Inference, InferenceId, LABELS, Purpose};
use crate::domain::model::{ModelName, VersionChoice};
use crate::domain::signature::{NamedTensor, Requested};
use crate::domain::spec::TensorSpec;
use crate::domain::trace::{Trace, Wire};
use crate::serving::gateway::infer::{Gateway, Ticket};
use crate::serving::registry::snapshot::Snapshot;
use crate::serving::registry::state::State;
use crate::serving::registry::version::Version;
use crate::serving::traffic::choose;

/// The protocol's calls, for the callers of one listener. Cloning shares what is behind it.
#[derive(Clone, Debug)]
pub struct Service {
    gateway: Gateway,
    changes: Changes,
    access: Access,
    limits: Limits,
    compat: Compat,
}

/// An inference as a wire format gives it.
#[derive(Debug)]
pub struct Call {
    /// The model's name, as it was sent.
    pub model: String,
    /// The version, as it was sent; empty for none.
    pub version: String,
    /// Inputs, in the caller's order.
    pub inputs: Vec<NamedTensor>,
    /// Outputs asked for; none means all.
    pub requested: Vec<Requested>,
    /// What the caller allows.
    pub timeout: Option<Duration>,
}

/// What the server says of itself.
#[derive(Clone, Debug, Serialize)]
pub struct ServerMetadata {
    /// `tidegate`.
    pub name: &'static str,
    /// Our version.
    pub version: &'static str,
    /// Extensions of the protocol that are offered; clients branch on them.
    pub extensions: &'static [&'static str],
}

/// What a model says of itself.
#[derive(Clone, Debug, Serialize)]
pub struct ModelMetadata {
    /// Its name.
    pub name: String,
    /// Versions that answer.
    pub versions: Vec<String>,
    /// What runs it.
    pub platform: &'static str,
    /// Inputs, in the model's order.
    pub inputs: Vec<TensorMetadata>,
    /// Outputs, in the model's order.
    pub outputs: Vec<TensorMetadata>,
    /// What loading it found out.
    pub properties: BTreeMap<String, String>,
}

/// One input or output; -1 in the shape is any size.
#[derive(Clone, Debug, Serialize)]
pub struct TensorMetadata {
    /// Its name.
    pub name: String,
    /// Its type.
    pub datatype: &'static str,
    /// Its shape.
    pub shape: Vec<i64>,
}

/// One line of the repository's index.
#[derive(Clone, Debug, Serialize)]
pub struct IndexEntry {
    /// The model.
    pub name: String,
    /// The version; empty for a model without one.
    pub version: String,
    /// READY, LOADING, UNLOADING or UNAVAILABLE.
    pub state: &'static str,
    /// Why, if it is not ready.
    pub reason: String,
}

impl Service {
    /// The calls of a listener.
    pub fn new(
        gateway: Gateway,
        changes: Changes,
        access: Access,
        limits: Limits,
        compat: Compat,
    ) -> Self {
        Self { gateway, changes, access, limits, compat }
    }

    /// Whose codes and bodies callers are to meet.
    pub fn compat(&self) -> Compat {
        self.compat
    }

    /// What callers may send.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Now, on the clock of deadlines.
    pub fn now(&self) -> Instant {
        self.gateway.clock().now()
    }

    /// A new id for a call.
    pub fn new_id(&self) -> InferenceId {
        session::new_id(self.gateway.clock().wall())
    }

    /// Opens the account of an inference whose first byte came at `arrived`.
    pub fn open(&self, arrived: Instant, trace: Option<Box<Trace>>) -> Ticket {
        self.gateway.open(self.new_id(), arrived, trace)
    }

    /// The place of an inference in a trace, if traces are configured and this one is kept.
    pub fn trace(&self, headers: &HeaderMap, wire: &'static Wire) -> Option<Box<Trace>> {
        traced::place(self.gateway.tracer()?, headers, wire)
    }

    /// Runs an inference.
    ///
    /// # Errors
    ///
    /// A [`Refusal`]; the ticket knows of it.
    pub async fn infer(
        &self,
        call: Call,
        arrived: Instant,
        ticket: &mut Ticket,
    ) -> Result<Answer, Refusal> {
        let named = ModelName::parse(&call.model)
            .and_then(|name| Ok((name, VersionChoice::parse(&call.version)?)));
        let (name, version) = named.inspect_err(|error| ticket.fail(error.code()))?;
        let inference = Inference {
            id: ticket.id(),
            name,
            version,
            inputs: call.inputs,
            requested: call.requested,
            deadline: call.timeout.and_then(|timeout| arrived.checked_add(timeout)),
            caller: self.access.caller().clone(),
            purpose: Purpose::Live,
        };
        let result = self.gateway.infer(inference, ticket).await;
        result.map_err(|error| {
            if error.code() == Code::Run {
                let id = ticket.id();
                tracing::error!(%id, %error, "an inference failed");
            }
            Refusal::from(error)
        })
    }

    /// Whether the server is ready: the start-up scan is over.
    pub fn is_ready(&self) -> bool {
        self.gateway.published().load().ready
    }

    /// Whether a model that we know of answers requests, and the server is not about to stop.
    pub fn model_serves(&self, model: &str) -> Option<bool> {
        let snapshot = self.gateway.published().load();
        let entry = snapshot.entry(model)?;
        Some(entry.default.is_some() && !snapshot.stopping)
    }

    /// Ends when something else is served than when it was called, or ready.
    pub fn changed(&self) -> OwnedNotified {
        self.gateway.published().changed()
    }

    /// What the server says of itself.
    pub fn metadata(&self) -> ServerMetadata {
        ServerMetadata {
            name: "tidegate",
            version: env!("CARGO_PKG_VERSION"),
            extensions: &[
                "binary_tensor_data",
                "classification",
                "model_configuration",
                "model_repository",
                "statistics",
            ],
        }
    }

    /// Checks that a model's version answers.
    ///
    /// # Errors
    ///
    /// A [`Refusal`], not found or unavailable.
    pub fn model_ready(&self, model: &str, version: &str) -> Result<(), Refusal> {
        self.version(model, version).map(drop)
    }

    /// The version that answers now.
    ///
    /// # Errors
    ///
    /// A [`Refusal`], not found or unavailable.
    pub fn loaded(&self, model: &str, version: &str) -> Result<Arc<Version>, Refusal> {
        self.version(model, version).map(|(_, version)| version)
    }

    /// What a model says of itself.
    ///
    /// # Errors
    ///
    /// A [`Refusal`], not found or unavailable.
    pub fn model_metadata(&self, model: &str, version: &str) -> Result<ModelMetadata, Refusal> {
        let (snapshot, version) = self.version(model, version)?;
        let ready = snapshot.entry(model).map(|entry| entry.ready.as_slice()).unwrap_or_default();
        let describe = |specs: &[TensorSpec]| specs.iter().map(TensorMetadata::of).collect();
        Ok(ModelMetadata {
            name: model.to_owned(),
            versions: ready.iter().map(|version| version.number().to_string()).collect(),
            platform: "onnxruntime_onnx",
            inputs: describe(&version.signature().inputs),
            outputs: describe(&version.signature().outputs),
            properties: properties(&version),
        })
    }

    /// A model's configuration, as Triton's clients read it.
    ///
    /// # Errors
    ///
    /// A [`Refusal`], not found or unavailable.
    pub fn model_config(&self, model: &str, version: &str) -> Result<ModelConfig, Refusal> {
        let (_, version) = self.version(model, version)?;
        Ok(ModelConfig::of(&version.origin().model, version.terms()))
    }

    /// What was counted: of one version, of all that answer of a model, or of all models.
    ///
    /// # Errors
    ///
    /// A [`Refusal`], not found or unavailable.
    pub fn statistics(&self, model: &str, version: &str) -> Result<Statistics, Refusal> {
        let of =
            |version: &Arc<Version>| VersionStatistics::of(version.origin(), version.metrics());
        let snapshot = self.gateway.published().snapshot();
        let model_stats = if !model.is_empty() && !version.is_empty() {
            vec![of(&self.version(model, version)?.1)]
        } else {
            if !model.is_empty() {
                self.version(model, version)?;
            }
            let entries = snapshot.entries().into_iter();
            let wanted = entries.filter(|entry| model.is_empty() || entry.name.as_str() == model);
            wanted.flat_map(|entry| entry.ready.iter().map(of)).collect()
        };
        Ok(Statistics { model_stats })
    }

    /// Names of all models that answer, as KServe lists them.
    pub fn models(&self) -> Vec<String> {
        let snapshot = self.gateway.published().snapshot();
        let entries = snapshot.entries().into_iter().filter(|entry| entry.default.is_some());
        entries.map(|entry| entry.name.to_string()).collect()
    }

    /// Names of all models that we know of.
    pub fn known(&self) -> Vec<String> {
        let snapshot = self.gateway.published().snapshot();
        snapshot.entries().into_iter().map(|entry| entry.name.to_string()).collect()
    }

    /// Every version we know of, or only those that answer.
    pub fn index(&self, ready_only: bool) -> Vec<IndexEntry> {
        let snapshot = self.gateway.published().snapshot();
        let mut index = Vec::new();
        for entry in snapshot.entries() {
            for (number, state) in &entry.listed {
                if state.is_ready() || !ready_only {
                    index.push(IndexEntry {
                        name: entry.name.to_string(),
                        version: number.to_string(),
                        state: index_state(state),
                        reason: index_reason(state),
                    });
                }
            }
        }
        index
    }

    /// Loads what the model's policy wants, and returns when it serves.
    ///
    /// # Errors
    ///
    /// A [`Refusal`]; what served before still serves.
    pub async fn load(&self, model: &str) -> Result<(), Refusal> {
        let loaded = self.change(model, Action::Reconcile).await;
        loaded.map_err(|refusal| refusal.of_load(self.compat))
    }

    /// Takes the model out of service, until it is loaded again.
    ///
    /// # Errors
    ///
    /// A [`Refusal`].
    pub async fn unload(&self, model: &str) -> Result<(), Refusal> {
        self.change(model, Action::UnloadAll).await
    }

    async fn change(&self, model: &str, action: Action) -> Result<(), Refusal> {
        let change = Change {
            caller: self.access.caller().clone(),
            model: ModelName::parse(model)?,
            action,
            reason: None,
            expected_generation: None,
        };
        Ok(self.changes.make(change).await.map(drop)?)
    }

    fn version(
        &self,
        model: &str,
        version: &str,
    ) -> Result<(Arc<Snapshot>, Arc<Version>), Refusal> {
        let (name, wanted) = (ModelName::parse(model)?, VersionChoice::parse(version)?);
        let snapshot = self.gateway.published().snapshot();
        let version = Arc::clone(choose::choose(&snapshot, &name, wanted.as_ref())?);
        Ok((snapshot, version))
    }
}

fn properties(version: &Version) -> BTreeMap<String, String> {
    let (facts, terms) = (version.facts(), version.terms());
    let mut properties = BTreeMap::from([
        ("providers".to_owned(), facts.providers.to_string()),
        ("active".to_owned(), facts.active()),
        ("nodes".to_owned(), facts.nodes()),
    ]);
    if !facts.notes.is_empty() {
        properties.insert("notes".to_owned(), facts.notes.join("; "));
    }
    if let Some(config) = terms.config {
        properties.insert("config_sha256".to_owned(), config.to_string());
    }
    for spec in &terms.signature.inputs {
        if let Some(features) = &spec.features {
            properties.insert(format!("features.{}", spec.name), features.join(","));
        }
    }
    let signature = &terms.signature;
    let optional = signature.inputs.iter().filter(|spec| spec.optional);
    let optional: Vec<&str> = optional.map(|spec| &*spec.name).collect();
    if !optional.is_empty() {
        properties.insert("optional_inputs".to_owned(), optional.join(","));
    }
    let labelled =
        signature.outputs.iter().filter_map(|spec| Some((spec, spec.labels_json.as_ref()?)));
    properties
        .extend(labelled.map(|(spec, json)| (format!("{LABELS}.{}", spec.name), json.to_string())));
    properties
}

impl TensorMetadata {
    fn of(spec: &TensorSpec) -> Self {
        let (name, datatype) = (spec.name.to_string(), spec.dtype.name());
        Self { name, datatype, shape: spec.shape() }
    }
}

fn index_state(state: &State) -> &'static str {
    match state {
        State::Standby | State::Serving => "READY",
        State::Found | State::Verified | State::Loading | State::Warming => "LOADING",
        State::Draining => "UNLOADING",
        State::Retired | State::Rejected { .. } | State::Failed { .. } => "UNAVAILABLE",
    }
}

fn index_reason(state: &State) -> String {
    match state {
        State::Retired => "unloaded".to_owned(),
        State::Standby | State::Serving => String::new(),
        State::Found
        | State::Verified
        | State::Loading
        | State::Warming
        | State::Draining
        | State::Rejected { .. }
        | State::Failed { .. } => state.to_string(),
    }
}
